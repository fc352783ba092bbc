//! `cargo xtask cluster`: a real Kubernetes on this machine, without virtual machines and without a registry. Every node is a set of
//! namespaces with a containerd, a kubelet and a kube-proxy of its own; the control plane has a network namespace that holds the switch
//! between the nodes.

mod control;
mod down;
mod image;
mod node;
mod setup;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, bail};

use crate::{process, progress::step};

/// Where a cluster keeps what it is made of. Not below /tmp, which tests replace.
const STATE: &str = "/var/tmp/chaos-cluster";
/// The network namespace of the control plane.
const CONTROL: &str = "kube-cp";
/// Most nodes that the addresses have room for.
const MOST_NODES: u8 = 16;
/// How long a part may take to come up, on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to do with the cluster.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Start it; about 10 seconds. The first time its programs are built, which takes about 6 minutes.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
        nodes: u8,
        /// Build the product's image and load it, too.
        #[arg(long)]
        product: bool,
    },
    /// End it; nothing is left.
    Down,
    /// kubectl, as admin.
    Kubectl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Give an image archive to every node.
    Load {
        /// The archive: OCI or Docker.
        archive: PathBuf,
    },
    /// Run a command in a node's namespaces.
    Exec {
        /// node1, node2, ...
        node: String,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// Does it, as root.
pub fn run(verb: &Verb) -> Result<()> {
    if !process::is_root() {
        // The tools' places and the user's cache stay the same.
        let own = env::current_exe().context("find xtask")?;
        let mut command = process::as_root(own, &["HOME", "PATH", "CHAOS_CACHE", "CARGO"]);
        return Err(Error::new(command.args(env::args_os().skip(1)).exec()).context("start sudo"));
    }
    let cluster = Cluster::default();
    match verb {
        Verb::Up { nodes, product } => {
            cluster.up(*nodes)?;
            if *product {
                cluster.load_product()?;
            }
            println!("KUBECONFIG={}", cluster.kubeconfig().display());
            Ok(())
        }
        Verb::Down => cluster.down(),
        Verb::Kubectl { words } => {
            let mut kubectl = cluster.kubectl();
            Err(Error::new(kubectl.args(words).exec()).context("start kubectl"))
        }
        Verb::Load { archive } => cluster.load(archive),
        Verb::Exec { node, words } => {
            let mut command = cluster.in_node(node)?;
            Err(Error::new(command.args(words).exec()).context("start nsenter"))
        }
    }
}

/// The cluster of this machine: names of namespaces allow for one.
pub struct Cluster {
    dir: PathBuf,
    programs: PathBuf,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { dir: PathBuf::from(STATE), programs: setup::programs() }
    }
}

impl Cluster {
    /// Starts it, with the image of the tests' pods on every node.
    pub fn up(&self, nodes: u8) -> Result<()> {
        if self.kubeconfig().exists() {
            bail!("there is a cluster already, in {STATE}: `cargo xtask cluster down` ends it");
        }
        setup::ensure()?;
        fs::create_dir_all(self.dir.join("images")).with_context(|| format!("create {STATE}/images"))?;
        image::of_pods(&self.dir.join("images/pod.tar"))?;
        let started = step(&format!("start a cluster of {nodes} nodes (10 s)"), || self.start(nodes));
        if started.is_err() {
            eprintln!("the logs of what did not start are in {STATE}; `cargo xtask cluster down` removes them");
        }
        started
    }

    fn start(&self, nodes: u8) -> Result<()> {
        self.start_control()?;
        for number in 1..=nodes {
            self.start_node(number, nodes)?;
        }
        for number in 1..=nodes {
            let name = format!("node{number}");
            wait_until(&format!("{name} registers"), || self.asks(&["get", "node", &name]))?;
        }
        let mut ready = self.kubectl();
        ready.args(["wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"]);
        process::capture(&mut ready)?;
        wait_until("the default service account is there", || self.asks(&["get", "serviceaccount", "default"]))
    }

    /// Builds the product's image, quick rather than small, and gives it to every node.
    pub fn load_product(&self) -> Result<()> {
        let archive = self.dir.join("product.tar");
        let how = crate::image::Arguments { debug: true, output: Some(archive.clone()), ..Default::default() };
        crate::image::run(&how)?;
        self.load(&archive)
    }

    /// Gives an image to every node.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.canonicalize().with_context(|| format!("find {}", archive.display()))?;
        for name in self.nodes()? {
            let mut import = self.in_node(&name)?;
            process::capture(import.args(["ctr", "-n", "k8s.io", "images", "import"]).arg(&archive))?;
        }
        Ok(())
    }

    /// The admin's kubeconfig; good for the host, too.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Kubernetes' programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The directory of its state.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn kubectl(&self) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// Whether kubectl succeeds with it.
    fn asks(&self, words: &[&str]) -> bool {
        process::capture(self.kubectl().args(words)).is_ok()
    }

    fn nodes(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.dir).with_context(|| format!("read {STATE}: is there a cluster?"))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut nodes: Vec<String> = names.filter(|name| self.dir.join(name).join("kubelet.yaml").exists()).collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Enters the namespaces of a node.
    fn in_node(&self, name: &str) -> Result<Command> {
        let pid = self.dir.join(name).join("containerd.pid");
        let pid = fs::read_to_string(&pid).with_context(|| format!("read {}: no such node?", pid.display()))?;
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--uts", "-t", pid.trim(), "--"]);
        Ok(command)
    }

    /// Starts a program that goes on; what it prints goes to a file of its name.
    fn spawn(&self, name: &str, command: &mut Command) -> Result<()> {
        let path = self.dir.join(format!("{name}.log"));
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let errors = log.try_clone().with_context(|| format!("open {} again", path.display()))?;
        // In a group of its own, so that Ctrl-C on this terminal does not reach it.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        command.spawn().with_context(|| format!("start {name}")).map(drop)
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<()> {
    process::capture(Command::new("ip").args(words.split_whitespace())).map(drop)
}

/// A program in a named network namespace.
fn in_netns(name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{name}")).arg("--").arg(program);
    command
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > PATIENCE {
            bail!("waited {} s, in vain, until {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
