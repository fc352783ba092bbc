//! Which interfaces of a target get which rules, in which direction; pure.

use super::{arrivals, rules::Placed};
use crate::{
    faults::Queue,
    plan::Plan,
    resolve::{CgroupScope, Target, interface::Interface},
};
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

/// Does a rule go onto this interface? Loopback only where it is named, or a peer is a local address.
#[must_use]
pub fn goes_on(plan: &Plan, rule: usize, target: &Target, interface: &Interface, local: &[IpAddr]) -> bool {
    let condition = &plan.rules[rule].condition;
    if !condition.interfaces.is_empty() {
        return condition.interfaces.contains(&interface.name);
    }
    if interface.loopback {
        let names_local = |ip: &IpAddr| condition.peers.iter().any(|peer| peer.contains(*ip) && peer.prefix() > 0);
        return !condition.any_peer
            && (local.iter().any(names_local) || condition.peers.iter().any(|peer| peer.address().is_loopback()));
    }
    carries(target, interface)
}

/// All attach points of one target. `local` holds the addresses of its namespace.
///
/// # Errors
/// A sentence naming the field: an interface that is not there, or one whose link header we cannot read.
pub fn wants(
    plan: &Plan,
    placed: &[Placed],
    index: usize,
    target: &Target,
    local: &[IpAddr],
) -> Result<Vec<Want>, String> {
    check_names(plan, target)?;
    check_once(plan, target)?;
    let mut wants = arrivals::wants(plan, placed, index, target, local)?;
    for interface in &target.interfaces {
        for ingress in [false, true] {
            let mut groups = Vec::new();
            let mut queue: Option<Queue> = None;
            for one in placed.iter().filter(|one| one.target == index) {
                let rule = &plan.rules[one.plan];
                let wanted = if ingress {
                    rule.direction.ingress() && target.scope().is_none()
                } else {
                    rule.direction.egress()
                };
                if !wanted || !goes_on(plan, one.plan, target, interface, local) {
                    continue;
                }
                let excepts = rule.excepts.iter().zip(&one.ids).filter(|(e, _)| e.wants_interface(&interface.name));
                let ids = excepts.map(|(_, id)| *id).chain([one.id()]).collect();
                groups.push((rule.phase, ids));
                queue = larger(queue, rule.queue);
            }
            if groups.is_empty() {
                continue;
            }
            let Some(l2_len) = interface.header_len() else {
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
                queue,
            });
        }
    }
    if wants.is_empty() {
        return Err(format!(
            "{} has no interface but loopback: no fault could act; match.interfaces: [lo] names it",
            target.name
        ));
    }
    Ok(wants)
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
    let Some(rule) = plan.rules.iter().find(|rule| rule.condition.interfaces.is_empty()) else { return Ok(()) };
    let Some((upper, lower)) = twice(target) else { return Ok(()) };
    Err(format!(
        "spec.faults[{}].network.match.interfaces: {} of {} stands on {}, and a packet that passes both would be decided twice; \
         name the one that is meant",
        rule.fault, upper.name, target.name, lower.name
    ))
}

fn check_names(plan: &Plan, target: &Target) -> Result<(), String> {
    let there: Vec<&str> = target.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    for rule in &plan.rules {
        if let Some(absent) = rule.condition.interfaces.iter().find(|name| !there.contains(&name.as_str())) {
            return Err(format!(
                "spec.faults[{}].network.match.interfaces: {} has no interface {absent:?}; it has {}",
                rule.fault,
                target.name,
                there.join(", ")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
