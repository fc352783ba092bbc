//! Development commands of chaos: `cargo xtask <verb>`.

fn main() {}
