//! Benchmarks: codecs and daemons, side by side with their peers.
