//! What the agent knows of its node's pods, and which of them an experiment follows.

use super::probed;
use chaos_host::pod::PodRef;
use chaos_k8s::{api::Follow, draw::drawn};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Annotation of static pods and of the mirror pods that show them: by this the kubelet names their cgroups and files
/// (pkg/kubelet/types/constants.go, `ConfigHashAnnotationKey`).
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation of mirror pods, with the same value (`ConfigMirrorAnnotationKey`). The API server refuses to add, change or remove it
/// (pkg/apis/core/validation, `ValidatePodSpecificAnnotationUpdates`).
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Characters of an annotation's value that are kept: no selector has a longer one (the schema of [`LabelSelector`]'s values), so a longer
/// value agrees with none before and after it is cut.
const LONGEST: usize = 257;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its UID.
    pub uid: String,
    /// How it is found on the node.
    pub place: PodRef,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; of long values the begin.
    pub annotations: BTreeMap<String, String>,
    /// Its node's addresses, as the kubelet says.
    pub hosts: BTreeSet<IpAddr>,
    /// The TCP ports at which its node probes it.
    pub probes: BTreeSet<u16>,
    /// It has ended: no container of it will run again.
    pub ended: bool,
}

impl PodFacts {
    /// From the API server's object on this node; None for one without a UID.
    #[must_use]
    pub fn of(pod: Pod, node: &str) -> Option<Self> {
        let mirrored = mirrored(&pod, node);
        let uid = pod.metadata.uid?;
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let hosts = status.host_ips.into_iter().flatten().map(|one| one.ip).chain(status.host_ip);
        Some(Self {
            place: PodRef {
                namespace: pod.metadata.namespace?,
                name: pod.metadata.name?,
                uid: uid.clone(),
                mirrored,
                host_network: pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false),
            },
            uid,
            labels: pod.metadata.labels.unwrap_or_default(),
            annotations: annotations.into_iter().map(|(key, value)| (key, bounded(value))).collect(),
            hosts: hosts.filter_map(|ip| ip.parse().ok()).collect(),
            probes: pod.spec.as_ref().map(probed::ports).unwrap_or_default(),
            ended: matches!(phase.as_str(), "Succeeded" | "Failed"),
        })
    }
}

fn bounded(mut value: String) -> String {
    if let Some((end, _)) = value.char_indices().nth(LONGEST) {
        value.truncate(end);
        value.shrink_to_fit();
    }
    value
}

/// The UID of the static pod that a mirror pod of this node shows. Anybody who may patch pods can write annotations: they count where the
/// API server keeps them from being changed, and where the pod belongs to this very node.
fn mirrored(pod: &Pod, node: &str) -> Option<String> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let hash = annotations.get(CONFIG_MIRROR)?;
    let owned = pod.metadata.owner_references.iter().flatten().any(|owner| {
        owner.kind == "Node" && owner.name == node && owner.api_version == "v1" && owner.controller == Some(true)
    });
    let formed =
        (32..=36).contains(&hash.len()) && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    (owned && formed && annotations.get(CONFIG_HASH) == Some(hash)).then(|| hash.clone())
}

impl PodFacts {
    /// Is this pod, which has come while the experiment runs, to be hit?
    #[must_use]
    pub fn is_followed(&self, follow: &Follow, seed: u64) -> bool {
        let place = &self.place;
        (follow.namespaces.is_empty() || follow.namespaces.contains(&place.namespace))
            && (follow.names.is_empty() || follow.names.contains(&place.name))
            && follow.labels.iter().all(|selector| agrees(selector, &self.labels))
            && follow.annotations.as_ref().is_none_or(|selector| agrees(selector, &self.annotations))
            && follow.percent.is_none_or(|percent| drawn(seed, &self.uid) < percent)
    }
}

/// As the API server reads a selector (k8s.io/apimachinery/pkg/labels); what is not understood takes no pod.
fn agrees(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|one| {
            let value = labels.get(&one.key);
            let listed = |value: &String| one.values.iter().flatten().any(|wanted| wanted == value);
            match one.operator.as_str() {
                "In" => value.is_some_and(listed),
                "NotIn" => !value.is_some_and(listed),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(namespace: &str, name: &str, labels: &[(&str, &str)]) -> PodFacts {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let pod = json!({
            "metadata": { "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "labels": labels }
        });
        PodFacts::of(serde_json::from_value(pod).unwrap(), "n").unwrap()
    }

    /// The UIDs by which a pod is looked for: `change` on the object of a mirror pod.
    fn uids(change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
        let hash = "0123456789abcdef0123456789abcdef";
        let mut pod = json!({ "metadata": {
            "namespace": "shop", "name": "web-n", "uid": "0d9f22f1-3a5c-4b4e-9d0f-4f2a6b1c7e55",
            "annotations": { "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true }],
        } });
        change(&mut pod);
        let facts = PodFacts::of(serde_json::from_value(pod).unwrap(), "n").unwrap();
        facts.place.uids().map(str::to_owned).collect()
    }

    #[test]
    fn an_annotation_leads_to_another_cgroup_for_mirror_pods_of_this_node_alone() {
        assert_eq!(uids(|_| {})[1..], ["0123456789abcdef0123456789abcdef"]);
        let own = ["0d9f22f1-3a5c-4b4e-9d0f-4f2a6b1c7e55"];
        assert_eq!(uids(|pod| drop(pod["metadata"]["annotations"].take())), own);
        let annotation = |key: &'static str, value: &'static str| {
            uids(move |pod| pod["metadata"]["annotations"][format!("kubernetes.io/config.{key}")] = value.into())
        };
        assert_eq!(annotation("mirror", ""), own);
        assert_eq!(annotation("hash", "2222222222222222222222222222222a"), own);
        let owner = |key: &'static str, value: &'static str| {
            uids(move |pod| pod["metadata"]["ownerReferences"][0][key] = value.into())
        };
        assert_eq!(owner("kind", "ReplicaSet"), own);
        assert_eq!(owner("name", "another"), own);
        assert_eq!(uids(|pod| pod["metadata"]["ownerReferences"] = json!([])), own);
        for hash in [
            "0d9f22f1-3a5c-4b4e-9d0f-4f2a/../pod22",
            "../../0d9f22f1-3a5c-4b4e-9d0f-4f2a",
            "0d9f",
            "0123456789ABCDEF0123456789ABCDEF",
            "0123456789abcdef0123456789abcdef01234",
        ] {
            let both = |pod: &mut serde_json::Value| {
                for key in ["hash", "mirror"] {
                    pod["metadata"]["annotations"][format!("kubernetes.io/config.{key}")] = hash.into();
                }
            };
            assert_eq!(uids(both), own, "{hash}");
        }
    }

    #[test]
    fn of_a_long_annotation_the_begin_is_kept_and_no_selector_agrees_with_it() {
        let value = "\u{e4}".repeat(256);
        let with = |value: &str| {
            let pod = json!({ "metadata": { "namespace": "shop", "name": "web", "uid": "u", "annotations": { "a": value } } });
            PodFacts::of(serde_json::from_value(pod).unwrap(), "n").unwrap()
        };
        let longest = follow(json!({ "annotations": { "matchLabels": { "a": value } } }));
        assert!(with(&value).is_followed(&longest, 1));
        assert!(
            !with(&format!("{value}x")).is_followed(&longest, 1) && !with(&value.repeat(100)).is_followed(&longest, 1)
        );
        assert!(with(&value.repeat(100)).annotations["a"].len() < 1000);
    }

    fn follow(value: serde_json::Value) -> Follow {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_property_must_agree() {
        let web = pod("shop", "web-1", &[("app", "web"), ("tier", "front")]);
        let takes = |value| web.is_followed(&follow(value), 1);
        assert!(takes(json!({})));
        assert!(takes(json!({ "namespaces": ["shop"], "labels": [{ "matchLabels": { "app": "web" } }] })));
        assert!(!takes(json!({ "namespaces": ["other"] })));
        assert!(!takes(json!({ "labels": [{ "matchLabels": { "app": "web" } }, { "matchLabels": { "app": "db" } }] })));
        assert!(!takes(json!({ "names": ["web-2"] })));
        let expression = |operator: &str, values: &[&str]| json!({ "labels": [{ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }] }] });
        let wanted = [("In", vec!["front"], true), ("NotIn", vec!["front"], false), ("Exists", vec![], true)];
        for (operator, values, expected) in wanted {
            assert_eq!(takes(expression(operator, &values)), expected, "{operator}");
        }
        assert!(!takes(expression("DoesNotExist", &[])) && !takes(expression("Unheard", &[])));
    }

    #[test]
    fn a_share_is_the_same_for_the_same_seed() {
        let pods: Vec<PodFacts> = (0..2000).map(|n| pod("shop", &format!("web-{n}"), &[])).collect();
        let third = follow(json!({ "percent": 30.0 }));
        let taken: Vec<bool> = pods.iter().map(|pod| pod.is_followed(&third, 7)).collect();
        assert_eq!(taken, pods.iter().map(|pod| pod.is_followed(&third, 7)).collect::<Vec<_>>());
        let count = taken.iter().filter(|taken| **taken).count();
        assert!((500..700).contains(&count), "{count} of 2,000");
        assert_ne!(taken, pods.iter().map(|pod| pod.is_followed(&third, 8)).collect::<Vec<_>>());
    }
}
