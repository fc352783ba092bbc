//! What arrives for a target that shares its network namespace: no interface knows whose it is, so partition and loss act on the
//! cgroup's own hook, where the packet has found its socket. What finds none, or only one in TIME_WAIT, is nobody's there
//! (net/ipv4/tcp_ipv4.c, `tcp_v4_rcv`).

use super::{
    PointKind,
    rules::Placed,
    wants::{Around, Want, goes_on},
};
use chaos_host::{CgroupScope, Interface, Target};
use chaos_spec::{
    Direction,
    plan::{Condition, Plan},
};
use chaos_sys::{bpf, datapath::Datapath, error::KernelError};
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

/// The kinds of faults that the hook can do: it can let a packet through or not.
const KINDS: [&str; 2] = ["partition", "loss"];
/// Stands for any interface but loopback.
const ANY: u32 = 0;

/// As in [`Want::groups`].
type Groups = Vec<(u32, Vec<u32>)>;

/// Does this plan need the hook on this target?
#[must_use]
pub fn needed(plan: &Plan, target: &Target) -> bool {
    target.scope().is_some() && plan.rules.iter().any(|rule| rule.direction.ingress())
}

/// Can the hook do what the plan asks of what arrives for this target?
///
/// # Errors
/// A sentence naming the field, the reason and what is possible.
pub fn possible(plan: &Plan, target: &Target) -> Result<(), String> {
    let beyond = |rule: &&chaos_spec::plan::RulePlan| rule.direction.ingress() && !KINDS.contains(&rule.kind);
    let Some(rule) = plan.rules.iter().find(beyond).filter(|_| target.scope().is_some()) else { return Ok(()) };
    Err(format!(
        "spec.faults[{}].network.direction: {} shares its network namespace, so what arrives for it is known as its own only \
         at its sockets, where packets can be dropped and nothing else: {} is not possible there, loss and partition are; use \
         direction: egress, or place the fault at the peer",
        rule.fault, target.name, rule.kind
    ))
}

/// How a fault of a scoped target acts, for the report; `interfaces` says how programs are attached to those.
#[must_use]
pub fn mechanism(direction: Direction, interfaces: &str) -> String {
    match direction {
        Direction::Egress => interfaces.to_owned(),
        Direction::Ingress => "cgroup_skb".to_owned(),
        Direction::Both => format!("{interfaces}+cgroup_skb"),
    }
}

/// Puts a stub onto the cgroup.
///
/// # Errors
/// ENOENT where the cgroup is another one by now; what the kernel says.
pub fn attach(datapath: &Datapath, point: u32, scope: &CgroupScope) -> Result<OwnedFd, KernelError> {
    let object = format!("cgroup {}", scope.path);
    let stub = datapath.cgroup_stub(point)?;
    let directory = File::open(&scope.directory).map_err(|e| KernelError::from_io("open", &object, &e))?;
    let inode = directory.metadata().map_err(|e| KernelError::from_io("open", &object, &e))?.ino();
    if inode != scope.id {
        return Err(KernelError::new("open", object, Errno::ENOENT).with_detail("it has been made anew meanwhile"));
    }
    bpf::attach_cgroup(stub.as_fd(), directory.as_fd(), &object)
}

/// The names by which an interface can be meant: its own, and those below it, which its packets passed.
fn names<'a>(target: &'a Target, interface: &'a Interface) -> Vec<&'a str> {
    let mut names = vec![interface.name.as_str()];
    let mut lower = interface.lower;
    while let Some(below) = lower.and_then(|index| target.interfaces.iter().find(|one| one.index == index)) {
        if names.contains(&below.name.as_str()) {
            break;
        }
        names.push(&below.name);
        lower = below.lower;
    }
    names
}

fn means(condition: &Condition, names: &[&str]) -> bool {
    names.iter().any(|name| condition.wants_interface(name))
}

/// What arrives by a port comes to a process by the bridge, and which port it was is not known any more.
fn check_ports(plan: &Plan, target: &Target) -> Result<(), String> {
    for rule in plan.rules.iter().filter(|rule| rule.direction.ingress()) {
        for name in rule.excepts.iter().chain([&rule.condition]).flat_map(|condition| &condition.interfaces) {
            let named = target.interfaces.iter().find(|interface| interface.name == *name);
            let master = named.and_then(|interface| interface.master);
            if let Some(master) = target.interfaces.iter().find(|one| Some(one.index) == master) {
                return Err(format!(
                    "spec.faults[{}].network.match: {name} of {} is a port of {}, by which all that arrives reaches a process: \
                     name {} in interfaces",
                    rule.fault, target.name, master.name, master.name
                ));
            }
        }
    }
    Ok(())
}

/// The attach points for what arrives: one for all interfaces but loopback where no rule names one, else one each.
///
/// # Errors
/// A sentence naming the field.
pub fn wants(
    plan: &Plan,
    placed: &[Placed],
    index: usize,
    target: &Target,
    around: Around,
) -> Result<Vec<Want>, String> {
    let Some(scope) = target.scope() else { return Ok(Vec::new()) };
    check_ports(plan, target)?;
    let mut places: BTreeMap<u32, (String, Groups)> = BTreeMap::new();
    for one in placed.iter().filter(|one| one.target == index) {
        let rule = &plan.rules[one.plan];
        if !rule.direction.ingress() {
            continue;
        }
        let mut add = |ifindex: u32, names: &[&str]| {
            let ids = one.ids_where(rule, |except| names.is_empty() || means(except, names));
            let name = match names.first() {
                Some(name) => format!("cgroup {} by {name}", scope.path),
                None => format!("cgroup {}", scope.path),
            };
            places.entry(ifindex).or_insert_with(|| (name, Vec::new())).1.push((rule.phase, ids));
        };
        let named = rule.excepts.iter().chain([&rule.condition]).any(|condition| !condition.interfaces.is_empty());
        if !named {
            add(ANY, &[]);
        }
        for interface in &target.interfaces {
            let names = names(target, interface);
            let wanted = if interface.loopback || rule.condition.interfaces.is_empty() {
                interface.loopback && goes_on(rule, target, interface, around) || named && !interface.loopback
            } else {
                means(&rule.condition, &names)
            };
            if wanted {
                add(interface.index, &names);
            }
        }
    }
    let want = |(ifindex, (interface, groups))| Want {
        target: index,
        ifindex,
        interface,
        cgroup: Some(scope.clone()),
        mtu: 0,
        l2_len: 0,
        ingress: true,
        groups,
        queue: None,
        dns: false,
    };
    Ok(places.into_iter().map(want).collect())
}

impl Want {
    /// What a program is attached to.
    #[must_use]
    pub fn kind(&self) -> PointKind {
        self.cgroup.as_ref().map_or(PointKind::Interface, |scope| PointKind::Cgroup { id: scope.id })
    }
}
