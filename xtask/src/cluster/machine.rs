//! A node as seen from inside: the process that is its machine. It starts containerd, the kubelet and kube-proxy, and
//! stays, so that others can enter its namespaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::wait::wait;

use super::{
    cgroups,
    daemon::{self, Daemon},
    mounts,
    state::{self, Node},
};
use crate::process;

/// For containerd to answer.
const READY: Duration = Duration::from_secs(60);

/// Becomes a node; already in its network namespace. Ends when all of its daemons have.
pub fn run(node: Node) -> Result<()> {
    mounts::enter(node)?;
    serve(node, &node.directory())
}

/// The daemons of a node, whose place is furnished already; what they say goes to `logs`.
pub fn serve(node: Node, logs: &Path) -> Result<()> {
    if node.is_a_container() {
        cgroups::enter(&node.space())?;
    }
    let dir = node.directory();
    let start = |name: &str, program: PathBuf, words: String| {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Daemon::start(name, logs, program, &words)
    };
    let containerd = format!("--config {}", dir.join("containerd.toml").display());
    let mut daemons = vec![start("containerd", "containerd".into(), containerd)?];
    daemon::wait("containerd answers", READY, &mut daemons, || process::capture(Command::new("ctr").arg("version")))?;
    for image in images()? {
        process::capture(Command::new(IMPORT[0]).args(&IMPORT[1..]).arg(&image))?;
    }
    let who = format!("--kubeconfig={} --hostname-override={}", state::kubeconfig().display(), node.name());
    let proxy = format!(
        "{who} --proxy-mode=nftables --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 \
         --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0"
    );
    daemons.push(start("kube-proxy", state::program("kube-proxy"), proxy)?);
    let kubelet = format!("{who} --config={} --node-ip={}", dir.join("kubelet.yaml").display(), node.address());
    daemons.push(start("kubelet", state::program("kubelet"), kubelet)?);
    // Whoever waits for the node reads this log when it does not come.
    while let Ok(status) = wait() {
        let pid = status.pid().map(|pid| pid.as_raw().unsigned_abs());
        let name = daemons.iter().find(|daemon| Some(daemon.pid()) == pid).map_or("a process", Daemon::name);
        eprintln!("{name} ended: {status:?}");
    }
    bail!("all daemons of {} have ended", node.name())
}

/// Archives that every node gets.
fn images() -> Result<Vec<PathBuf>> {
    let dir = state::path("images");
    let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
    entries.map(|entry| Ok(entry.context("read a directory of images")?.path())).collect()
}

/// containerd's own client, to import the archive that follows into the images of Kubernetes.
pub const IMPORT: [&str; 5] = ["ctr", "--namespace", "k8s.io", "images", "import"];
