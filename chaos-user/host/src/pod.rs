//! Pods: from a UID to cgroups and a network namespace, by the cgroup trees and procfs alone. No container runtime is asked.
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    cgroup,
    error::Problem,
    host::Host,
    local::Interfaces,
    process::Process,
    runtime,
    target::{CgroupScope, NetnsRef, Probed, ScopedBy, Target, TargetKind},
};

/// A pod as the API server names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, by which the kubelet names its cgroup and its files.
    pub uid: String,
    /// Of a mirror pod: the UID of the static pod that it shows, which names cgroup and files instead. It counts only where no cgroup of
    /// the pod's own UID exists.
    pub mirrored: Option<String>,
    /// It shares the node's network namespace.
    pub host_network: bool,
}

impl PodRef {
    /// The UIDs by which it may be found, its own first. None that could lead to another folder: UIDs are letters, digits and `-`.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        [Some(&self.uid), self.mirrored.as_ref()].into_iter().flatten().map(String::as_str).filter(|uid| is_plain(uid))
    }
}

/// Can a UID name a folder, and nothing but one folder?
fn is_plain(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Is this cgroup a pod's, by its name?
fn is_of_pod(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let slice = name.strip_suffix(".slice").and_then(|name| name.rsplit_once("-pod"));
    let uid = slice.map(|(_, uid)| uid.replace('_', "-")).or_else(|| name.strip_prefix("pod").map(str::to_owned));
    // Shorter ones are no UIDs, but words such as `podman`.
    uid.is_some_and(|uid| uid.len() >= 32 && is_plain(&uid))
}

/// Finds pods on this node.
#[derive(Debug)]
pub struct Pods {
    host: Host,
    /// Directories in which pods were found: the next one will be in one of them.
    parents: RefCell<BTreeSet<PathBuf>>,
}

/// A pod's directories and processes.
struct Found {
    /// In the cgroup2 hierarchy; none where the pod is in v1 trees alone.
    scope: Option<CgroupScope>,
    pids: BTreeSet<i32>,
}

impl Pods {
    /// Of this node.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self { host, parents: RefCell::default() }
    }

    /// The cgroup of a pod in the cgroup2 hierarchy; it may be empty yet.
    #[must_use]
    pub fn scope(&self, pod: &PodRef) -> Option<CgroupScope> {
        let tree = self.host.unified.as_ref().ok()?;
        cgroup::scope(tree, &self.directory(&tree.mount, self.uid(pod)?)?)
    }

    /// The UID that names the pod's cgroup here: that of the static pod behind a mirror pod only where no tree has one of its own.
    fn uid<'a>(&self, pod: &'a PodRef) -> Option<&'a str> {
        let unified = self.host.unified.iter().map(|tree| &tree.mount);
        let trees: Vec<&PathBuf> = unified.chain(self.host.legacy.iter().map(|tree| &tree.mount)).collect();
        pod.uids().find(|uid| trees.iter().any(|root| self.directory(root, uid).is_some()))
    }

    /// The pod as one target, or as one per container where some are named.
    ///
    /// # Errors
    /// Absent: no process of it runs (yet). Refused: it holds this very process. Unsupported: it cannot be
    /// told apart from others.
    pub fn locate(&self, kernel: &dyn Interfaces, pod: &PodRef, containers: &[String]) -> Result<Vec<Target>, Problem> {
        let found = self.find(pod)?;
        self.refuse_own(pod, &found.pids)?;
        let (netns, shared) = self.netns(pod, &found.pids)?;
        let interfaces = kernel.interfaces(&netns)?;
        if interfaces.iter().all(|interface| interface.loopback) {
            return Err(Problem::absent(format!(
                "the network of pod {}/{} is not set up yet",
                pod.namespace, pod.name
            )));
        }
        let target = |name: String, scope: Option<CgroupScope>, scoped_by, pids: BTreeSet<i32>| Target {
            kind: TargetKind::Pod,
            // The same name, the same dice, whichever pods are hit beside it.
            wanted: None,
            probed: Probed::default(),
            dice: chaos_abi::name_hash(name.as_bytes()),
            name,
            netns: netns.clone(),
            shares_host_netns: shared,
            scoped_by,
            cgroup: scope,
            interfaces: interfaces.clone(),
            pids: pids.into_iter().collect(),
        };
        let name = format!("{}/{}", pod.namespace, pod.name);
        if containers.is_empty() {
            let scoped_by = if shared { ScopedBy::Cgroup } else { ScopedBy::Netns };
            if shared && found.scope.is_none() {
                return Err(self.no_cgroup2(&name));
            }
            return Ok(vec![target(name, found.scope, scoped_by, found.pids)]);
        }
        let scope = found.scope.ok_or_else(|| self.no_cgroup2(&name))?;
        let mut targets = Vec::new();
        for (container, scope) in self.containers(pod, &scope.directory, containers)? {
            let pids = cgroup::processes_below(&scope.directory);
            targets.push(target(format!("{name}/{container}"), Some(scope), ScopedBy::Cgroup, pids));
        }
        Ok(targets)
    }

    fn find(&self, pod: &PodRef) -> Result<Found, Problem> {
        let unified = self.host.unified.as_ref().ok();
        if let Some(scope) = self.scope(pod) {
            let pids = cgroup::processes_below(&scope.directory);
            // Whose namespace is known beforehand need not be waited for.
            if !pids.is_empty() || pod.host_network {
                return Ok(Found { scope: Some(scope), pids });
            }
        }
        for tree in &self.host.legacy {
            let directory = self.uid(pod).and_then(|uid| self.directory(&tree.mount, uid));
            let Some(directory) = directory else { continue };
            let pids = cgroup::processes_below(&directory);
            let Some(first) = pids.first().copied() else { continue };
            // Hybrid: its processes may be in a cgroup2 of their own without being listed by its name.
            let scope = unified.and_then(|tree| {
                let path = Process::read(&self.host, first)?.cgroup?;
                let directory = cgroup::of_process(&tree.mount, first, Some(&path))?;
                (cgroup::processes_below(&directory) == pids).then(|| cgroup::scope(tree, &directory))?
            });
            return Ok(Found { scope, pids });
        }
        Err(Problem::absent(format!("no process of pod {}/{} runs on this node yet", pod.namespace, pod.name)))
    }

    /// The directory of a pod in one tree, by the cgroupfs driver (`pod<uid>`) or systemd's (`...-pod<uid>.slice`, with `_` for `-`).
    fn directory(&self, root: &Path, uid: &str) -> Option<PathBuf> {
        if !is_plain(uid) {
            return None;
        }
        let (plain, slice) = (format!("pod{uid}"), format!("-pod{}.slice", uid.replace('-', "_")));
        let parents = self.parents.borrow().clone();
        for parent in parents.iter().filter(|parent| parent.starts_with(root)) {
            let prefix = parent.file_name()?.to_str()?.strip_suffix(".slice").unwrap_or_default();
            let known = [parent.join(&plain), parent.join(format!("{prefix}{slice}"))];
            if let Some(found) = known.into_iter().find(|directory| directory.is_dir()) {
                return Some(found);
            }
        }
        let fits = |directory: &PathBuf| {
            let name = directory.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name == plain || name.ends_with(&slice))
        };
        // What is below a pod's own was made by the pod, if it may: none of it is another pod.
        let found = cgroup::directories_above(root, is_of_pod).into_iter().find(fits)?;
        self.parents.borrow_mut().extend(found.parent().map(Path::to_owned));
        Some(found)
    }

    /// This agent is never a target. The node's own runtime is in no pod's cgroup, whatever a process there is called.
    fn refuse_own(&self, pod: &PodRef, pids: &BTreeSet<i32>) -> Result<(), Problem> {
        let name = format!("pod {}/{}", pod.namespace, pod.name);
        if self.host.own_pid().is_some_and(|own| pids.contains(&own)) {
            return Err(Problem::refused(format!("{name} is the agent itself")));
        }
        Ok(())
    }

    /// The pod's network namespace, and whether it is the node's. A monitor of the runtime (conmon) may be in the pod's cgroup and in
    /// the node's namespace; the pod's own is that of its first process that has left it.
    fn netns(&self, pod: &PodRef, pids: &BTreeSet<i32>) -> Result<(NetnsRef, bool), Problem> {
        let node = self.host.netns_inodes();
        let node = node.map_err(|e| Problem::unsupported(format!("our own network namespace cannot be read: {e}")))?;
        if pod.host_network {
            let own = NetnsRef::open(&self.host.proc.join("self/ns/net"));
            let own =
                own.map_err(|e| Problem::unsupported(format!("our own network namespace cannot be opened: {e}")))?;
            return Ok((own, true));
        }
        let mut denied = false;
        for pid in pids {
            match NetnsRef::open(&self.host.of(*pid, "ns/net")) {
                Ok(netns) if !node.contains(&netns.inode) => return Ok((netns, false)),
                Ok(_) => {}
                Err(error) => denied |= error.kind() == std::io::ErrorKind::PermissionDenied,
            }
        }
        let name = format!("pod {}/{}", pod.namespace, pod.name);
        if denied {
            let text = "the network namespaces of its processes may not be read: CAP_SYS_PTRACE is missing";
            return Err(Problem::unsupported(format!("{name}: {text}")));
        }
        Err(Problem::absent(format!("no process of {name} is in its network namespace yet")))
    }

    /// The cgroups of the named containers: the kubelet mounts a file of its folder
    /// `pods/<uid>/containers/<name>` into each (pkg/kubelet/kubelet_pods.go, `makeMounts`).
    fn containers(
        &self,
        pod: &PodRef,
        directory: &Path,
        wanted: &[String],
    ) -> Result<Vec<(String, CgroupScope)>, Problem> {
        let tree = self.host.unified.as_ref().map_err(|why| Problem::unsupported(why.clone()))?;
        let mut found = Vec::new();
        for below in
            cgroup::directories(directory).into_iter().skip(1).filter(|one| runtime::container_id(one).is_some())
        {
            let name = cgroup::processes_below(&below).into_iter().find_map(|pid| self.container_of(pod, pid));
            if let (Some(name), Some(scope)) = (name, cgroup::scope(tree, &below))
                && wanted.contains(&name)
            {
                found.push((name, scope));
            }
        }
        if found.is_empty() {
            let text = format!(
                "no process of the containers {} of pod {}/{} runs on this node yet",
                wanted.join(", "),
                pod.namespace,
                pod.name
            );
            return Err(Problem::absent(text));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// The container that a process of a pod belongs to, by its mounts.
    #[must_use]
    pub fn container_of(&self, pod: &PodRef, pid: i32) -> Option<String> {
        let mounts = fs::read_to_string(self.host.of(pid, "mountinfo")).ok()?;
        let folder = format!("/pods/{}/containers/", self.uid(pod)?);
        mounts.lines().find_map(|line| {
            // Field 4: the root of the mount within its file system (proc_pid_mountinfo(5)).
            let root = line.split(' ').nth(3)?;
            let name = root.split_once(&folder)?.1.split('/').next()?;
            (!name.is_empty()).then(|| name.to_owned())
        })
    }

    fn no_cgroup2(&self, name: &str) -> Problem {
        let why = match &self.host.unified {
            Err(why) => why.clone(),
            Ok(_) => "it has no cgroup in the cgroup2 hierarchy".to_owned(),
        };
        Problem::unsupported(format!(
            "pod {name} can be told apart from others in its network namespace by cgroup2 alone, and here {why}"
        ))
    }
}
