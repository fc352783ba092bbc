//! Where the cluster keeps what it has, and what its parts are called. There is one cluster per machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Everything of the cluster. Not below /tmp: a virtual machine has a /tmp of its own.
pub const DIRECTORY: &str = "/var/tmp/chaos-cluster";
/// Where named network namespaces are.
pub const NETNS: &str = "/run/netns";
/// The network namespace of the control plane, which holds the switch between the nodes.
pub const CONTROL_PLANE: &str = "cluster-cp";
/// With it begin the names of the nodes' network namespaces and cgroups.
pub const NODE_PREFIX: &str = "cluster-node";
/// The end in this machine's own namespace of the wire to the switch.
pub const HOST_LINK: &str = "cluster-host";
/// The address of the API server on the switch.
pub const SERVER: &str = "10.240.0.1";
/// This machine's own address on the switch.
pub const HOST: &str = "10.240.0.254";
/// Of the switch.
pub const PREFIX_LENGTH: u8 = 24;

/// A path below [`DIRECTORY`].
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// One of the Kubernetes programs.
pub fn program(name: &str) -> PathBuf {
    path("bin").join(name)
}

/// How an administrator reaches the API server.
pub fn kubeconfig() -> PathBuf {
    path("kubeconfig")
}

/// Whether there is a cluster, or what an attempt left.
pub fn exists() -> bool {
    Path::new(DIRECTORY).exists() || netns(CONTROL_PLANE).exists()
}

/// Names and addresses are fixed.
pub fn refuse_a_second() -> Result<()> {
    if exists() {
        bail!("there is a cluster in {DIRECTORY} already; to end it: cargo xtask cluster down");
    }
    Ok(())
}

/// The file of a named network namespace.
pub fn netns(name: &str) -> PathBuf {
    Path::new(NETNS).join(name)
}

/// Writes a file of the cluster.
pub fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

/// Makes a directory and those above it.
pub fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// A node by its number, from 1 on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Node(pub u8);

impl Node {
    /// As Kubernetes calls it.
    pub fn name(self) -> String {
        format!("node{}", self.0)
    }

    /// Its network namespace and its cgroup.
    pub fn space(self) -> String {
        format!("{NODE_PREFIX}{}", self.0)
    }

    /// Whether a cgroup namespace hides from it what is above its cgroup, as from a node that is a container; the first shows how it is
    /// where none does.
    pub fn is_a_container(self) -> bool {
        self.0 > 1
    }

    /// Its cgroup as it sees it itself.
    pub fn cgroup(self) -> String {
        if self.is_a_container() { "/".to_owned() } else { format!("/{}", self.space()) }
    }

    /// Its files.
    pub fn directory(self) -> PathBuf {
        path(&self.name())
    }

    /// Its address on the switch.
    pub fn address(self) -> String {
        format!("10.240.0.{}", 10 + u16::from(self.0))
    }

    /// The addresses of its pods.
    pub fn pods(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }
}
