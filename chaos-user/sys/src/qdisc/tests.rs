//! On real devices in scratch namespaces; fq where the kernel has it.
use std::os::fd::AsRawFd;

use super::*;
use crate::{
    link,
    testing::{self, in_scratch},
};

fn fq() -> Fq {
    Fq {
        handle: 0xc4a0_0000,
        limit: 5000,
        flow_limit: 4000,
        horizon_us: 20_000_000,
        buckets_log: 12,
        orphan_mask: 4095,
        optional: Vec::new(),
    }
}

fn veth(rtnl: &mut Rtnl) -> u32 {
    let names = ["qA".to_owned(), "qB".to_owned()];
    let pair = link::VethPair { names, mtu: 1500, queues: 1, txqlen: 1000, alias: String::new() };
    link::create_veth(rtnl, &pair).unwrap()[0].index
}

#[test]
fn fq_is_made_read_and_removed_or_its_absence_explained() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let index = veth(rtnl);
        match replace_root_with_fq(rtnl, index, &fq()) {
            Ok(refused) => assert_eq!(refused, Vec::<u16>::new()),
            Err(error) => {
                assert_eq!(error.category(), "unsupported", "{error}");
                let text = error.to_string();
                assert!(text.contains("Specified qdisc kind is unknown") && text.contains("sch_fq"), "{text}");
                eprintln!("this kernel has no fq: {text}");
                return;
            }
        }
        let made = get(rtnl, index, ROOT).unwrap().unwrap();
        assert_eq!((made.kind.as_str(), made.handle, made.parent), ("fq", 0xc4a0_0000, ROOT));
        assert_eq!((made.stats, made.fq), (Stats::default(), Some(FqStats::default())));
        let shown = testing::command("tc", &["qdisc", "show", "dev", "qA"]);
        for wanted in ["limit 5000p", "flow_limit 4000p", "buckets 4096", "orphan_mask 4095", "horizon 20s"] {
            assert!(shown.contains(wanted), "{wanted} is not in {shown}");
        }
        // The same again changes the one that is there.
        replace_root_with_fq(rtnl, index, &Fq { limit: 7000, ..fq() }).unwrap();
        assert!(testing::command("tc", &["qdisc", "show", "dev", "qA"]).contains("limit 7000p"));
        delete_root(rtnl, index).unwrap();
        assert!(get(rtnl, index, ROOT).unwrap().is_none_or(|left| left.kind == "noqueue"));
        assert!(delete_root(rtnl, index).is_err());
    });
}

#[test]
fn attributes_that_the_kernel_refuses_are_left_out() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let index = veth(rtnl);
        // TCA_FQ_CE_THRESHOLD of one byte: refused by every kernel that knows it.
        let optional = vec![(12, vec![1])];
        match replace_root_with_fq(rtnl, index, &Fq { optional, ..fq() }) {
            Ok(refused) => assert_eq!(refused, [12]),
            Err(error) => assert_eq!(error.category(), "unsupported", "{error}"),
        }
    });
}

/// Limits what a socket sends per second, which fq keeps to (socket(7)).
fn pace(socket: &std::net::UdpSocket, bytes_per_second: u32) {
    let (value, length) = ((&raw const bytes_per_second).cast(), 4);
    // SAFETY: the value is a number of four bytes that outlives the call, and the socket is open.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, value, length) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn packets_that_wait_in_fq_are_counted() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let index = veth(rtnl);
        if let Err(error) = replace_root_with_fq(rtnl, index, &Fq { flow_limit: 3, ..fq() }) {
            eprintln!("skipped: this kernel has no fq: {error}");
            return;
        }
        testing::ip(&["addr", "add", "10.0.0.1/24", "dev", "qA"]);
        let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
        pace(&socket, 1000);
        for _ in 0..10 {
            let _refused_when_full = socket.send_to(&[0; 1000], "10.0.0.2:9");
        }
        // Some leave at once, three wait for a second each, the others exceed the flow's limit.
        let qdisc = get(rtnl, index, ROOT).unwrap().unwrap();
        let counted = qdisc.fq.unwrap();
        assert_eq!((qdisc.stats.qlen, qdisc.stats.backlog), (3, 3 * 1042), "{qdisc:?}");
        assert_eq!(counted.flows_plimit, u64::from(qdisc.stats.drops), "{qdisc:?}");
        assert!(counted.flows_plimit > 0 && counted.throttled > 0, "{qdisc:?}");
        let shown = testing::command("tc", &["-s", "qdisc", "show", "dev", "qA"]);
        assert!(shown.contains(&format!("flows_plimit {}", counted.flows_plimit)), "{shown}");
    });
}

#[test]
fn queue_counters_are_read() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let index = veth(rtnl);
        testing::command("tc", &"qdisc add dev qA root handle 7: pfifo limit 3".split(' ').collect::<Vec<_>>());
        testing::ip(&["addr", "add", "10.0.0.1/24", "dev", "qA"]);
        let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
        for _ in 0..4 {
            socket.send_to(&[0; 100], "10.0.0.2:9").unwrap();
        }
        let qdisc = get(rtnl, index, ROOT).unwrap().unwrap();
        assert_eq!((qdisc.kind.as_str(), qdisc.handle, qdisc.fq), ("pfifo", 0x7_0000, None));
        // Without ARP every packet leaves at once: 14 + 20 + 8 + 100 bytes each.
        assert_eq!(qdisc.stats, Stats { bytes: 568, packets: 4, ..Stats::default() });
        assert_eq!(list(rtnl, Some(index)).unwrap(), [qdisc]);
        assert!(list(rtnl, None).unwrap().iter().any(|q| q.interface != index));
    });
}

#[test]
fn clsact_is_added_once_and_removed() {
    testing::root_or_return!();
    in_scratch(|rtnl| {
        let index = veth(rtnl);
        assert!(get(rtnl, index, ROOT).unwrap().is_none_or(|default| default.kind == "noqueue"));
        assert!(!has_clsact(rtnl, index).unwrap());
        assert!(add_clsact(rtnl, index).unwrap());
        assert!(!add_clsact(rtnl, index).unwrap(), "the second one is told that it is not its own");
        assert!(has_clsact(rtnl, index).unwrap());
        delete_clsact(rtnl, index).unwrap();
        assert!(!has_clsact(rtnl, index).unwrap());
        assert!(delete_clsact(rtnl, index).is_err());
        testing::command("tc", &["qdisc", "add", "dev", "qA", "ingress"]);
        let error = add_clsact(rtnl, index).unwrap_err().to_string();
        assert!(error.contains("its qdisc ingress holds the place"), "{error}");
        assert_eq!(add_clsact(rtnl, 9999).unwrap_err().category(), "absent");
        assert_eq!(get(rtnl, 9999, ROOT).unwrap_err().category(), "absent");
    });
}

#[test]
fn fq_counters_are_read_whatever_the_kernel_wrote() {
    let mut bytes = [0; 112];
    for (at, value) in [(24, 5_u64), (32, 6), (48, 7), (88, 8), (96, 9)] {
        bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    let all = FqStats { throttled: 5, flows_plimit: 6, allocation_errors: 7, horizon_drops: 8, horizon_caps: 9 };
    assert_eq!(parse_fq(&bytes), all);
    assert_eq!(parse_fq(&bytes[..80]), FqStats { horizon_drops: 0, horizon_caps: 0, ..all });
}
