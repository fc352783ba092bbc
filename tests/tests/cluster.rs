//! On a Kubernetes cluster: what an Experiment does to the pods that it means, and to no others. Seen from inside the pods and from
//! their peers on both nodes.

use chaos_tests::{
    cluster::{Asked, Install, Pod, Scene},
    need,
};
use serde_json::json;

/// Two targets and a neighbour of each, and a database on the second node.
struct Shop {
    scene: Scene,
    web: [Pod; 2],
    other: [Pod; 2],
    db: Pod,
}

fn shop() -> Option<(Install, Shop)> {
    let cluster = need::cluster()?;
    let install = Install::here(&cluster);
    let scene = Scene::new(&cluster);
    let pods = [
        scene.pod("web-1", "web", "node1"),
        scene.pod("web-2", "web", "node2"),
        scene.pod("other-1", "other", "node1"),
        scene.pod("other-2", "other", "node2"),
        scene.pod("db", "db", "node2"),
    ];
    let [web_1, web_2, other_1, other_2, db] = <[Pod; 5]>::try_from(scene.start(&pods)).expect("five pods");
    Some((install, Shop { scene, web: [web_1, web_2], other: [other_1, other_2], db }))
}

#[test]
fn a_partition_cuts_the_selected_pods_from_the_named_ones_and_ends() {
    let Some((_, shop)) = shop() else { return };
    let network = json!({ "match": { "peers": [{ "pods": { "labelSelector": { "matchLabels": { "app": "db" } } } }] }, "partition": true });
    let cut = Asked::apply(&shop.scene, "cut", 8, "web", &network);
    cut.await_injected();
    for web in &shop.web {
        assert_eq!(web.pings(&shop.db.ip, 5), 0, "{} still reaches the database", web.name);
        assert!(web.reaches(&shop.other[1].ip), "{} is cut off from more than was asked", web.name);
    }
    for other in &shop.other {
        assert_eq!(other.pings(&shop.db.ip, 5), 5, "{} was not selected", other.name);
    }
    let over = cut.await_over();
    assert_eq!((over.phase(), over.verdict()), ("Finished", "Pass"), "{}", over.reason());
    assert!(shop.web.iter().all(|web| web.pings(&shop.db.ip, 3) == 3), "it has not ended");
    assert_eq!(over.count("injected"), 10, "each of the lost pings was counted, and nothing else");
}
