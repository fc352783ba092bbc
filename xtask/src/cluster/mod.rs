//! `cargo xtask cluster`: a real Kubernetes on this machine, without virtual machines and without a registry of images. A
//! node is a network, a mount and a UTS namespace with containerd, a kubelet and kube-proxy of its own; the control plane
//! has a network namespace, which holds the switch between the nodes. This machine is on that switch, too.

mod control_plane;
mod daemon;
mod down;
mod kubectl;
mod machine;
mod mounts;
mod namespace;
mod node;
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

use crate::{image, process, toolchain};
pub use raised::Raised;

/// What to do with the cluster of this machine.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Start one: about 10 s, the first time about 6 minutes more, in which Kubernetes is built.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 2)]
        nodes: u8,
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
    Start { nodes: u8, programs: PathBuf, images: Vec<PathBuf> },
    /// What runs in the place of a node's machine.
    #[command(hide = true)]
    Machine { number: u8 },
}

/// Does it; as root, through sudo where we are not.
pub fn run(verb: Verb) -> Result<()> {
    if let Verb::Up { nodes } = verb {
        up(nodes)?;
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
        Verb::Start { nodes, programs, images } => start::run(nodes, &programs, &images),
        Verb::Machine { number } => machine::run(state::Node(number)),
    }
}

/// Starts a cluster whose nodes have the image of the pods that tests run.
fn up(nodes: u8) -> Result<()> {
    state::refuse_a_second()?;
    let programs = setup::ensure()?;
    let pod = image::pod()?;
    let words: [OsString; 5] =
        ["cluster".into(), "start".into(), nodes.to_string().into(), programs.into(), pod.into()];
    process::run(&mut ourselves(words)?)
}

/// Ends it.
fn down() -> Result<()> {
    process::run(&mut ourselves(["cluster", "down"].map(OsString::from))?)
}

/// Imports an archive on every node.
fn load(archive: &Path) -> Result<()> {
    process::run(&mut ourselves([OsString::from("cluster"), "load".into(), archive.into()])?)
}

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
