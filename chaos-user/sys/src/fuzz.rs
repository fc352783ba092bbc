//! The parsers of what the kernel says, for `cargo xtask fuzz` and its like among the unit tests.

use crate::{address, births, btf::Btf, filter, link, qdisc, sleep::wire};

/// Feeds every parser of what the kernel says with this.
pub fn parse(input: &[u8]) {
    let _ = (link::parse(input), filter::parse(input), address::parse(input), qdisc::parse(input));
    let _ = (births::parse(input), wire::parse(input));
    if let Some(types) = Btf::parse(input.to_vec()) {
        let _ = (types.function("f"), types.offset("task_struct.mm.owner"));
    }
}
