//! What this kernel can do, tried. Here are the questions that cost milliseconds, and the stage on which the engine's trial runs.

pub mod packet;
mod stage;
mod wire;

pub use stage::{FAR, Stage};

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

/// What `chaos check` needs, by bit in capabilities(7); CAP_SYS_ADMIN covers CAP_BPF and CAP_PERFMON.
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN")];

/// The capabilities that a trial in a scratch namespace needs.
///
/// # Errors
/// EPERM, naming those that this process has not.
pub fn capabilities() -> Result<(), KernelError> {
    const PATH: &str = "/proc/thread-self/status";
    let text = std::fs::read_to_string(PATH).map_err(|e| KernelError::from_io("read", PATH, &e))?;
    let missing = missing(&text);
    if missing.is_empty() {
        return Ok(());
    }
    let error = KernelError::new("try faults in", "a scratch network namespace", Errno::EPERM);
    Err(error.with_hint(format!("run as root, or with {}", missing.join(", "))))
}

/// Of the text of proc_pid_status(5).
fn missing(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let status = |caps: u64| format!("Name:\tchaos\nCapPrm:\t0\nCapEff:\t{caps:016x}\nCapBnd:\t0\n");
        assert_eq!(missing(&status(1 << 12 | 1 << 13 | 1 << 21)), Vec::<&str>::new());
        assert_eq!(missing(&status(1 << 12 | 1 << 21)), ["CAP_NET_RAW"]);
        assert_eq!(missing("Name:\tchaos\n").len(), 3, "an unreadable set counts as empty");
    }
}
