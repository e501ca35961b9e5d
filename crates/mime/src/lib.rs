//! Header fields, the MIME structure tree and the decoding of values.
