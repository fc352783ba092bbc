//! Development commands of chaos: `cargo xtask <verb>`.

mod apt;
mod arch;
mod artifacts;
mod bench;
mod build;
mod check;
mod cluster;
mod demo;
mod docs;
mod fuzz;
mod identity;
mod image;
mod kernels;
mod linker;
mod new_fault;
mod orphans;
mod packages;
mod process;
mod products;
mod progress;
mod report;
mod rust_src;
mod setup;
mod structure;
mod tally;
mod test;
mod tool;
#[expect(dead_code, reason = "the build script of chaos-objects uses the rest")]
mod toolchain;
mod vm;

use std::{
    ffi::OsString,
    io::{stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;

/// Development commands of chaos.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
enum Verb {
    /// Fetch and build every tool that building and testing needs, into ~/.cache/chaos (or $CHAOS_CACHE).
    Setup,
    /// Build the product and print where it is.
    Build(build::Arguments),
    /// Show faults on real traffic, measured from outside: before, during and after. As root; under two minutes.
    Demo {
        /// On a Kubernetes cluster that is started for it and ended; as root, about a minute and a half.
        #[arg(long)]
        kubernetes: bool,
    },
    /// Make a network fault that drops every packet that it hits: both halves, a sample and a test, registered everywhere.
    NewFault {
        /// Words as in drop-syn.
        name: String,
    },
    /// Build the product and run `chaos run FILE...` as root.
    Run {
        /// Files and options for `chaos run`.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Run the tests: unit tests, and as root those on this kernel and in virtual machines.
    Test(test::Arguments),
    /// Ask each kernel what faults it can do, and write the tables of KERNELS.md; about five minutes.
    Kernels {
        /// Only the table of tests: what the suites said when they last ran here, without asking any kernel.
        #[arg(long)]
        tests: bool,
    },
    /// Build the kernel 6.12-override, where BPF may override what a call returns by a kprobe, for `vm` and `test --kernel`.
    Kernel,
    /// Measure what the product costs, as root: figures beside their pairs, compared with the last run.
    Bench(bench::Arguments),
    /// Feed the parsers of what others write with inputs that libFuzzer derives.
    Fuzz(fuzz::Arguments),
    /// Lint the code for the host and for the BPF target.
    Clippy,
    /// Build the documentation; warnings are errors.
    Doc,
    /// Check the sizes of files, and that modules import each other in no circle.
    Structure,
    /// Write the reference of the user documentation from the product, build the book in docs/, and check its links and its English.
    Docs(docs::Arguments),
    /// Check licences and sources of the dependencies.
    Licences,
    /// Build the image of the product: the static binary alone, as an archive in OCI's layout.
    Image(image::Arguments),
    /// A Kubernetes cluster on this machine, for trying and for tests.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Run a command as root in a virtual machine with one of the kernels, on this machine's root file system (read-only).
    Vm(VmArguments),
}

#[derive(clap::Args)]
struct VmArguments {
    /// 5.10, 6.1, 6.12 or 7.2; or 6.12-override, which is built when it is first asked for.
    series: String,
    /// Seconds after which the machine is killed.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// A directory that the command sees, writable, as /run/job.
    #[arg(long)]
    job: Option<PathBuf>,
    /// A kernel module to load beside the usual ones; may be repeated.
    #[arg(long)]
    module: Vec<String>,
    /// The command; its directory is the repository.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup => {
            setup::for_tests()?;
            println!("everything is in {}", toolchain::cache_dir().display());
        }
        Verb::Build(arguments) => println!("{}", build::build(&arguments)?.display()),
        Verb::Run { words } => build::run(&words)?,
        Verb::Demo { kubernetes: true } => return demo::kubernetes::run(),
        Verb::Demo { kubernetes: false } => return demo::run(),
        Verb::NewFault { name } => new_fault::run(&name)?,
        Verb::Test(arguments) => return test::run(&arguments),
        Verb::Kernels { tests: true } => kernels::write_tests()?,
        Verb::Kernels { tests: false } => kernels::run()?,
        Verb::Kernel => println!("{}", vm::built::kernel()?.image()?.display()),
        Verb::Fuzz(arguments) => fuzz::run(&arguments)?,
        Verb::Bench(arguments) => return bench::run(&arguments),
        Verb::Clippy => check::clippy()?,
        Verb::Doc => check::doc()?,
        Verb::Structure => structure::check()?,
        Verb::Docs(arguments) => println!("{}", docs::run(&arguments)?.display()),
        Verb::Licences => check::licences()?,
        Verb::Image(arguments) => println!("{}", image::product(&arguments)?.display()),
        Verb::Cluster(verb) => cluster::run(verb)?,
        Verb::Vm(arguments) => {
            let machine = vm::Machine {
                timeout: Duration::from_secs(arguments.timeout),
                memory: arguments.memory,
                processors: arguments.cpus,
                job: arguments.job,
                modules: arguments.module,
                ..vm::Machine::new(&arguments.series, arguments.command)
            };
            return Ok(ExitCode::from(vm::persistently(|| machine.run(stdout(), stderr()))?));
        }
    }
    Ok(ExitCode::SUCCESS)
}
