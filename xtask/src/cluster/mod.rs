//! `cargo xtask cluster`: a real Kubernetes on this machine, without virtual machines and without a registry of images. A
//! node is a network, a mount and a UTS namespace (and, but for the first, a cgroup namespace) with containerd, a kubelet and kube-proxy of its own; the control plane
//! has a network namespace, which holds the switch between the nodes. This machine is on that switch, too.

mod cgroups;
mod control_plane;
mod daemon;
mod down;
mod guest;
pub mod kubectl;
mod machine;
mod mounts;
mod namespace;
mod node;
mod owner;
mod raised;
mod setup;
mod start;
pub mod state;
mod switch;

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Error, Result};

use crate::{artifacts, image, process, toolchain, vm::Boot};
pub use raised::Raised;

/// What to do with the cluster of this machine.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Start one: about 10 s, the first time about 6 minutes more, in which Kubernetes is built.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 2)]
        nodes: u8,
        /// One node more, in a virtual machine with a kernel of this series: 5.10, 6.1, 6.12 or 7.2.
        #[arg(long, value_name = "SERIES")]
        vm: Option<String>,
        /// An archive of an image that every node is to have; may be repeated. A virtual machine gets no images later.
        #[arg(long)]
        image: Vec<PathBuf>,
    },
    /// End it; nothing is left.
    Down,
    /// Run kubectl as its administrator.
    Kubectl {
        /// For kubectl.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Import an archive of an image (OCI or Docker) on every node.
    Load {
        /// The archive.
        archive: PathBuf,
    },
    /// Run a command in the namespaces of a node, as a shell on that node would.
    Exec {
        /// node1, node2, ..., or cp for the control plane.
        node: String,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// The part of `up` that needs root.
    #[command(hide = true)]
    Start {
        nodes: u8,
        programs: PathBuf,
        images: Vec<PathBuf>,
        /// A kernel and an initramfs.
        #[arg(long, num_args = 2)]
        boot: Vec<PathBuf>,
        /// It ends with this process.
        #[arg(long)]
        owner: Option<u32>,
    },
    /// End what nobody will end any more; the other part that needs root.
    #[command(hide = true)]
    Sweep,
    /// The process that holds a virtual machine.
    #[command(hide = true)]
    Boot { number: u8, count: u8, tap: String, image: PathBuf, initramfs: PathBuf },
    /// What runs in it.
    #[command(hide = true)]
    Guest { number: u8, count: u8 },
    /// What runs in the place of a node's machine.
    #[command(hide = true)]
    Machine { number: u8 },
}

/// Does it; as root, through sudo where we are not.
pub fn run(verb: Verb) -> Result<()> {
    if let Verb::Up { nodes, vm, image } = verb {
        // Tests end what is there when they are done.
        let _lock = crate::setup::lock("cluster")?;
        sweep()?;
        up(nodes, vm.as_deref(), &image, None)?;
        println!("export KUBECONFIG={}", state::kubeconfig().display());
        return Ok(());
    }
    if !process::is_root() {
        let error = ourselves(env::args_os().skip(1))?.exec();
        return Err(Error::new(error).context("start sudo"));
    }
    match verb {
        Verb::Up { .. } => Ok(()),
        Verb::Down => down::run(),
        Verb::Kubectl { words } => become_it(kubectl::command().args(words)),
        Verb::Load { archive } => import(&archive),
        Verb::Exec { node, words } => become_it(node::command(&node)?.args(words)),
        Verb::Start { nodes, programs, images, boot, owner } => {
            let boot = <[PathBuf; 2]>::try_from(boot).ok().map(|[image, initramfs]| Boot { image, initramfs });
            start::run(&start::Plan { nodes, programs: &programs, images: &images, virtual_node: boot.as_ref(), owner })
        }
        Verb::Sweep => owner::sweep(),
        Verb::Boot { number, count, tap, image, initramfs } => {
            guest::boot(state::Node(number), count, tap, Boot { image, initramfs })
        }
        Verb::Guest { number, count } => guest::run(state::Node(number), count),
        Verb::Machine { number } => machine::run(state::Node(number)),
    }
}

/// Starts a cluster whose nodes have the image of the pods that tests run, and these. It ends with its owner, if it has one.
fn up(nodes: u8, vm: Option<&str>, images: &[PathBuf], owner: Option<u32>) -> Result<()> {
    state::refuse_a_second()?;
    let programs = setup::ensure()?;
    let pod = image::pod()?;
    let mut words: Vec<OsString> = vec!["cluster".into(), "start".into(), nodes.to_string().into(), programs.into()];
    words.push(pod.into());
    for image in images {
        words.push(image.canonicalize().with_context(|| format!("find {}", image.display()))?.into());
    }
    if let Some(series) = vm {
        crate::setup::for_tests()?;
        let boot = guest::prepare(series, &artifacts::target())?;
        words.extend(["--boot".into(), boot.image.into(), boot.initramfs.into()]);
    }
    if let Some(owner) = owner {
        words.extend(["--owner".into(), owner.to_string().into()]);
    }
    process::run(&mut ourselves(words)?)
}

/// Ends what nobody will end any more.
fn sweep() -> Result<()> {
    process::run(&mut ourselves(["cluster", "sweep"].map(OsString::from))?)
}

/// Ends it.
fn down() -> Result<()> {
    process::run(&mut ourselves(["cluster", "down"].map(OsString::from))?)
}

/// Imports an archive on every node that can be entered.
fn import(archive: &Path) -> Result<()> {
    let kept = start::keep_image(archive)?;
    for name in node::names()? {
        process::capture(node::command(&name)?.args(machine::IMPORT).arg(&kept))?;
    }
    Ok(())
}

/// This program once more, as root.
fn ourselves(words: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let program = env::current_exe().context("find our own program")?;
    let mut command = process::as_root(program, &["CHAOS_CACHE", "PATH"]);
    // Root's home is another one.
    command.env("CHAOS_CACHE", toolchain::cache_dir()).args(words);
    Ok(command)
}

fn become_it(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(Error::new(error).context(format!("start {}", command.get_program().display())))
}
