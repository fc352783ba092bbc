use super::*;
use chaos_abi::{LEASE_RUNNING, Lease, PROGRAM_FAULT};
use chaos_sys::{
    datapath::Datapath,
    testing::{ip, root_or_return, unique},
};
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
    let datapath = Datapath::load(chaos_objects::NET).unwrap();
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
        chaos_sys::qdisc::add_clsact(&mut rtnl, prod).unwrap();
        clsact::add_filter(&mut rtnl, prod, false, true, stub.as_fd()).unwrap();
        // Another's, beside it.
        let other = Place { interface: prod, direction: Direction::Egress, pref: 7, handle: 7 };
        filter::add(&mut rtnl, other, "chaos", stub.as_fd()).unwrap();
        // Below clsact that was made for it, and below one that was there.
        for (name, made) in [("made", true), ("had", false)] {
            ip(&["link", "add", name, "type", "bridge"]);
            let index = link::find_by_name(&mut rtnl, name).unwrap().unwrap().index;
            chaos_sys::qdisc::add_clsact(&mut rtnl, index).unwrap();
            for ingress in [false, true] {
                clsact::add_filter(&mut rtnl, index, ingress, made, stub.as_fd()).unwrap();
            }
        }
        let found = find(&Journal::default(), netns.inode()).unwrap();
        let texts: Vec<_> = found.iter().map(Mark::text).collect();
        found.iter().for_each(|one| one.remove().unwrap());
        let left: Vec<_> = link::list(&mut rtnl).unwrap().into_iter().map(|one| one.name).collect();
        let clsact = ["prod0", "made", "had"].map(|name| {
            let index = link::find_by_name(&mut rtnl, name).unwrap().unwrap().index;
            chaos_sys::qdisc::has_clsact(&mut rtnl, index).unwrap()
        });
        (texts, left, filter::list(&mut rtnl, prod, Direction::Egress).unwrap().len(), clsact)
    });
    let (mut texts, mut left, filters, clsact) = found.unwrap();
    texts.sort();
    left.sort();
    let filter = |name: &str| format!("{name} as a filter that no journal named");
    let [had, made, prod] = ["had", "made", "prod0"].map(filter);
    assert_eq!(texts, ["chq4, which no journal named", &had, &had, &made, &made, &prod]);
    assert_eq!(left, ["chq6", "chr6", "had", "lo", "made", "prod0", "prod1"]);
    assert_eq!(clsact, [true, false, true], "what is another's or has another's filter stays");
    assert_eq!(filters, 1, "another's filter stays");
}

#[test]
fn what_acts_without_a_name_is_found_and_only_what_is_renewed_is_kept() {
    root_or_return!();
    let mut datapath = Datapath::load(chaos_objects::NET).unwrap();
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
    let run = crate::RunEntry { lease: 3, ..Default::default() };
    let journal = Journal { datapath: Some(datapath.ids().clone()), runs: vec![run], ..Journal::default() };
    assert!(mine(&journal).is_empty(), "it has a name");
    let later = Lease { id: 8, ..lease };
    datapath.leases.set(3, later, 0).unwrap();
    assert_eq!(mine(&journal).len(), 1, "what the journal names had this slot before");
    // The name of one that has died there is none of the one that acts.
    let dead = crate::RunEntry { lease: 3, lease_id: 4, pid: u32::MAX, ..Default::default() };
    names::write(&mut datapath, &super::named(&dead)).unwrap();
    let lost_here = |journal: &Journal| {
        let all = lost(journal).unwrap().into_iter();
        all.filter(|one| one.datapath.as_ref().is_some_and(|ids| ids.maps[maps::LEASES] == map)).count()
    };
    assert_eq!(lost_here(&Journal::default()), 0);
    let alive = crate::RunEntry { lease_id: 8, ..dead };
    names::write(&mut datapath, &super::named(&alive)).unwrap();
    assert_eq!(lost_here(&Journal::default()), 1, "nobody lives who has it, and it acts");
    datapath.leases.set(3, lease, 0).unwrap();
    assert_eq!(acting::kept(&found).unwrap(), 0, "nobody renews it");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| acting::kept(&found).unwrap());
        // A renewal while it is watched.
        std::thread::sleep(std::time::Duration::from_millis(300));
        datapath.leases.set(3, Lease { until: 6, ..lease }, 0).unwrap();
        assert_eq!(kept.join().unwrap(), 1);
    });
}

#[test]
fn a_limit_says_what_was_before() {
    root_or_return!();
    let named = Named(unique("ml"));
    ip(&["netns", "add", &named.0]);
    let netns = Netns::by_name(&named.0).unwrap();
    netns
        .enter(|| {
            ip(&["link", "add", "d0", "type", "veth", "peer", "name", "d1", "gso_max_segs", "17"]);
            ip(&["link", "set", "d1", "gso_max_segs", "1"]);
            let mut rtnl = Rtnl::open().unwrap();
            let get = |rtnl: &mut Rtnl, name| link::find_by_name(rtnl, name).unwrap().unwrap();
            let d0 = get(&mut rtnl, "d0");
            link::set_gso_max_segs(&mut rtnl, d0.index, 23).unwrap();
            limit::limit(d0.index, 23).unwrap();
            // Once more, as by a second experiment.
            limit::limit(d0.index, 23).unwrap();
            let limited = get(&mut rtnl, "d0");
            assert_eq!((limited.gso_max_segs, limit::before(&limited)), (Some(1), Some(23)));
            let place = LimitPlace { netns: netns.inode(), ifindex: d0.index };
            let entry =
                crate::LimitEntry { place, interface: "d0".to_owned(), before: 23, unknown: Default::default() };
            let journal = Journal { limits: vec![entry], ..Journal::default() };
            assert!(find(&journal, netns.inode()).unwrap().is_empty(), "the journal has it");
            let found = find(&Journal::default(), netns.inode()).unwrap();
            assert_eq!(found.iter().map(Mark::text).collect::<Vec<_>>(), ["d0 (gso_max_segs), which no journal named"]);
            found.iter().for_each(|one| one.remove().unwrap());
            let after = get(&mut rtnl, "d0");
            assert_eq!((after.gso_max_segs, after.altnames), (Some(23), Vec::new()));
            assert_eq!(get(&mut rtnl, "d1").gso_max_segs, Some(1), "nobody limited it");
        })
        .unwrap();
}

#[test]
fn what_is_prepared_is_found_while_its_process_lives() {
    root_or_return!();
    let mut datapath = Datapath::load(chaos_objects::NET).unwrap();
    let me = Owner::me();
    let run = |lease, pid| RunEntry {
        name: format!("of-{pid}"),
        pid,
        pid_start: me.start,
        lease,
        lease_id: u64::from(lease) + 7_000,
        ..RunEntry::default()
    };
    for one in [run(3, me.pid), run(4, u32::MAX)] {
        names::write(&mut datapath, &super::named(&one)).unwrap();
    }
    assert!(all_named(&Journal::default(), &datapath).unwrap_err().to_string().contains("`chaos stop of-"));
    let named = Journal { runs: vec![run(3, me.pid)], ..Journal::default() };
    assert_eq!(all_named(&named, &datapath), Ok(()), "it is named, and the owner of the other is dead");
    assert_eq!(still_named(&named, &run(3, 1)), Ok(()));
    let later = RunEntry { lease_id: 8, ..run(3, me.pid) };
    assert!(still_named(&named, &later).is_err(), "another one that has its slot");
    let map = datapath.ids().maps[maps::LEASES];
    let mine = |journal: &Journal| {
        let mut found = lost(journal).unwrap();
        found.retain(|one| one.datapath.as_ref().is_some_and(|ids| ids.maps[maps::LEASES] == map));
        found.into_iter().flat_map(|one| one.runs).map(|run| run.lease).collect::<Vec<_>>()
    };
    assert_eq!(mine(&Journal::default()), [3], "nothing acts, and the owner of one lives");
    assert!(nobody_is_unnamed(&Journal::default()).unwrap_err().to_string().contains("stop --all"));
    let journal = Journal { datapath: Some(datapath.ids().clone()), runs: vec![run(3, me.pid)], ..Journal::default() };
    assert!(mine(&journal).is_empty(), "the journal names it");
}

#[test]
fn what_a_live_owner_has_where_a_start_is_asked_for_refuses_it() {
    root_or_return!();
    let mut datapath = Datapath::load(chaos_objects::NET).unwrap();
    let me = Owner::me();
    let run = RunEntry {
        name: "mine".to_owned(),
        pid: me.pid,
        pid_start: me.start,
        lease: 3,
        lease_id: 9,
        ..RunEntry::default()
    };
    names::write(&mut datapath, &super::named(&run)).unwrap();
    let [with, without] = ["mw", "mo"].map(|name| Named(unique(name)));
    let [there, elsewhere] = [&with, &without].map(|named| {
        ip(&["netns", "add", &named.0]);
        Netns::by_name(&named.0).unwrap()
    });
    let mark = format!("{}eth0 egress", attach::ALIAS);
    ip(&["-n", &with.0, "link", "add", "chq4", "type", "veth", "peer", "name", "chr4"]);
    ip(&["-n", &with.0, "link", "set", "chq4", "alias", &mark]);
    let journal = Journal { runs: vec![RunEntry { lease: 5, ..RunEntry::default() }], ..Journal::default() };
    for journal in [Journal::default(), journal] {
        let error = clear_way(&journal, Some(vec![there.clone(), there.clone()])).unwrap_err();
        assert!(error.to_string().contains("stop --all"), "{error}");
        assert_eq!(clear_way(&journal, Some(vec![elsewhere.clone()])), Ok(()), "where nothing is");
    }
    let pair = there.enter(|| link::find_by_name(&mut Rtnl::open()?, "chq4")).unwrap().unwrap();
    assert!(pair.is_some(), "it is untouched");
}

#[test]
fn a_mark_that_no_device_can_have_is_none() {
    root_or_return!();
    chaos_sys::testing::in_scratch(|rtnl| {
        ip(&["link", "add", "d0", "type", "veth", "peer", "name", "d1"]);
        let get = |rtnl: &mut Rtnl| link::find_by_name(rtnl, "d0").unwrap().unwrap();
        let index = get(rtnl).index;
        let add = |rtnl: &mut Rtnl, before: &str| {
            link::altname::add(rtnl, index, &format!("chaos-gso-max-segs-{before}-of-{index}")).unwrap();
        };
        link::set_gso_max_segs(rtnl, index, 1).unwrap();
        for before in ["4000000000", "65536", "1", "0", "x"] {
            add(rtnl, before);
            assert_eq!(limit::before(&get(rtnl)), None, "{before}");
        }
        // What the kernel refuses is said, and is in nobody's way.
        let d0 = get(rtnl);
        limit::give_back(rtnl, &d0, 4_000_000_000).unwrap();
        add(rtnl, "23");
        let d0 = get(rtnl);
        limit::give_back(rtnl, &d0, 4_000_000_000).unwrap();
        assert_eq!(get(rtnl).altnames.len(), 5, "the mark is gone, and other names stay");
    });
}
