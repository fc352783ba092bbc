//! Processes of pods, as this machine sees them: the nodes share its process table.

use std::fs;
use std::process::Command;

use super::{Cluster, output};

/// A process of a pod's container, the one with the lowest number; `None` while there is none.
pub fn pod_pid(cluster: &Cluster, namespace: &str, pod: &str, container: &str) -> Result<Option<u32>, String> {
    let status = format!("{{.status.containerStatuses[?(@.name==\"{container}\")].containerID}}");
    let words = ["--output", &format!("jsonpath={{.metadata.uid}} {status}")];
    let answer = cluster.kubectl(&[&["get", "pod", pod, "--namespace", namespace], &words[..]].concat())?;
    // `UID containerd://ID`; no id before the container has run.
    let Some((uid, id)) = answer.split_once(' ') else { return Ok(None) };
    let Some((_, id)) = id.split_once("://") else { return Ok(None) };
    Ok(processes(uid).into_iter().find(|(_, cgroup)| cgroup.contains(id)).map(|(pid, _)| pid))
}

/// The process that keeps a pod's namespaces; `None` while there is none. It is no container's.
pub fn sandbox_pid(cluster: &Cluster, namespace: &str, pod: &str) -> Result<Option<u32>, String> {
    let words = ["--output", "jsonpath={.metadata.uid} {.status.containerStatuses[*].containerID}"];
    let answer = cluster.kubectl(&[&["get", "pod", pod, "--namespace", namespace], &words[..]].concat())?;
    let mut words = answer.split_whitespace();
    let Some(uid) = words.next() else { return Ok(None) };
    let ids: Vec<&str> = words.filter_map(|id| id.split_once("://")).map(|(_, id)| id).collect();
    let sandbox = |(_, cgroup): &(u32, String)| !ids.iter().any(|id| cgroup.contains(id));
    Ok(processes(uid).into_iter().find(sandbox).map(|(pid, _)| pid))
}

/// Runs a command of this machine in the network namespace of a process.
pub fn in_pod_netns(pid: u32, words: &[&str]) -> Result<String, String> {
    output(Command::new("nsenter").args(["--net", "--target", &pid.to_string(), "--"]).args(words), "")
}

/// All processes whose cgroup's path names a pod, in order, with their `/proc/PID/cgroup`. Drivers of cgroups write
/// the UID with dashes or with underscores.
fn processes(uid: &str) -> Vec<(u32, String)> {
    let (dashes, underscores) = (format!("pod{uid}"), format!("pod{}", uid.replace('-', "_")));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<(u32, String)> = pids
        .filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)))
        .filter(|(_, cgroup)| cgroup.contains(&dashes) || cgroup.contains(&underscores))
        .collect();
    found.sort();
    found
}
