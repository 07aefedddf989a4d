//! What the benchmarks share.

pub mod results;
