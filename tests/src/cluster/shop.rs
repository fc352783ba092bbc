//! The pods that most tests act on: targets, neighbours of them and a database, on both nodes.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{Install, Pod, Scene};
use crate::need;

/// Made once per test program; its experiments come and go.
#[derive(Debug)]
pub struct Shop {
    /// The product.
    pub install: Install,
    /// Where the pods are.
    pub scene: Scene,
    /// One target on each node.
    pub web: [Pod; 2],
    /// One neighbour on each node, never selected.
    pub other: [Pod; 2],
    /// On the second node.
    pub db: Pod,
}

static SHOP: OnceLock<Option<Shop>> = OnceLock::new();

impl Shop {
    /// The shop; None where there is no cluster.
    #[track_caller]
    pub fn open() -> Option<&'static Self> {
        SHOP.get_or_init(|| {
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
            Some(Self { install, scene, web: [web_1, web_2], other: [other_1, other_2], db })
        })
        .as_ref()
    }

    /// What cuts off the database.
    pub fn cut() -> Value {
        json!({
            "match": { "peers": [{ "pods": { "labelSelector": { "matchLabels": { "app": "db" } } } }] },
            "partition": true,
        })
    }

    /// Nobody but the targets is harmed, and these by nothing but the cut.
    #[track_caller]
    pub fn only_the_database_is_cut_off(&self) {
        for web in &self.web {
            assert_eq!(web.pings(&self.db.ip, 5), 0, "{} still reaches the database", web.name);
            assert!(web.reaches(&self.other[1].ip), "{} is cut off from more than was asked", web.name);
        }
        for other in &self.other {
            assert_eq!(other.pings(&self.db.ip, 5), 5, "{} was not selected", other.name);
        }
    }

    /// Whether every pod reaches the database.
    #[track_caller]
    pub fn all_is_well(&self) -> bool {
        self.web.iter().chain(&self.other).all(|pod| pod.reaches(&self.db.ip))
    }
}
