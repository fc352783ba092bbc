//! Counters of the maps become the report's.

use super::{Session, hosts, rules::Placed};
use chaos_abi::{Counters, Flow, MissKey, maps};
use chaos_outcome::{Actions, FaultReport, HostAddresses, LatencyReport, MissedPeer, RejectedBy, Samples};
use chaos_spec::plan::Plan;
use chaos_sys::{datapath::map_error, error::KernelError, netlink::Rtnl, netns::Netns, qdisc};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Samples shown of a fault.
const MOST_HITS: usize = 8;
/// Peers shown that a fault did not mean.
const MOST_MISSED: usize = 5;

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    if family == 6 {
        return IpAddr::V6(Ipv6Addr::from(bytes));
    }
    IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn end(ip: IpAddr, port: u16) -> String {
    if port == 0 { ip.to_string() } else { SocketAddr::new(ip, port).to_string() }
}

fn flow(flow: &Flow) -> String {
    let source = end(address(flow.family, flow.source), flow.source_port);
    let destination = end(address(flow.family, flow.destination), flow.destination_port);
    format!("{source} -> {destination} {}", protocol(flow.protocol))
}

fn samples(session: &Session, rule: u32) -> Samples {
    let datapath = &session.datapath;
    let mut hits: Vec<String> = Vec::new();
    for (key, value) in datapath.hits.iter().filter_map(Result::ok) {
        let text = flow(&value);
        if key.rule == rule && hits.len() < MOST_HITS && !hits.contains(&text) {
            hits.push(text);
        }
    }
    let mut missed: Vec<(MissKey, u64)> =
        datapath.missed.iter().filter_map(Result::ok).filter(|(key, _)| key.rule == rule).collect();
    missed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let missed = missed.iter().take(MOST_MISSED).map(|(key, count)| MissedPeer {
        peer: end(address(key.family, key.addr), key.port),
        count: *count,
        ..MissedPeer::default()
    });
    Samples { hits, missed: missed.collect() }
}

fn latency(session: &Session, rule: u32, requested: Option<u64>) -> Option<LatencyReport> {
    let all = session.datapath.delays.iter().filter_map(Result::ok);
    let mut nanos: Vec<u64> = all.filter(|(key, _)| key.rule == rule).map(|(_, value)| value).collect();
    LatencyReport::from_nanos(requested, &mut nanos)
}

fn actions(counters: &Counters) -> Actions {
    Actions {
        delayed: counters.delayed,
        lost: counters.lost,
        duplicated: counters.duplicated,
        corrupted: counters.corrupted,
        detected_by_drop: counters.detected_by_drop,
        reordered: counters.reordered,
        reset: counters.reset,
        errors: counters.errors,
    }
}

fn rejected(counters: &Counters, calls: bool) -> RejectedBy {
    let [direction, peer, protocol, port, connection, scope, time, except, node] = counters.rejected;
    if calls {
        // Their places are those of what calls do not have: chaos-abi, `REJECT_PATH` and so on.
        let (path, fd, caller) = (direction, protocol, connection);
        return RejectedBy { peer, port, time, path, fd, caller, ..RejectedBy::default() };
    }
    RejectedBy { direction, peer, protocol, port, connection, scope, time, except, node, ..RejectedBy::default() }
}

/// What host names stood for: those that are meant, and those that are spared.
fn hosts(session: &Session, plan: &Plan, placed: &Placed) -> Result<Vec<HostAddresses>, KernelError> {
    let mut all = Vec::new();
    for (condition, id) in plan.rules[placed.plan].conditions().zip(&placed.ids) {
        if condition.hosts.is_empty() {
            continue;
        }
        let rule = session.datapath.rules.get(id, 0).map_err(|e| map_error("read map", maps::RULES, &e))?;
        all.extend(condition.hosts.iter().map(|host| hosts::addresses(&session.datapath, rule.learned, host)));
    }
    Ok(all)
}

/// The report of one rule, without samples: cheap enough for a progress line.
///
/// # Errors
/// What the kernel says.
pub fn counts(session: &Session, plan: &Plan, placed: &Placed, target: &str) -> Result<FaultReport, KernelError> {
    let counters = session.datapath.count(placed.id())?;
    let rule = &plan.rules[placed.plan];
    Ok(FaultReport {
        name: plan.faults[rule.fault].name.clone(),
        target: target.to_owned(),
        seen: counters.seen,
        matched: counters.matched,
        injected: counters.injected,
        skipped: counters.skipped,
        would_inject: counters.would_inject,
        skbs: counters.skbs,
        bytes: counters.bytes,
        actions: actions(&counters),
        overflow: counters.overflow,
        skipped_by_lease: counters.skipped_by_lease,
        rejected_by: rejected(&counters, rule.call.is_some()),
        ..FaultReport::default()
    })
}

/// The whole report of one rule.
///
/// # Errors
/// What the kernel says.
pub fn report(session: &Session, plan: &Plan, placed: &Placed, target: &str) -> Result<FaultReport, KernelError> {
    let mut report = counts(session, plan, placed, target)?;
    report.samples = samples(session, placed.id());
    report.hosts = hosts(session, plan, placed)?;
    report.latency = latency(session, placed.id(), plan.rules[placed.plan].requested_delay);
    Ok(report)
}

/// What the queues of a netns have dropped and hold: (drops, packets waiting).
///
/// # Errors
/// What the kernel says.
pub fn queues(netns: &Netns, pairs: &[u32]) -> Result<(u64, u64), KernelError> {
    netns.enter(|| {
        let mut rtnl = Rtnl::open()?;
        let (mut drops, mut waiting) = (0, 0);
        for pair in pairs {
            if let Some(qdisc) = qdisc::get(&mut rtnl, *pair, qdisc::ROOT)? {
                drops += u64::from(qdisc.stats.drops);
                waiting += u64::from(qdisc.stats.qlen);
            }
        }
        Ok((drops, waiting))
    })?
}
