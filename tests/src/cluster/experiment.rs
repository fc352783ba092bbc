//! An Experiment in a cluster.

use serde_json::{Value, json};

use super::{Cluster, Scene};

/// One that was applied.
#[derive(Clone, Debug)]
pub struct Asked {
    cluster: Cluster,
    namespace: String,
    name: String,
}

/// Its status.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl Asked {
    /// Applies one: pods by label `app`, one fault.
    #[track_caller]
    pub fn apply(scene: &Scene, name: &str, seconds: u32, app: &str, network: &Value) -> Self {
        let pods = json!({ "labelSelector": { "matchLabels": { "app": app } } });
        Self::apply_spec(
            scene,
            name,
            &json!({
                "duration": format!("{seconds}s"), "selector": { "pods": pods },
                "faults": [{ "name": "fault", "network": network }],
            }),
        )
    }

    /// Applies any.
    #[track_caller]
    pub fn apply_spec(scene: &Scene, name: &str, spec: &Value) -> Self {
        let document = json!({
            "apiVersion": "chaos-ebpf.dev/v1alpha1", "kind": "Experiment",
            "metadata": { "name": name, "namespace": scene.namespace }, "spec": spec,
        });
        scene.cluster.apply(&document.to_string());
        Self { cluster: scene.cluster.clone(), namespace: scene.namespace.clone(), name: name.to_owned() }
    }

    /// What stands in its status.
    #[track_caller]
    pub fn status(&self) -> Status {
        let object = self.cluster.get("experiment", &self.namespace, &self.name);
        Status(object.map(|object| object["status"].clone()).unwrap_or_default())
    }

    /// `kubectl wait` for a condition.
    #[track_caller]
    pub fn await_condition(&self, condition: &str) {
        let (namespace, name) = (&self.namespace, &self.name);
        let words = format!("wait -n {namespace} --for=condition={condition} experiment/{name} --timeout=60s");
        let words: Vec<&str> = words.split_whitespace().collect();
        if let Err(error) = self.cluster.ask(&words, "") {
            panic!("{condition}: {error}\n{:#}", self.status().0);
        }
    }

    /// Waits until the faults act.
    #[track_caller]
    pub fn await_injected(&self) {
        self.await_condition("Injected");
    }

    /// Waits until it is over; its status.
    #[track_caller]
    pub fn await_over(&self) -> Status {
        self.await_condition("Reverted");
        self.status()
    }

    /// Deletes it.
    #[track_caller]
    pub fn delete(&self) {
        self.cluster.kubectl(&format!("delete experiment -n {} {}", self.namespace, self.name));
    }

    /// Ends it by its annotation.
    #[track_caller]
    pub fn stop(&self, how: &str) {
        let (namespace, name) = (&self.namespace, &self.name);
        self.cluster.kubectl(&format!("annotate -n {namespace} experiment/{name} chaos-ebpf.dev/stop={how}"));
    }

    /// Its Injections.
    #[track_caller]
    pub fn injections(&self) -> Vec<Value> {
        self.cluster.list(&format!("injections -n {} -l chaos-ebpf.dev/experiment={}", self.namespace, self.name))
    }
}

impl Status {
    /// Its phase.
    pub fn phase(&self) -> &str {
        self.0["phase"].as_str().unwrap_or_default()
    }

    /// Its verdict.
    pub fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap_or_default()
    }

    /// Why.
    pub fn reason(&self) -> &str {
        self.0["reason"].as_str().unwrap_or_default()
    }

    /// A sum of its first fault.
    pub fn count(&self, what: &str) -> u64 {
        self.0["faults"][0][what].as_u64().unwrap_or_default()
    }
}
