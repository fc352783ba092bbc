//! What this kernel can do, tried.

use super::{
    error::KernelError,
    link::{self, VethPair},
    netlink::Rtnl,
    netns::Netns,
    qdisc::{self, Fq},
};
use nix::errno::Errno;

/// A real-time kernel may preempt a tc program, which tears what it keeps per CPU.
///
/// # Errors
/// `unsupported` there.
pub fn realtime() -> Result<(), KernelError> {
    if std::fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1") {
        let error = KernelError::new("use", "network faults", Errno::EOPNOTSUPP);
        return Err(
            error.unsupported("this is a PREEMPT_RT kernel, which may preempt a packet program; use another kernel")
        );
    }
    Ok(())
}

/// A queue that honours departure times: veth and fq.
///
/// # Errors
/// `unsupported`, naming the module and who ships it, where the kernel lacks one.
pub fn queue() -> Result<(), KernelError> {
    let netns = Netns::scratch()?;
    netns.enter(|| {
        let mut rtnl = Rtnl::open()?;
        let pair = VethPair {
            names: ["chaos0".to_owned(), "chaos1".to_owned()],
            mtu: 1500,
            queues: 1,
            txqlen: 1000,
            alias: "chaos: probe".to_owned(),
        };
        let [tx, _] = link::create_veth(&mut rtnl, &pair)?;
        let fq = Fq {
            handle: 0,
            limit: 1000,
            flow_limit: 1000,
            horizon_us: 10_000_000,
            buckets_log: 10,
            orphan_mask: 1023,
            optional: Vec::new(),
        };
        qdisc::replace_root_with_fq(&mut rtnl, tx.index, &fq).map(drop)
    })?
}
