//! `kubectl chaos`: this binary as a plugin of kubectl.

use super::{Until, fail, format, input, progress::Progress, run::print};
use chaos_k8s::plugin::{self, Answer, Awaited, Cluster, How, Options, Show, Wish};
use chaos_outcome::EngineError;
use chaos_outcome::{ExitCode, Format};
use chaos_spec::{self as spec, Parsed};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsStr, future::Future, path::PathBuf, time::Duration};

/// In-kernel fault injection for pods.
#[derive(Debug, Parser)]
#[command(name = "kubectl-chaos", bin_name = "kubectl chaos", version, propagate_version = true)]
#[command(arg_required_else_help = true, after_help = super::EXIT_CODES)]
pub struct Plugin {
    #[command(flatten)]
    pub arguments: Arguments,
}

/// What the plugin is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The kubeconfig; that of KUBECONFIG, or ~/.kube/config, if left out.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; its current one if left out.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The namespace; the context's if left out.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Act as this user, which needs the right to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    user: Option<String>,
    /// With --as: of this group; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    #[command(subcommand)]
    verb: Verb,
}

/// The files of experiments.
#[derive(Debug, Args)]
struct Given {
    /// Experiments; `-` is stdin.
    #[arg(required_unless_present = "named", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, as kubectl takes it.
    #[arg(short = 'f', long = "filename", value_name = "FILE", hide = true)]
    named: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make experiments, show progress, print the report at the end. Ctrl-C stops them.
    ///
    /// An experiment that is left behind ends by its own deadline.
    Run {
        #[command(flatten)]
        files: Given,
        /// Format of the report: table, json, yaml or junit.
        #[arg(short, long, default_value = "table", value_parser = format)]
        output: Format,
        /// Match, decide and count, but harm nothing.
        #[arg(long)]
        dry_run: bool,
        /// Leave the experiments in the cluster after their end, which is the default.
        #[arg(long, conflicts_with = "delete")]
        keep: bool,
        /// Delete the experiments after their end.
        #[arg(long)]
        delete: bool,
    },
    /// Show what would happen: what the API server says, pods, nodes, refusals. Makes nothing.
    Plan {
        #[command(flatten)]
        files: Given,
    },
    /// Experiments as a table.
    #[command(alias = "get", alias = "ls")]
    List {
        /// Only those with these labels, as kubectl writes them: app=web,tier!=cache.
        #[arg(short = 'l', long, value_name = "SELECTOR")]
        selector: Option<String>,
        /// Format: table, json, yaml or name.
        #[arg(short, long, default_value = "table", value_parser = ["table", "wide", "json", "yaml", "name"])]
        output: String,
        /// Of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// All that is known of an experiment.
    Describe {
        /// The experiment.
        name: String,
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
    /// End an experiment, or all.
    Stop {
        /// The experiment.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All of the namespace.
        #[arg(long)]
        all: bool,
        /// With --all: of all namespaces.
        #[arg(short = 'A', long, requires = "all", conflicts_with = "name")]
        all_namespaces: bool,
        /// End as if the duration were over, not as aborted.
        #[arg(long)]
        finish: bool,
        /// First turn off every fault of the whole cluster, without the controller, and let none start until `unlock`.
        #[arg(long, value_name = "REASON", requires = "all", conflicts_with = "name")]
        lock: Option<String>,
        /// How long the end, or the nodes' locks, are waited for.
        #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Lift the lock of `stop --all --lock`.
    Unlock,
    /// The report of an experiment that is over, of all its nodes together.
    Report {
        /// The experiment.
        name: String,
        /// Format: table, json, yaml or junit.
        #[arg(short, long, default_value = "table", value_parser = format)]
        output: Format,
    },
    /// What the nodes of the cluster can do, as their agents have tried.
    Check {
        /// Format: table or json.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
}

/// Is this how kubectl calls a plugin `chaos`? A dash of a plugin's name is an underscore in its file's.
pub fn is_plugin(program: &OsStr) -> bool {
    let name = std::path::Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    ["kubectl-chaos", "kubectl_chaos"].iter().any(|prefix| name.starts_with(prefix))
}

/// Runs a verb.
pub fn kubectl(arguments: Arguments) -> ExitCode {
    let Arguments { kubeconfig, context, namespace, user, groups, verb } = arguments;
    let parsed = match &verb {
        Verb::Run { files, .. } | Verb::Plan { files } => match parse(files) {
            Ok(parsed) => parsed,
            Err(code) => return code,
        },
        _ => Vec::new(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&EngineError::Failed(format!("start the runtime: {error}"))),
    };
    runtime.block_on(async {
        match Cluster::find(&Options { kubeconfig, context, namespace, user, groups }).await {
            Ok(cluster) => perform(&cluster, verb, &parsed).await,
            Err(error) => fail(&error),
        }
    })
}

/// Files to experiments of a cluster; the problems have been said.
fn parse(given: &Given) -> Result<Vec<Parsed>, ExitCode> {
    let parsed = input::parse(&input::Files {
        all: given.files.iter().chain(&given.named).cloned().collect(),
        command: Vec::new(),
        elsewhere: true,
    })?;
    let local = parsed.iter().filter_map(|one| Some(one.problem(spec::require_pods(&one.experiment).err()?)));
    let local: Vec<String> = local.map(|problem| problem.to_string()).collect();
    local.iter().for_each(|line| eprintln!("{line}"));
    if local.is_empty() { Ok(parsed) } else { Err(ExitCode::Invalid) }
}

async fn perform(cluster: &Cluster, verb: Verb, parsed: &[Parsed]) -> ExitCode {
    let mut progress = Progress::new();
    match verb {
        Verb::Run { output, dry_run, delete, .. } => {
            match plugin::run(cluster, parsed, Wish { dry_run, delete }, &mut progress).await {
                Ok((reports, codes)) => print(&reports, output, codes),
                Err(error) => fail(&error),
            }
        }
        Verb::Plan { .. } => answer(plugin::plan(cluster, parsed)).await,
        Verb::List { all_namespaces, selector, output } => {
            let code = plugin::list(cluster, all_namespaces, selector.as_deref(), &output).await;
            if code.as_ref().is_ok_and(|answer| answer.text.is_empty()) {
                let place = if all_namespaces { String::new() } else { format!(" in namespace {}", cluster.namespace) };
                eprintln!("there are no experiments{place}");
            }
            answer(std::future::ready(code)).await
        }
        Verb::Describe { name } => answer(plugin::describe(cluster, &name)).await,
        Verb::Wait { name, until, timeout } => {
            let awaited = match until {
                Until::Injected => Awaited::Injected,
                Until::Hit => Awaited::Hit,
                Until::Ended => Awaited::Ended,
            };
            let waited = plugin::wait(cluster, &name, awaited, timeout, &mut progress).await;
            waited.map_or_else(|error| fail(&error), |()| ExitCode::Pass)
        }
        Verb::Stop { name, all: _, all_namespaces, finish, lock, timeout } => {
            let how = How { finish, timeout };
            match name {
                Some(name) => answer(plugin::stop(cluster, &name, how, &mut progress)).await,
                None => answer(plugin::stop_all(cluster, all_namespaces, how, lock.as_deref(), &mut progress)).await,
            }
        }
        Verb::Unlock => answer(plugin::unlock(cluster)).await,
        Verb::Report { name, output } => match plugin::report(cluster, &name).await {
            Ok(report) => print(&[report], output, Vec::new()),
            Err(error) => fail(&error),
        },
        Verb::Check { output } => answer(plugin::check(cluster, output == "json")).await,
    }
}

async fn answer(of: impl Future<Output = Result<Answer, EngineError>>) -> ExitCode {
    match of.await {
        Ok(answer) => {
            print!("{}", answer.text);
            answer.code
        }
        Err(error) => fail(&error),
    }
}

impl Show for Progress {
    fn live(&mut self, lines: &[String]) {
        if lines.is_empty() {
            self.clear();
        } else if self.is_due() {
            self.print(lines);
        }
    }

    fn say(&mut self, line: &str) {
        self.clear();
        eprintln!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_calls_it_by_its_file_name() {
        for name in ["kubectl-chaos", "/usr/local/bin/kubectl-chaos", "kubectl_chaos", "./kubectl-chaos.bin"] {
            assert!(is_plugin(OsStr::new(name)), "{name}");
        }
        for name in ["chaos", "/opt/kubectl-chaos/chaos", "kubectl", ""] {
            assert!(!is_plugin(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn all_and_lock_go_together() {
        let parses = |line: &str| Plugin::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("kubectl-chaos stop cut -n shop") && parses("kubectl-chaos -n shop stop --all -A --lock why"));
        assert!(parses("kubectl-chaos run -f cut.yaml --kubeconfig x --as eve --as-group ops"));
        assert!(parses("kubectl-chaos list -l app=web -o json") && parses("kubectl-chaos get -A -o name"));
        for wrong in [
            "list -o xml",
            "list --as-group ops",
            "plan",
            "stop",
            "stop cut --all",
            "stop cut --lock why",
            "stop cut -A",
            "run",
            "run x --keep --delete",
        ] {
            assert!(!parses(&format!("kubectl-chaos {wrong}")), "{wrong}");
        }
    }
}
