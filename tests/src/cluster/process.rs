//! Processes of the cluster: all of them run on this machine and can be seen from here.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::Pod;

fn numbers() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_called(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name.get(..15).unwrap_or(name))
}

fn netns(pid: i32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino())
}

/// The process of a container with the lowest number; its cgroup has the container's id in its name.
pub fn first_process(container: &str) -> Option<i32> {
    numbers()
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(container)))
        .min()
}

/// The first process with this name.
pub fn process_named(name: &str) -> Option<i32> {
    numbers().filter(|pid| is_called(*pid, name)).min()
}

/// The process with this name in the network namespace of a node.
pub fn process_of_node(name: &str, node: &str) -> Option<i32> {
    processes_of_node(name, node).first().copied()
}

/// All processes with this name in the network namespace of a node.
pub fn processes_of_node(name: &str, node: &str) -> Vec<i32> {
    let Ok(of_node) = fs::metadata(format!("/run/netns/cluster-{node}")).map(|file| file.ino()) else {
        return Vec::new();
    };
    numbers().filter(|pid| is_called(*pid, name) && netns(*pid) == Some(of_node)).collect()
}

/// The process that holds a pod's namespaces: the oldest in its network namespace.
pub fn sandbox_of(pod: &Pod) -> Option<i32> {
    let of_pod = netns(pod.pid)?;
    numbers().filter(|pid| netns(*pid) == Some(of_pod) && *pid != pod.pid && is_called(*pid, "chaos-pod")).min()
}
