//! What the experiments of one namespace take of the tables that all of a node share.

use super::{compile, part::Part};
use crate::compile::PeerSets;
use chaos_abi::{MAX_HOSTS, MAX_LEASES, MAX_PEERS, MAX_PORT_SETS, MAX_RULES};
use chaos_spec::plan::Plan;
use std::ops::Add;

/// Places in the tables: what is counted, and of how many.
const TABLES: [(&str, usize); 6] = [
    ("experiments", MAX_LEASES as usize - 1),
    ("rules", MAX_RULES as usize - 1),
    ("sets of ports", MAX_PORT_SETS as usize - 1),
    ("addresses of peers", MAX_PEERS as usize),
    ("prefixes of peers", MAX_PEERS as usize),
    ("host names on targets", MAX_HOSTS as usize),
];

/// How many places of each table are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken([usize; TABLES.len()]);

impl Taken {
    /// By a plan on so many targets. Peers that are resolved are those of the plan.
    pub fn by(plan: &Plan, targets: usize) -> Self {
        let conditions = || plan.rules.iter().flat_map(|rule| rule.conditions());
        let ports = conditions().flat_map(|one| [&one.ports, &one.local_ports]).filter(|ports| !ports.is_empty());
        let cidrs = || {
            let resolved = conditions().flat_map(|one| one.resolved.iter().flatten()).map(|one| one.cidr);
            conditions().flat_map(|one| one.peers.iter().copied()).chain(resolved)
        };
        let is_single =
            |cidr: &chaos_spec::value::Cidr| cidr.prefix() == if cidr.address().is_ipv6() { 128 } else { 32 };
        let singles = cidrs().filter(is_single).count();
        Self([1, 0, ports.count(), singles, cidrs().count() - singles, 0]) + Self::of_rules(plan, targets)
    }

    /// By the rules of a plan on so many more targets.
    pub fn of_rules(plan: &Plan, targets: usize) -> Self {
        let rules = plan.rules.iter().map(|rule| 1 + rule.excepts.len()).sum::<usize>();
        // Each name is learned for each target on its own.
        let hosts = plan.rules.iter().flat_map(|rule| rule.conditions()).map(|one| one.hosts.len()).sum::<usize>();
        Self([0, rules * targets, 0, 0, 0, hosts * targets])
    }

    /// By a part that is applied, with its peers as they are now.
    pub fn by_part(part: &Part, sets: &PeerSets) -> Self {
        let Some(active) = &part.active else { return Self::default() };
        let resolved = compile::peers(&part.injection.spec, &part.place().0, sets);
        let mut plan = active.plan.clone();
        for condition in plan.rules.iter_mut().flat_map(|rule| rule.excepts.iter_mut().chain([&mut rule.condition])) {
            condition.resolved = None;
        }
        let mut taken =
            Self::by(&plan, part.members.values().filter(|one| one.netns.is_some()).map(|one| one.indices.len()).sum());
        taken.0[3] += resolved.iter().map(|(_, _, addresses)| addresses.len()).sum::<usize>();
        taken
    }

    /// Is this within a share, in percent, of each table?
    ///
    /// # Errors
    /// A sentence that names the first table that has no room.
    pub fn within(self, percent: u32, namespace: &str) -> Result<(), String> {
        for ((what, all), taken) in TABLES.iter().zip(self.0) {
            let room = all * percent.min(100) as usize / 100;
            if taken > room {
                return Err(format!(
                    "this node's policy gives namespace {namespace} {percent} % of its {what}, which is {room}; {taken} are needed \
                     by all of its experiments together; stop one of them, or raise maxShare"
                ));
            }
        }
        Ok(())
    }
}

impl Add for Taken {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut sum = self;
        sum.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_each_table() {
        let rules = Taken([1, 1023, 0, 0, 0, 0]);
        assert_eq!(rules.within(25, "shop"), Ok(()));
        let said = (rules + Taken([0, 1, 0, 0, 0, 0])).within(25, "shop").unwrap_err();
        assert!(said.contains("shop") && said.contains("rules, which is 1023; 1024 are needed"), "{said}");
        assert!(
            Taken([0, 0, 32, 0, 0, 0]).within(25, "shop").is_err()
                && Taken([0, 0, 31, 0, 0, 0]).within(25, "shop").is_ok()
        );
        assert!(
            Taken([0, 0, 0, 0, 0, 4097]).within(25, "shop").is_err()
                && Taken([0, 0, 0, 0, 0, 4096]).within(25, "shop").is_ok()
        );
        assert_eq!(Taken([1023, 4095, 127, 65_536, 65_536, 16_384]).within(100, "shop"), Ok(()));
    }
}
