//! Benchmarks live in `benches/`; shared fixtures here.
