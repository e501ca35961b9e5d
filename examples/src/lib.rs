//! Examples of embedding the crates: see `examples/examples/`.
