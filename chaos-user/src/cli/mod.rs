//! The command line: thin verbs over the six steps. Reports go to stdout, all else to stderr.

mod agent;
mod before;
mod check;
mod cleanup;
mod command;
mod controller;
mod crd;
mod follow;
mod input;
mod kubectl;
mod log;
mod plan;
mod progress;
mod report;
mod run;
mod status;
mod stop;
mod wait;
mod watch;

use crate::say;
use chaos_k8s::Ports;
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, Format};
use clap::{Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, path::PathBuf, time::Duration};

const EXIT_CODES: &str = "Exit codes: 0 Pass, 1 error of chaos, 2 invalid input, 3 not possible here, 4 NoEffect, 5 Aborted, \
    6 Fail, 7 Refused.";

/// In-kernel fault injection for containers and services.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

impl Arguments {
    /// Of this process, which may have been called as a plugin of kubectl.
    #[must_use]
    pub fn of_process() -> Self {
        match std::env::args_os().next() {
            Some(program) if kubectl::is_plugin(&program) => {
                Self { command: Command::Kubectl(kubectl::Plugin::parse().arguments) }
            }
            _ => Self::parse(),
        }
    }
}

/// The files of experiments.
#[derive(Debug, clap::Args)]
struct Files {
    /// Experiments; `-` is stdin.
    #[arg(required_unless_present = "named", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, as kubectl takes it.
    #[arg(short = 'f', long = "filename", value_name = "FILE", hide = true)]
    named: Vec<PathBuf>,
    /// A command to start in a cgroup of its own, which is hit: `-- CMD ARG...`. Its output goes to stderr.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Files {
    fn read(self) -> input::Files {
        input::Files {
            all: self.files.into_iter().chain(self.named).collect(),
            command: self.command,
            elsewhere: false,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply experiments, show progress, revert at the end or on Ctrl-C, print the report.
    Run {
        #[command(flatten)]
        files: Files,
        /// Format of the report: table, json, yaml or junit.
        #[arg(short, long, default_value = "table", value_parser = format)]
        output: Format,
        /// Match, decide and count, but harm nothing.
        #[arg(long)]
        dry_run: bool,
        /// Allow targets in the host's network namespace.
        #[arg(long)]
        yes: bool,
    },
    /// Show what would happen: targets, mechanisms, refusals. Attaches nothing.
    Plan {
        #[command(flatten)]
        files: Files,
        /// Allow targets in the host's network namespace.
        #[arg(long)]
        yes: bool,
        /// Format: table or json, an object for each experiment.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
    /// Validate experiments, nothing else.
    Validate {
        #[command(flatten)]
        files: Files,
        /// Format: table or json, an object for each experiment or file that cannot be read.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
    /// What this kernel can do, tried in a scratch network namespace.
    Check {
        /// Format: table or json.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
    /// Wait until an experiment is injected, has hit something, or has ended.
    Wait {
        /// The experiment.
        name: String,
        /// What to wait for.
        #[arg(long = "for", value_enum)]
        until: Until,
        /// How long, at most.
        #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// The report of an experiment of this node that is over: the last ones are kept.
    Report {
        /// The experiment.
        name: String,
        /// Format of the report: table, json, yaml or junit.
        #[arg(short, long, default_value = "table", value_parser = format)]
        output: Format,
    },
    /// Experiments of this node, its lock, and leftovers.
    #[command(alias = "list", alias = "ls", alias = "get")]
    Status {
        /// Format: table or json.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
    /// End an experiment, or all: needs no cooperation of its process.
    Stop {
        /// The experiment.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All of this node.
        #[arg(long)]
        all: bool,
        /// End as if the duration were over, not as aborted.
        #[arg(long)]
        finish: bool,
        /// Also refuse new experiments until `chaos unlock`.
        #[arg(long, value_name = "REASON")]
        lock: Option<String>,
    },
    /// Lift the lock of `stop --lock`.
    Unlock,
    /// Remove what a dead process left; never touches a living one's.
    Cleanup,
    /// The node agent of a cluster: applies experiments to the pods of its node.
    Agent {
        /// The node's name at the API server.
        #[arg(long, env = "NODE_NAME")]
        node: String,
        /// Only pods and experiments of this namespace; all if left out.
        #[arg(long, env = "WATCH_NAMESPACE")]
        namespace: Option<String>,
        /// The node's policy.
        #[arg(long, default_value = "/etc/chaos/policy.yaml")]
        policy: PathBuf,
        /// Tell /healthz, /readyz and /metrics on this TCP port; nowhere if left out.
        #[arg(long)]
        port: Option<u16>,
        /// Tell the same on this TCP port of 127.0.0.1, for the kubelet; nowhere if left out.
        #[arg(long)]
        health_port: Option<u16>,
    },
    /// The controller of a cluster: makes an Injection per node of each Experiment, and sums up what comes back.
    Controller {
        /// Only pods and experiments of this namespace; all if left out.
        #[arg(long, env = "WATCH_NAMESPACE")]
        namespace: Option<String>,
        /// The namespace of its Lease, by which one of several replicas leads.
        #[arg(long, env = "POD_NAMESPACE", default_value = "chaos-system")]
        own_namespace: String,
        /// Its name among its replicas, which no other has; host name and process id if left out.
        #[arg(long, env = "POD_NAME")]
        identity: Option<String>,
        /// Tell /healthz, /readyz and /metrics on this TCP port; nowhere if left out.
        #[arg(long)]
        port: Option<u16>,
        /// Tell the same on this TCP port, for the kubelet; nowhere if left out.
        #[arg(long)]
        health_port: Option<u16>,
        /// A network (10.0.0.0/8) or host that probes of every namespace reach beside its own pods and Services; may be repeated.
        #[arg(long, value_name = "CIDR|HOST", value_delimiter = ',')]
        probe_allow: Vec<chaos_k8s::controller::Allowed>,
    },
    /// Print the custom resource definitions of a cluster as YAML.
    Crd,
    /// What `kubectl chaos` does, where there is no link of that name.
    #[command(hide = true)]
    Kubectl(kubectl::Arguments),
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The faults are active.
    Injected,
    /// Some fault has hit something.
    Hit,
    /// The experiment is gone.
    Ended,
}

fn format(text: &str) -> Result<Format, String> {
    text.parse()
}

/// Runs the command; its exit code.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    // Before there are threads: a copy of this process would inherit the locks that they hold.
    if matches!(
        arguments.command,
        Command::Run { .. } | Command::Agent { .. } | Command::Check { .. } | Command::Plan { .. }
    ) {
        chaos_sys::sleep::prepare(chaos_host::cgroup::own_directory);
    }
    // Of these the text is all that they do.
    let speaks = matches!(
        arguments.command,
        Command::Crd | Command::Status { .. } | Command::Check { .. } | Command::Plan { .. } | Command::Report { .. }
    );
    match perform(arguments.command) {
        ExitCode::Pass if speaks && say::lost() => ExitCode::Error,
        code => code,
    }
}

fn perform(command: Command) -> ExitCode {
    match command {
        Command::Run { files, output, dry_run, yes } => run::run(&files.read(), output, dry_run, yes),
        Command::Plan { files, yes, output } => plan::plan(&files.read(), yes, output == "json"),
        Command::Validate { files, output } => input::validate(&files.read(), output == "json"),
        Command::Check { output } => check::check(output == "json"),
        Command::Wait { name, until, timeout } => wait::wait(&name, until, timeout),
        Command::Report { name, output } => report::report(&name, output),
        Command::Status { output } => status::status(output == "json"),
        Command::Stop { name, all: _, finish, lock } => stop::stop(name.as_deref(), finish, lock.as_deref()),
        Command::Unlock => stop::unlock(),
        Command::Cleanup => cleanup::cleanup(),
        Command::Agent { node, namespace, policy, port, health_port } => {
            let ports = Ports { all: port, health: health_port, near: true };
            agent::agent(agent::Options { node, namespace, policy, ports })
        }
        Command::Controller { namespace, own_namespace, identity, port, health_port, probe_allow } => {
            let identity = identity.unwrap_or_else(controller::identity);
            let ports = Ports { all: port, health: health_port, near: false };
            controller::controller(controller::Options { namespace, own_namespace, identity, ports, probe_allow })
        }
        Command::Crd => crd::crd(),
        Command::Kubectl(arguments) => kubectl::kubectl(arguments),
    }
}

/// The exit code of what kept an experiment from running.
fn code_of(error: &EngineError) -> ExitCode {
    match error {
        EngineError::Invalid(_) => ExitCode::Invalid,
        EngineError::Unsupported(_) => ExitCode::Unsupported,
        EngineError::Refused(_) => ExitCode::Refused,
        EngineError::Failed(_) => ExitCode::Error,
    }
}

/// Says it on stderr; the exit code.
fn fail(error: &EngineError) -> ExitCode {
    eprintln!("{error}");
    code_of(error)
}
