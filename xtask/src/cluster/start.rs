//! From nothing to a cluster whose nodes are all ready. As root.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    control_plane, daemon, guest, kubectl, mounts, node, owner,
    state::{self, Node},
    switch,
};
use crate::{progress::step, vm::Boot};

/// For all nodes together; an emulated one takes its time.
const READY: Duration = Duration::from_secs(300);
/// Their addresses end in 11 to 40.
const MOST: u8 = 30;

/// What is to be made.
pub struct Plan<'a> {
    /// How many nodes in namespaces.
    pub nodes: u8,
    /// The programs of Kubernetes.
    pub programs: &'a Path,
    /// Archives that every node gets.
    pub images: &'a [PathBuf],
    /// What a last node boots that is a virtual machine.
    pub virtual_node: Option<&'a Boot>,
    /// The process with which it ends.
    pub owner: Option<u32>,
}

/// Makes it.
pub fn run(plan: &Plan) -> Result<()> {
    let nodes = plan.nodes;
    if !(1..=MOST).contains(&nodes) {
        bail!("a cluster of {nodes} nodes: it can have 1 to {MOST}");
    }
    state::refuse_a_second()?;
    let what = format!("start a cluster with {nodes} nodes in {} (about 10 s)", state::DIRECTORY);
    step(&what, || make(plan)).context("not everything is there; what is: cargo xtask cluster down ends it")
}

fn make(plan: &Plan) -> Result<()> {
    let Plan { nodes, programs, images, virtual_node, owner } = *plan;
    // It holds the keys to this machine: whoever may start privileged pods is root.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(state::DIRECTORY)
        .with_context(|| format!("create {}", state::DIRECTORY))?;
    if let Some(pid) = owner {
        owner::keep(pid)?;
    }
    let bin = state::path("bin");
    symlink(programs, &bin).with_context(|| format!("link {} to {}", bin.display(), programs.display()))?;
    state::create(&state::path("images"))?;
    for image in images {
        keep_image(image)?;
    }
    mounts::make_targets()?;
    switch::make()?;
    let mut daemons = control_plane::start()?;
    let last = nodes + u8::from(virtual_node.is_some());
    let all: Vec<Node> = (1..=last).map(Node).collect();
    for node in &all {
        daemons.push(match virtual_node {
            Some(boot) if node.0 == last => guest::start(*node, &all, boot)?,
            _ => node::start(*node, &all)?,
        });
    }
    daemon::wait("all nodes are ready", READY, &mut daemons, || all_ready(all.len()))?;
    daemon::wait("pods can be made", READY, &mut daemons, || {
        kubectl::capture(&["get", "serviceaccount", "default", "--namespace", "default"])
    })?;
    Ok(())
}

/// Copies an archive to where nodes look for images when they start.
pub fn keep_image(archive: &Path) -> Result<PathBuf> {
    let name = archive.file_name().ok_or_else(|| anyhow!("{} is no file", archive.display()))?;
    let kept = state::path("images").join(name);
    fs::copy(archive, &kept).with_context(|| format!("copy {} to {}", archive.display(), kept.display()))?;
    Ok(kept)
}

fn all_ready(count: usize) -> Result<()> {
    let nodes = kubectl::capture(&["get", "nodes", "--no-headers"])?;
    let ready = nodes.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count();
    if ready < count {
        bail!("{ready} of {count} nodes are ready; logs are in {}/node*", state::DIRECTORY);
    }
    Ok(())
}
