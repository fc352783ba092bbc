//! Which interfaces of a target get which rules, in which direction.

use super::{arrivals, lookup::Known, queue, rules::Placed};
use chaos_host::{CgroupScope, Interface, Target};
use chaos_spec::{
    faults::Queue,
    plan::{Plan, RulePlan},
};
use chaos_sys::{address, error::KernelError, netlink::Rtnl, netns::Netns};
use std::net::IpAddr;

/// What an attach point is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Index of the target.
    pub target: usize,
    /// The interface.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// The cgroup whose hook it is, for what arrives there; None: the interface's.
    pub cgroup: Option<CgroupScope>,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its link header, bytes.
    pub l2_len: u32,
    /// Direction.
    pub ingress: bool,
    /// Rule ids: groups of `except` entries and their rule, with the rule's phase.
    pub groups: Vec<(u32, Vec<u32>)>,
    /// DNS answers are read there.
    pub dns: bool,
    /// The largest queue that any of them needs.
    pub queue: Option<Queue>,
}

fn is_ours(interface: &Interface) -> bool {
    interface.alias.as_deref().is_some_and(|alias| alias.starts_with(super::attach::ALIAS))
}

/// The interfaces that carry the target's packets, each packet once: not those that stand on another one in the same namespace
/// (its packets pass there too), not ports of a bridge or bond (a packet of this host passes the upper device first), not ours.
/// A VRF's ports do, and not the VRF, which packets pass in part only (drivers/net/vrf.c, `vrf_ip_out`, `vrf_l3_rcv`).
fn carries(target: &Target, interface: &Interface) -> bool {
    let is_vrf = |interface: &Interface| interface.kind.as_deref() == Some("vrf");
    let stands_on_another =
        interface.lower.is_some() && interface.link_netnsid.is_none() && interface.kind.as_deref() != Some("veth");
    let is_port = interface
        .master
        .is_some_and(|master| target.interfaces.iter().any(|other| other.index == master && !is_vrf(other)));
    !is_ours(interface) && !stands_on_another && !is_port && !interface.loopback && !is_vrf(interface)
}

/// Two interfaces that carry the same packets: a bridge over a VLAN, and the device under that.
fn twice(target: &Target) -> Option<(&Interface, &Interface)> {
    let all = &target.interfaces;
    for upper in all.iter().filter(|interface| carries(target, interface)) {
        let (mut below, mut seen) = (vec![upper], vec![upper.index]);
        while let Some(one) = below.pop() {
            let next = all.iter().filter(|other| other.master == Some(one.index) || one.lower == Some(other.index));
            for other in next {
                if carries(target, other) {
                    return Some((upper, other));
                }
                if !seen.contains(&other.index) {
                    seen.push(other.index);
                    below.push(other);
                }
            }
        }
    }
    None
}

/// The addresses of a target's namespace. Needed only where a peer may name a local address, which moves a rule onto loopback.
///
/// # Errors
/// What the kernel says.
pub fn local_addresses(plan: &Plan, netns: &Netns) -> Result<Vec<IpAddr>, KernelError> {
    if plan.rules.iter().all(|rule| rule.condition.any_peer || rule.call.is_some()) {
        return Ok(Vec::new());
    }
    let list = netns.enter(|| address::list(&mut Rtnl::open()?))??;
    Ok(list.into_iter().map(|address| address.ip).collect())
}

/// What is known of a target's surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Addresses of its namespace.
    pub local: &'a [IpAddr],
    /// Addresses of host names.
    pub known: &'a Known,
}

/// Does a rule go onto this interface? Loopback only where it is named, or a peer is a local address.
#[must_use]
pub fn goes_on(rule: &RulePlan, target: &Target, interface: &Interface, around: Around) -> bool {
    queue::can_be_on(rule, interface) && means(rule, target, interface, around)
}

/// Would it go onto loopback, if its packets could be held back there?
#[must_use]
pub fn means_loopback(rule: &RulePlan, target: &Target, interface: &Interface, around: Around) -> bool {
    interface.loopback && means(rule, target, interface, around)
}

fn means(rule: &RulePlan, target: &Target, interface: &Interface, around: Around) -> bool {
    let condition = &rule.condition;
    if !condition.interfaces.is_empty() {
        return condition.interfaces.contains(&interface.name);
    }
    if interface.loopback {
        let by_address = |ip: &IpAddr| condition.peers.iter().any(|peer| peer.contains(*ip) && peer.prefix() > 0);
        let by_name = |ip: &IpAddr| {
            condition.hosts.iter().any(|host| around.known.of(target.netns.inode, host).any(|one| one == *ip))
        };
        return !condition.any_peer
            && (around.local.iter().any(|ip| by_address(ip) || by_name(ip))
                || condition.peers.iter().any(|peer| peer.address().is_loopback()));
    }
    carries(target, interface)
}

/// All attach points of one target. Where a peer is a host name, they include all by which questions of the DNS go out and answers come in, loopback too: a
/// resolver of the machine's own answers there.
///
/// # Errors
/// A sentence naming the field: an interface that is not there, or one whose link header we cannot read.
pub fn wants(
    plan: &Plan,
    placed: &[Placed],
    index: usize,
    target: &Target,
    around: Around,
) -> Result<Vec<Want>, String> {
    check_names(plan, target)?;
    let wants = found(plan, placed, index, target, around)?;
    let acts = plan.rules.iter().any(|rule| rule.call.is_none());
    if acts && wants.iter().all(|want| want.groups.is_empty()) {
        return Err(format!(
            "{} has no interface but loopback: no fault could act; match.interfaces: [lo] names it",
            target.name
        ));
    }
    Ok(wants)
}

/// Those that there are as things stand, be they few: interfaces come and go while an experiment runs.
///
/// # Errors
/// A sentence naming the field: an interface that stands on another, or one whose link header we cannot read.
pub fn found(
    plan: &Plan,
    placed: &[Placed],
    index: usize,
    target: &Target,
    around: Around,
) -> Result<Vec<Want>, String> {
    check_once(plan, target)?;
    let hosts = plan.rules.iter().any(RulePlan::names_hosts);
    let mut wants = arrivals::wants(plan, placed, index, target, around)?;
    for interface in &target.interfaces {
        for ingress in [false, true] {
            let acts = |one: &&Placed| {
                let rule = &plan.rules[one.plan];
                let wanted = if ingress {
                    rule.direction.ingress() && target.scope().is_none()
                } else {
                    rule.direction.egress()
                };
                one.target == index && wanted && rule.call.is_none() && goes_on(rule, target, interface, around)
            };
            let (groups, queue) = groups(plan, placed.iter().filter(acts), &interface.name);
            let dns = hosts && (interface.loopback || carries(target, interface));
            if groups.is_empty() && !dns {
                continue;
            }
            let Some(l2_len) = interface.header_len() else {
                if groups.is_empty() {
                    // Answers that come in there are not seen; the report lists what was learned.
                    continue;
                }
                return Err(format!(
                    "interface {} of {}: its link header (ARPHRD {}) is not known; name others by match.interfaces",
                    interface.name, target.name, interface.hardware
                ));
            };
            wants.push(Want {
                target: index,
                ifindex: interface.index,
                interface: interface.name.clone(),
                cgroup: None,
                mtu: interface.mtu,
                l2_len: u32::from(l2_len),
                ingress,
                groups,
                dns,
                queue,
            });
        }
    }
    Ok(wants)
}

/// Has the target what the plan's faults of packets need: the interfaces that are named, and one beside loopback?
#[must_use]
pub fn ready(plan: &Plan, target: &Target) -> bool {
    let acts = plan.rules.iter().any(|rule| rule.call.is_none());
    !acts || check_names(plan, target).is_ok() && target.interfaces.iter().any(|one| !one.loopback && !is_ours(one))
}

/// The rules of an attach point with their `except` entries, and the queue that they need.
fn groups<'a>(
    plan: &Plan,
    placed: impl Iterator<Item = &'a Placed>,
    interface: &str,
) -> (Vec<(u32, Vec<u32>)>, Option<Queue>) {
    let (mut groups, mut queue) = (Vec::new(), None);
    for one in placed {
        let rule = &plan.rules[one.plan];
        groups.push((rule.phase, one.ids_where(rule, |except| except.wants_interface(interface))));
        queue = larger(queue, rule.queue);
    }
    (groups, queue)
}

fn larger(one: Option<Queue>, other: Option<Queue>) -> Option<Queue> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Queue { longest: one.longest.saturating_add(other.longest), packets: one.packets.max(other.packets) })
        }
        (one, other) => one.or(other),
    }
}

fn check_once(plan: &Plan, target: &Target) -> Result<(), String> {
    let anywhere = |rule: &&RulePlan| rule.call.is_none() && rule.condition.interfaces.is_empty();
    let Some(rule) = plan.rules.iter().find(anywhere) else { return Ok(()) };
    let Some((upper, lower)) = twice(target) else { return Ok(()) };
    Err(format!(
        "spec.faults[{}].network.match.interfaces: {} of {} stands on {}, and a packet that passes both would be decided twice; \
         name the one that is meant",
        rule.fault, upper.name, target.name, lower.name
    ))
}

fn check_names(plan: &Plan, target: &Target) -> Result<(), String> {
    match absent(plan, target) {
        Some((path, text)) => Err(format!("{path}: {text}")),
        None => Ok(()),
    }
}

/// An interface that is named and is not there: its field, and what there is.
#[must_use]
pub fn absent(plan: &Plan, target: &Target) -> Option<(String, String)> {
    let there: Vec<&str> = target.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    plan.rules.iter().find_map(|rule| {
        let absent = rule.condition.interfaces.iter().find(|name| !there.contains(&name.as_str()))?;
        let text = format!("{} has no interface {absent:?}; it has {}", target.name, there.join(", "));
        Some((format!("spec.faults[{}].network.match.interfaces", rule.fault), text))
    })
}

#[cfg(test)]
mod tests;
