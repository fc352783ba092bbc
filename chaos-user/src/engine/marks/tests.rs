use super::*;
use crate::kernel::{
    datapath::Datapath,
    testing::{ip, root_or_return, unique},
};
use chaos_abi::{LEASE_RUNNING, Lease, PROGRAM_FAULT};
use std::os::fd::AsFd;

/// A namespace with a name, which `sweep` can find.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

#[test]
fn marks_are_found_and_only_those_that_no_journal_names() {
    root_or_return!();
    let named = Named(unique("mk"));
    ip(&["netns", "add", &named.0]);
    let netns = Netns::by_name(&named.0).unwrap();
    let datapath = Datapath::load().unwrap();
    let stub = datapath.stub(PROGRAM_FAULT, 2).unwrap();
    let mark = format!("{}eth0 egress", attach::ALIAS);
    let found = netns.enter(|| {
        for (tx, rx) in [("chq4", "chr4"), ("chq6", "chr6"), ("prod0", "prod1")] {
            ip(&["link", "add", tx, "type", "veth", "peer", "name", rx]);
        }
        ip(&["link", "set", "chq4", "alias", &mark]);
        ip(&["link", "set", "chq6", "alias", "somebody's"]);
        let mut rtnl = Rtnl::open().unwrap();
        let prod = link::find_by_name(&mut rtnl, "prod0").unwrap().unwrap().index;
        crate::kernel::qdisc::add_clsact(&mut rtnl, prod).unwrap();
        attach::add_filter(&mut rtnl, prod, false, stub.as_fd()).unwrap();
        // Another's, beside it.
        let other = Place { interface: prod, direction: Direction::Egress, pref: 7, handle: 7 };
        filter::add(&mut rtnl, other, "chaos", stub.as_fd()).unwrap();
        let found = find(&Journal::default(), netns.inode()).unwrap();
        let texts: Vec<_> = found.iter().map(Mark::text).collect();
        found.iter().for_each(|one| one.remove().unwrap());
        let left: Vec<_> = link::list(&mut rtnl).unwrap().into_iter().map(|one| one.name).collect();
        (texts, left, filter::list(&mut rtnl, prod, Direction::Egress).unwrap().len())
    });
    let (mut texts, mut left, filters) = found.unwrap();
    texts.sort();
    left.sort();
    assert_eq!(texts, ["chq4, which no journal named", "prod0 as a filter that no journal named"]);
    assert_eq!(left, ["chq6", "chr6", "lo", "prod0", "prod1"]);
    assert_eq!(filters, 1, "another's filter stays");
}

#[test]
fn what_acts_without_a_name_is_found_and_only_what_is_renewed_is_kept() {
    root_or_return!();
    let mut datapath = Datapath::load().unwrap();
    let map = datapath.ids().maps[maps::LEASES];
    let lease = Lease { state: LEASE_RUNNING, until: 5, deadline: u64::MAX, ..Lease::zeroed() };
    datapath.leases.set(3, lease, 0).unwrap();
    let mine = |journal: &Journal| {
        let mut found = unnamed(journal).unwrap();
        found.retain(|one| one.map == map);
        found
    };
    let found = mine(&Journal::default());
    assert_eq!(found.iter().map(|one| one.slot).collect::<Vec<_>>(), [3]);
    let run = crate::engine::RunEntry { lease: 3, ..Default::default() };
    let journal = Journal { datapath: Some(datapath.ids().clone()), runs: vec![run], ..Journal::default() };
    assert!(mine(&journal).is_empty(), "it has a name");
    assert_eq!(acting::kept(&found).unwrap(), 0, "nobody renews it");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| acting::kept(&found).unwrap());
        // A renewal while it is watched.
        std::thread::sleep(std::time::Duration::from_millis(300));
        datapath.leases.set(3, Lease { until: 6, ..lease }, 0).unwrap();
        assert_eq!(kept.join().unwrap(), 1);
    });
}
