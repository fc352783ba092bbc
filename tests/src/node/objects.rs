//! Objects of the API server, as large as those of real clusters are.

use serde_json::{Value, json};

use super::{LocalPod, NODE};

/// A pod's object, with what controllers, the kubelet and meshes write into it.
pub fn pod_object(name: &str, uid: &str) -> Value {
    let managed = |manager: &str| {
        let fields: serde_json::Map<String, Value> = (0..40)
            .map(|number| {
                (format!("f:field-{number}"), json!({ ".": {}, "f:name": {}, "f:value": {}, "f:valueFrom": {} }))
            })
            .collect();
        json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": fields } })
    };
    let container = |number: usize| {
        let variables: Vec<Value> =
            (0..20).map(|n| json!({ "name": format!("VARIABLE_{n}"), "value": "x".repeat(40) })).collect();
        json!({ "name": format!("c{number}"), "image": "registry.example/some/image:1.2.3", "env": variables })
    };
    let managers = ["kube-controller-manager", "kubelet", "kubectl-client-side-apply"].map(managed);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": name, "uid": uid, "labels": { "app": "web", "pod-template-hash": "5d4f8c7b9" },
            "annotations": {
                "sidecar.example/status": "x".repeat(2000),
                "kubectl.kubernetes.io/last-applied-configuration": "y".repeat(4000),
            },
            "managedFields": managers,
        },
        "spec": { "nodeName": NODE, "containers": [container(0), container(1)] },
        "status": { "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.244.0.9" },
    })
}

/// An Injection of this node that cuts these pods off from an address; `start`: it is to act.
pub fn injection(name: &str, seconds: u32, pods: &[LocalPod], cut: &str) -> Value {
    let targets: Vec<Value> =
        pods.iter().map(|pod| json!({ "namespace": "shop", "name": pod.name, "uid": pod.uid })).collect();
    json!({
        "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Injection",
        "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "generation": 1 },
        "spec": {
            "nodeName": NODE, "experiment": name, "remaining": format!("{seconds}s"), "seed": 7, "start": true, "targets": targets,
            "faults": [{ "name": "cut", "network": { "match": { "peers": [{ "cidr": format!("{cut}/32") }] }, "partition": true } }],
        },
    })
}
