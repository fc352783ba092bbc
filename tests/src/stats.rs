//! Statistics that decide whether what was measured is what was asked for.

pub mod binomial;
pub mod bursts;
pub mod ks;
pub mod quantile;
pub mod theory;
