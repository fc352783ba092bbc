//! A benchmark on a Kubernetes cluster: how long after `kubectl apply` has returned the first and the last of twenty pods is under
//! the fault, and how long after `kubectl delete` has. Every pod sends a datagram a millisecond; what arrives is what counts.
//! `cargo xtask test --cluster cluster_speed` runs it and prints; a bound is not tested, since it would be one of the machine.

use std::time::Duration;

use chaos_tests::cluster::{Race, Shop};

#[test]
fn twenty_pods_are_under_it_soon_and_are_let_go_soon() {
    let Some(shop) = Shop::open() else { return };
    Race::new(&shop.scene, &shop.db, ["node1", "node2"], 1).run(7, Duration::from_secs(1));
}

#[test]
fn forty_experiments_act_together() {
    let Some(shop) = Shop::open() else { return };
    Race::new(&shop.scene, &shop.db, ["node1", "node2"], 5).together(40);
}
