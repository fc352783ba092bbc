//! Queueing disciplines: what a device has, fq for delays, clsact for programs.
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE};
use nix::errno::Errno;

pub use super::tc::{CLSACT, ROOT};
use super::{
    error::KernelError,
    netlink::{Request, Rtnl, find, text, u32_at, u64_at},
    seam,
    tc::{TCMSG, Tcm},
};

// Attributes within TCA_STATS2 (linux/gen_stats.h).
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_APP: u16 = 4;
const TCA_STATS_PKT64: u16 = 8;

// Attributes of fq (linux/pkt_sched.h).
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
const TCA_FQ_BUCKETS_LOG: u16 = 8;
const TCA_FQ_ORPHAN_MASK: u16 = 10;
const TCA_FQ_HORIZON: u16 = 14;

/// What a qdisc counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets waiting now.
    pub qlen: u32,
    /// Bytes waiting now.
    pub backlog: u32,
    /// Packets dropped.
    pub drops: u32,
    /// Times a packet exceeded a limit.
    pub overlimits: u32,
}

/// What fq counted beside [`Stats`] (`struct tc_fq_qd_stats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FqStats {
    /// Packets that had to wait for their time.
    pub throttled: u64,
    /// Packets dropped at the limit of their flow.
    pub flows_plimit: u64,
    /// Packets dropped because their time was beyond the horizon (kernel >= 5.8).
    pub horizon_drops: u64,
    /// Packets whose time was brought back to the horizon (kernel >= 5.8).
    pub horizon_caps: u64,
    /// Packets lost because no flow could be allocated.
    pub allocation_errors: u64,
}

/// A qdisc of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qdisc {
    /// Index of the device.
    pub interface: u32,
    /// Its kind: `fq`, `noqueue`, `clsact`...
    pub kind: String,
    /// Its handle: major number in the upper 16 bits; 0 for the kernel's default one.
    pub handle: u32,
    /// Where it hangs: [`ROOT`], [`CLSACT`] or a class.
    pub parent: u32,
    /// Its counters.
    pub stats: Stats,
    /// For fq: its own counters.
    pub fq: Option<FqStats>,
}

/// An fq to be made (tc-fq(8)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fq {
    /// Handle, such as `0xc4a0_0000`; 0 lets the kernel choose.
    pub handle: u32,
    /// Packets that may wait in all.
    pub limit: u32,
    /// Packets of one flow that may wait.
    pub flow_limit: u32,
    /// How far in the future a packet's time may be, in microseconds.
    pub horizon_us: u32,
    /// Buckets of the flow table as a power of two, 1 to 18.
    pub buckets_log: u32,
    /// Packets without a socket are spread over this mask + 1 flows.
    pub orphan_mask: u32,
    /// Further attributes by number (TCA_FQ_*) with the bytes of their value: left out where the kernel refuses them.
    pub optional: Vec<(u16, Vec<u8>)>,
}

/// The qdiscs of one device, or of all of the socket's namespace. The kernel always writes all of them, so for one known
/// place [`get`] is cheaper.
pub fn list(rtnl: &mut Rtnl, interface: Option<u32>) -> Result<Vec<Qdisc>, KernelError> {
    let tcm = Tcm { index: interface.unwrap_or(0), ..Tcm::default() };
    let request = Request::new("list", "qdiscs", libc::RTM_GETQDISC, 0, &tcm.bytes());
    let all = rtnl.dump(request)?;
    let wanted = |qdisc: &Qdisc| interface.is_none_or(|index| index == qdisc.interface);
    Ok(all.iter().filter_map(|message| parse(message)).filter(wanted).collect())
}

/// The qdisc at [`ROOT`] or [`CLSACT`]; `None` where there is none or only the kernel's built-in one.
/// Errors: ENODEV.
pub fn get(rtnl: &mut Rtnl, interface: u32, parent: u32) -> Result<Option<Qdisc>, KernelError> {
    let tcm = Tcm { index: interface, parent, ..Tcm::default() };
    let object = format!("interface {interface}");
    // The answer is a notification, which comes to the asker only with NLM_F_ECHO (nlmsg_notify, af_netlink.c).
    match rtnl.execute(Request::new("get qdisc of", object, libc::RTM_GETQDISC, NLM_F_ECHO, &tcm.bytes())) {
        Ok(messages) => Ok(messages.first().and_then(|message| parse(message))),
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        // Up to 6.x a place whose qdisc is not shown (built in) was answered so (qdisc_notify, net/sched/sch_api.c).
        Err(error) if error.errno == Errno::EINVAL && error.detail.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes fq the root qdisc, or changes the one that is there. Returns the optional attributes where this kernel refused
/// them; numbers that it has never heard of it passes over in silence (nla_parse_nested_deprecated).
/// Errors: `unsupported` where the kernel has no fq; ENODEV; EINVAL for values out of range.
pub fn replace_root_with_fq(rtnl: &mut Rtnl, interface: u32, fq: &Fq) -> Result<Vec<u16>, KernelError> {
    let object = format!("interface {interface}");
    seam::run("add qdisc fq to", &object, || match rtnl.execute(fq_request(interface, &object, fq, &fq.optional)) {
        Err(error) if matches!(error.errno, Errno::EINVAL | Errno::ERANGE) && !fq.optional.is_empty() => {
            rtnl.execute(fq_request(interface, &object, fq, &[])).map_err(explain_fq)?;
            Ok(fq.optional.iter().map(|(kind, _)| *kind).collect())
        }
        answer => answer.map(|_| Vec::new()).map_err(explain_fq),
    })
}

fn fq_request(interface: u32, object: &str, fq: &Fq, optional: &[(u16, Vec<u8>)]) -> Request {
    let tcm = Tcm { index: interface, handle: fq.handle, parent: ROOT, info: 0 };
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let request = Request::new("add qdisc fq to", object, libc::RTM_NEWQDISC, flags, &tcm.bytes());
    request.text(libc::TCA_KIND, "fq").nest(libc::TCA_OPTIONS, |options| {
        let options = options
            .u32(TCA_FQ_PLIMIT, fq.limit)
            .u32(TCA_FQ_FLOW_PLIMIT, fq.flow_limit)
            .u32(TCA_FQ_BUCKETS_LOG, fq.buckets_log)
            .u32(TCA_FQ_ORPHAN_MASK, fq.orphan_mask)
            .u32(TCA_FQ_HORIZON, fq.horizon_us);
        optional.iter().fold(options, |options, (kind, value)| options.attr(*kind, value))
    })
}

fn explain_fq(error: KernelError) -> KernelError {
    if error.errno != Errno::ENOENT {
        return error;
    }
    error.unsupported(
        "this kernel has no qdisc fq: it needs CONFIG_NET_SCH_FQ. Debian, Ubuntu, Fedora, RHEL, SUSE, Amazon Linux, \
         Flatcar and Talos have it, mostly as module sch_fq: have the node load it at boot (modules-load.d)",
    )
}

/// Deletes the root qdisc; the device falls back to its default. Packets that wait in it are lost.
/// Errors: ENOENT or EINVAL where there is only the default one; ENODEV.
pub fn delete_root(rtnl: &mut Rtnl, interface: u32) -> Result<(), KernelError> {
    delete(rtnl, interface, ROOT, "delete root qdisc of")
}

/// Adds clsact. `false` when the device has it already, which somebody else then owns.
/// Errors: `unsupported` without CONFIG_NET_SCH_INGRESS; EEXIST with an explanation where the older qdisc `ingress`
/// holds the place; ENODEV.
pub fn add_clsact(rtnl: &mut Rtnl, interface: u32) -> Result<bool, KernelError> {
    let object = format!("interface {interface}");
    let answer = seam::run("add clsact to", &object, || {
        let tcm = Tcm { index: interface, handle: CLSACT & 0xFFFF_0000, parent: CLSACT, info: 0 };
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let request = Request::new("add clsact to", &object, libc::RTM_NEWQDISC, flags, &tcm.bytes());
        rtnl.execute(request.text(libc::TCA_KIND, "clsact"))
    });
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.errno == Errno::EEXIST => match get(rtnl, interface, CLSACT)? {
            Some(other) if other.kind != "clsact" => Err(error.with_hint(format!(
                "its qdisc {} holds the place; its owner would have to make it clsact",
                other.kind
            ))),
            _ => Ok(false),
        },
        Err(error) if error.errno == Errno::ENOENT => {
            Err(error.unsupported("this kernel has no clsact: load the module sch_ingress on the node"))
        }
        Err(error) => Err(error),
    }
}

/// Whether the device has clsact. Errors: ENODEV.
pub fn has_clsact(rtnl: &mut Rtnl, interface: u32) -> Result<bool, KernelError> {
    Ok(get(rtnl, interface, CLSACT)?.is_some_and(|qdisc| qdisc.kind == "clsact"))
}

/// Deletes clsact with every filter in it, whosever: the caller has to look first. Errors: ENOENT or EINVAL where there
/// is none; ENODEV.
pub fn delete_clsact(rtnl: &mut Rtnl, interface: u32) -> Result<(), KernelError> {
    delete(rtnl, interface, CLSACT, "delete clsact of")
}

fn delete(rtnl: &mut Rtnl, interface: u32, parent: u32, op: &'static str) -> Result<(), KernelError> {
    let object = format!("interface {interface}");
    let tcm = Tcm { index: interface, parent, ..Tcm::default() };
    let request = Request::new(op, &object, libc::RTM_DELQDISC, 0, &tcm.bytes());
    seam::run(op, &object, || rtnl.execute(request).map(drop))
}

pub(crate) fn parse(message: &[u8]) -> Option<Qdisc> {
    let tcm = Tcm::parse(message)?;
    let attrs = message.get(TCMSG..)?;
    let kind = text(find(attrs, libc::TCA_KIND)?);
    let stats = find(attrs, libc::TCA_STATS2).unwrap_or_default();
    let fq = find(stats, TCA_STATS_APP).filter(|_| kind == "fq").map(parse_fq);
    let (interface, handle, parent) = (tcm.index, tcm.handle, tcm.parent);
    Some(Qdisc { interface, kind, handle, parent, stats: parse_stats(stats), fq })
}

fn parse_stats(stats: &[u8]) -> Stats {
    let basic = find(stats, TCA_STATS_BASIC).unwrap_or_default();
    let queue = find(stats, TCA_STATS_QUEUE).unwrap_or_default();
    Stats {
        bytes: u64_at(basic, 0),
        // The older counter has 32 bits and wraps.
        packets: find(stats, TCA_STATS_PKT64).map_or_else(|| u64::from(u32_at(basic, 8)), |value| u64_at(value, 0)),
        qlen: u32_at(queue, 0),
        backlog: u32_at(queue, 4),
        drops: u32_at(queue, 8),
        overlimits: u32_at(queue, 16),
    }
}

/// `struct tc_fq_qd_stats`: ten numbers of 64 bits (gc_flows, highprio_packets, tcp_retrans, throttled, flows_plimit,
/// pkts_too_long, allocation_errors, time_next_delayed_flow, four of 32 bits), then ce_mark, horizon_drops, horizon_caps.
fn parse_fq(stats: &[u8]) -> FqStats {
    FqStats {
        throttled: u64_at(stats, 24),
        flows_plimit: u64_at(stats, 32),
        allocation_errors: u64_at(stats, 48),
        horizon_drops: u64_at(stats, 88),
        horizon_caps: u64_at(stats, 96),
    }
}

#[cfg(test)]
mod tests;
