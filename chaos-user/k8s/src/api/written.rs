//! Whether an order came as it was written: a watch that began under older definitions drops what these do not have.

use super::{injection::Injection, peer_set::PeerSet, unread::Unread};
use crate::text::digest;
use kube::Resource;
use serde::Serialize;

/// The annotation with a fingerprint of the spec as the controller wrote it, as JSON.
const WRITTEN: &str = "chaos-ebpf.dev/written";

/// What the controller writes for the agents.
pub trait Written: Resource<DynamicType = ()> + Clone {
    /// What is asked, as JSON.
    fn text(&self) -> Vec<u8>;

    /// Why not all of it could be read.
    fn unread(&self) -> Option<&Unread>;

    /// Notes why.
    fn set_unread(&mut self, why: Unread);

    /// Whether it is to end, whatever else is asked.
    fn ends(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// Notes what is written, so that it is found where a part of it is lost on its way.
    #[must_use]
    fn marked(&self) -> Self {
        let mut one = self.clone();
        let mark = self.fingerprint();
        one.meta_mut().annotations.get_or_insert_default().insert(WRITTEN.to_owned(), mark);
        one
    }

    /// Nothing speaks against this being all that was written. A controller of another version may have another spec, or none of the notes.
    fn is_whole(&self) -> bool {
        let mark = self.meta().annotations.as_ref().and_then(|all| all.get(WRITTEN));
        self.unread().is_none() && mark.is_none_or(|mark| *mark == self.fingerprint())
    }

    #[doc(hidden)]
    fn fingerprint(&self) -> String {
        digest(&self.text())
    }
}

fn json(spec: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(spec).unwrap_or_default()
}

impl Written for Injection {
    fn text(&self) -> Vec<u8> {
        json(&self.spec)
    }

    fn unread(&self) -> Option<&Unread> {
        self.unread.as_ref()
    }

    fn set_unread(&mut self, why: Unread) {
        self.unread = Some(why);
    }

    fn ends(&self) -> bool {
        self.spec.stop.is_some() || self.meta().deletion_timestamp.is_some()
    }
}

impl Written for PeerSet {
    fn text(&self) -> Vec<u8> {
        json(&self.spec)
    }

    fn unread(&self) -> Option<&Unread> {
        self.unread.as_ref()
    }

    fn set_unread(&mut self, why: Unread) {
        self.unread = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn order(spec: Value) -> Injection {
        serde_json::from_value(json!({ "metadata": { "name": "one" }, "spec": spec })).unwrap()
    }

    fn spec() -> Value {
        let fault = json!({ "network": { "match": { "all": true, "protocol": "icmp" }, "partition": true } });
        json!({ "nodeName": "n".repeat(1000), "experiment": "cut", "remaining": "60s", "seed": 1, "faults": [fault] })
    }

    #[test]
    fn an_order_without_a_part_is_not_whole() {
        let seen = |edit: fn(&mut Value)| {
            let mut value = serde_json::to_value(order(spec()).marked()).unwrap();
            edit(&mut value);
            serde_json::from_value::<Injection>(value).unwrap()
        };
        assert!(seen(|_| {}).is_whole());
        // What the API server adds by itself.
        assert!(seen(|value| value["spec"]["dryRun"] = json!(false)).is_whole());
        assert!(seen(|value| value["metadata"]["labels"] = json!({ "a": "b" })).is_whole());
        let wider = seen(|value| {
            drop(value["spec"]["faults"][0]["network"]["match"].as_object_mut().unwrap().remove("protocol"))
        });
        assert!(wider.unread.is_none() && !wider.is_whole(), "a fault on more than was asked for");
        assert!(
            !seen(|value| drop(value["spec"].as_object_mut().unwrap().remove("seed"))).is_whole(),
            "what must be there"
        );
        assert!(order(spec()).is_whole(), "of a controller that notes nothing");
    }
}
