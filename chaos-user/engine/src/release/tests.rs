use super::*;
use crate::PairEntry;
use chaos_sys::testing::{in_scratch, ip, root_or_return};

fn entry(id: u32, [tx, rx]: [&str; 2]) -> PointEntry {
    let pair = PairEntry { tx: tx.to_owned(), rx: rx.to_owned(), link: None, limit: 0, unknown: Default::default() };
    PointEntry {
        id,
        kind: PointKind::Interface,
        netns: 0,
        ifindex: 1,
        interface: "lo".to_owned(),
        ingress: false,
        link: Some(1),
        filter: None,
        clsact: false,
        pair: Some(pair),
        unknown: Default::default(),
    }
}

fn names(rtnl: &mut Rtnl) -> Vec<String> {
    link::list(rtnl).unwrap().into_iter().map(|one| one.name).filter(|name| name != "lo").collect()
}

fn veth(tx: &str, rx: &str) {
    ip(&["link", "add", tx, "type", "veth", "peer", "name", rx]);
}

#[test]
fn only_our_pairs_are_deleted_whatever_the_journal_names() {
    root_or_return!();
    let mark = format!("{}lo egress", attach::ALIAS);
    in_scratch(|rtnl| {
        // Without a mark, with another's, marked but not of this name.
        veth("prod0", "prod1");
        veth("chq8", "chr8");
        ip(&["link", "set", "chq8", "alias", "the database's"]);
        veth("front", "back");
        ip(&["link", "set", "front", "alias", &mark]);
        // In use, and without a mark: not one that was just made.
        veth("chq12", "chr12");
        ip(&["link", "set", "chq12", "up"]);
        veth("chq14", "other");
        let before = names(rtnl);
        for (id, pair) in [
            (2, ["prod0", "prod1"]),
            (8, ["chq8", "chr8"]),
            (2, ["front", "back"]),
            (12, ["chq12", "chr12"]),
            (14, ["chq14", "chr14"]),
            (16, ["chq16", "chr16"]),
        ] {
            remove(rtnl, &entry(id, pair)).unwrap();
            assert_eq!(names(rtnl), before, "{pair:?}");
        }
    });
}

#[test]
fn our_pairs_are_deleted_marked_or_just_made() {
    root_or_return!();
    in_scratch(|rtnl| {
        veth("chq2", "chr2");
        remove(rtnl, &entry(2, ["chq2", "chr2"])).unwrap();
        assert!(names(rtnl).is_empty(), "made, not yet marked");
        veth("chq4", "chr4");
        for end in ["chq4", "chr4"] {
            ip(&["link", "set", end, "alias", &format!("{}eth0 egress", attach::ALIAS)]);
            ip(&["link", "set", end, "up"]);
        }
        remove(rtnl, &entry(4, ["chq4", "chr4"])).unwrap();
        assert!(names(rtnl).is_empty(), "marked");
        let lo = link::list(rtnl).unwrap().swap_remove(0);
        let marked = Interface { alias: Some(format!("{}eth0", attach::ALIAS)), ..lo };
        assert!(!is_pair(&marked, None), "no veth");
        assert!(is_pair(&Interface { kind: Some("veth".to_owned()), ..marked }, None));
    });
}
