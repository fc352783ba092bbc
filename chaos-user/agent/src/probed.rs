//! At which ports a kubelet probes a pod, and by which id the pod's network calls the node's.

use chaos_engine::Active;
use chaos_host::{Probed, Target};
use chaos_outcome::FaultReport;
use chaos_spec::plan::RulePlan;
use chaos_sys::{netns::Netns, netns_id};
use k8s_openapi::{
    api::core::v1::{Container, Lifecycle, LifecycleHandler, PodSpec, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{collections::BTreeSet, sync::Arc};

/// The TCP ports of the probes and lifecycle hooks of all containers, named ones resolved as a kubelet does
/// (pkg/kubelet/prober/prober.go, `runProbe`; pkg/kubelet/lifecycle/handlers.go): by the ports of the same container.
#[must_use]
pub fn ports(spec: &PodSpec) -> BTreeSet<u16> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).flat_map(of_container).collect()
}

fn of_container(container: &Container) -> Vec<u16> {
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let mut ports: Vec<u16> = probes.into_iter().flatten().flat_map(|probe| of_probe(container, probe)).collect();
    if let Some(Lifecycle { post_start, pre_stop, .. }) = &container.lifecycle {
        let hooks = [post_start, pre_stop].into_iter().flatten();
        ports.extend(hooks.filter_map(|hook| of_hook(container, hook)));
    }
    ports
}

fn of_probe(container: &Container, probe: &Probe) -> Option<u16> {
    let http = probe.http_get.as_ref().map(|http| &http.port);
    let grpc = || probe.grpc.as_ref().and_then(|grpc| number(grpc.port));
    match http.or(probe.tcp_socket.as_ref().map(|tcp| &tcp.port)) {
        Some(port) => resolved(container, port),
        None => grpc(),
    }
}

fn of_hook(container: &Container, hook: &LifecycleHandler) -> Option<u16> {
    let http = hook.http_get.as_ref().map(|http| &http.port);
    resolved(container, http.or(hook.tcp_socket.as_ref().map(|tcp| &tcp.port))?)
}

fn resolved(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok().filter(|port| *port > 0), |port| number(port.container_port))
        }
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// Enters them into the targets of a pod. That its network has no id for the node's is no error: then what the node begins and what it
/// forwards under its own address cannot be told apart.
pub fn enter(targets: &mut [Target], ports: &BTreeSet<u16>) {
    for target in targets {
        let node = Netns::from_fd(Arc::clone(&target.netns.fd), target.name.clone())
            .and_then(|within| netns_id::id(&within, &Netns::own()?));
        let node = node.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        target.probed = Probed { ports: ports.clone(), node };
    }
}

/// What the report says of it.
pub fn warnings(active: &Active, counted: &[FaultReport]) -> Vec<String> {
    if !active.plan.rules.iter().any(RulePlan::spares_node) {
        return Vec::new();
    }
    let spared = counted.iter().fold(0_u64, |sum, fault| sum.saturating_add(fault.rejected_by.node));
    let counted = (spared > 0).then(|| {
        format!("spared as traffic with the node: {spared} packets at ports that it probes; match.node: true hits them")
    });
    let unsure = active.targets.iter().filter(|target| target.spares_by_address());
    let names: Vec<&str> = unsure.map(|target| target.name.as_str()).collect();
    let unsure = (!names.is_empty()).then(|| {
        format!(
            "{}: the pod's network has no link to the node's; clients that the node masquerades are spared at the ports of its probes",
            names.join(", ")
        )
    });
    counted.into_iter().chain(unsure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_of_all_probes_and_hooks_by_number_and_by_name() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [{
                "name": "sidecar", "restartPolicy": "Always", "startupProbe": { "tcpSocket": { "port": 15_021 } },
            }],
            "containers": [
                {
                    "name": "app", "ports": [{ "name": "web", "containerPort": 8080 }, { "name": "odd", "containerPort": 70_000 }],
                    "livenessProbe": { "httpGet": { "path": "/", "port": "web" } },
                    "readinessProbe": { "grpc": { "port": 9000 } },
                    "startupProbe": { "exec": { "command": ["true"] } },
                    "lifecycle": { "preStop": { "httpGet": { "port": 8081 } }, "postStart": { "sleep": { "seconds": 1 } } },
                },
                {
                    "name": "other", "ports": [{ "name": "admin", "containerPort": 9901 }],
                    "livenessProbe": { "httpGet": { "port": "web" } }, "readinessProbe": { "tcpSocket": { "port": "8082" } },
                    "startupProbe": { "httpGet": { "port": 0 } },
                },
                { "name": "none" },
            ],
        }))
        .unwrap();
        assert_eq!(ports(&spec).into_iter().collect::<Vec<_>>(), [8080, 8081, 8082, 9000, 15_021]);
    }
}
