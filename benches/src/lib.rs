//! Benchmarks; each names its workload and unit. Run them with `cargo bench -p mailwright-benches`.
