//! The cluster proved to be one: nodes, pods on each, and the ways that the other cluster tests look into them.

use chaos_tests::cluster::{Cluster, POD_IMAGE, in_pod_netns, pod_pid, sandbox_pid, wait_until};

/// A pod on a node, with one container `main`.
fn pod(name: &str, node: &str, words: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 5, containers: [{{name: main, image: '{POD_IMAGE}', args: [{words}]}}]}}}}\n---\n"
    )
}

/// A field of a pod.
fn field(cluster: &Cluster, pod: &str, path: &str) -> String {
    cluster.kubectl(&["get", "pod", pod, "--output", &format!("jsonpath={{{path}}}")]).unwrap_or_default()
}

#[test]
fn pods_run_on_every_node_and_reach_each_other() {
    let Some(cluster) = Cluster::open() else { return };
    let nodes = cluster.nodes().unwrap();
    assert!(nodes.len() >= 2, "{nodes:?}");
    let yaml: String = nodes.iter().map(|node| pod(&format!("serve-{node}"), node, "serve, '7000'")).collect();
    cluster.apply(&yaml).unwrap();
    for node in &nodes {
        let name = format!("serve-{node}");
        wait_until(&format!("{name} runs"), || field(&cluster, &name, ".status.phase") == "Running");
    }
    // From the pod on the first node to the pod on the last: over the switch and two bridges.
    let (here, there) = (format!("serve-{}", nodes[0]), format!("serve-{}", nodes[nodes.len() - 1]));
    let pid = pod_pid(&cluster, "default", &here, "main").unwrap().expect("a running process");
    let address = field(&cluster, &there, ".status.podIP");
    let script = format!("exec 3<>/dev/tcp/{address}/7000; cat <&3");
    wait_until("the other node's pod answers", || {
        in_pod_netns(pid, &["bash", "-c", &script]).is_ok_and(|said| said.trim() == there)
    });
    cluster.delete(&yaml).unwrap();
    assert!(pod_pid(&cluster, "default", &here, "main").is_err(), "the pod is gone");
}

#[test]
fn a_container_is_told_apart_from_its_sandbox_and_its_node() {
    let Some(cluster) = Cluster::open() else { return };
    let nodes = cluster.nodes().unwrap();
    let yaml = pod("pause", &nodes[0], "pause");
    cluster.apply(&yaml).unwrap();
    let mut pid = None;
    wait_until("the container runs", || {
        pid = pod_pid(&cluster, "default", "pause", "main").unwrap();
        pid.is_some()
    });
    let pid = pid.unwrap();
    let sandbox = sandbox_pid(&cluster, "default", "pause").unwrap().expect("a sandbox");
    assert_ne!(pid, sandbox);
    let netns = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    assert_eq!(netns(pid), netns(sandbox));
    let of_node = cluster.node_exec(&nodes[0], &["readlink", "/proc/self/ns/net"]).unwrap();
    assert_ne!(netns(pid), of_node.trim());
    assert_eq!(cluster.node_exec(&nodes[0], &["hostname"]).unwrap().trim(), nodes[0]);
    cluster.delete(&yaml).unwrap();
}
