//! Who is meant: selectors become targets. Reads procfs and cgroupfs, changes nothing.
pub mod interface;
