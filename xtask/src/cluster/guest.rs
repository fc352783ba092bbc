//! A node whose machine is a virtual one, for what this machine's kernel lacks. It has this machine's file system, read-only,
//! and gets its images when it starts.

use std::{
    env, fs,
    io::{stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use super::{
    cgroups,
    daemon::Daemon,
    machine, mounts,
    namespace::inside,
    node,
    state::{self, CONTROL_PLANE, Node},
    switch,
};
use crate::vm::{Boot, Machine};

/// In MiB: the file systems that pods write to are in memory.
const MEMORY: u32 = 3072;
/// A week: it ends with the cluster.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where the guest sees the directory that it shares with us.
const JOB: &str = "/run/job";
/// What nodes load on demand, and a guest cannot.
const MODULES: [&str; 24] = [
    "virtio_net",
    "br_netfilter",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nfnetlink",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
];

/// Fetches the kernel and makes the initramfs, as whoever we are.
pub fn prepare(series: &str, dir: &Path) -> Result<Boot> {
    let mut machine = Machine::new(series, Vec::new());
    machine.modules = MODULES.map(str::to_owned).into();
    machine.prepare(dir)
}

/// Starts one. `nodes` are all of the cluster.
pub fn start(node: Node, nodes: &[Node], boot: &Boot) -> Result<Daemon> {
    let tap = switch::plug_in_tap(node)?;
    state::create(&node.directory().join("job"))?;
    node::write_files(node)?;
    let program = env::current_exe().context("find our own program")?;
    let mut words = ["cluster", "boot"].map(str::to_owned).to_vec();
    words.extend([node.0.to_string(), nodes.len().to_string(), tap]);
    words.extend([&boot.image, &boot.initramfs].map(|path| path.display().to_string()));
    // Not by the node's name: that would say that its namespaces can be entered.
    let name = format!("vm-{}", node.name());
    inside(CONTROL_PLANE, || Daemon::start(&name, &state::path(""), program, &words))
}

/// Boots it and stays until it is off; in the control plane's network namespace.
pub fn boot(node: Node, count: u8, tap: String, boot: Boot) -> Result<()> {
    let program = env::current_exe().context("find our own program")?;
    let words = ["cluster".into(), "guest".into(), node.0.to_string().into(), count.to_string().into()];
    let machine = Machine {
        timeout: LIFE,
        memory: MEMORY,
        job: Some(node.directory().join("job")),
        boot: Some(boot),
        tap: Some(tap),
        directory: PathBuf::from("/"),
        ..Machine::new("", [program.into()].into_iter().chain(words).collect())
    };
    let code = machine.run(stdout(), stderr())?;
    bail!("the virtual machine of {} is off; exit code {code}", node.name())
}

/// Becomes a node, inside the machine.
pub fn run(node: Node, count: u8) -> Result<()> {
    nix::unistd::sethostname(node.name()).context("set the host name")?;
    for (source, target) in mounts::DIRECTORIES {
        if target.starts_with("/run/") {
            state::create(Path::new(target))?;
            continue;
        }
        mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount a tmpfs on {target}"))?;
        copy_files(&node.directory().join(source), Path::new(target))?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .context("make all mounts shared")?;
    let nodes: Vec<Node> = (1..=count).map(Node).collect();
    switch::furnish(node, &nodes)?;
    cgroups::make(&node.space())?;
    machine::serve(node, Path::new(JOB))
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("copy {}", entry.path().display()))?;
    }
    Ok(())
}
