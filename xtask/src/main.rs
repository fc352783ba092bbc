//! Development commands of chaos: `cargo xtask <verb>`.

mod apt;
mod artifacts;
mod linker;
mod packages;
mod process;
mod progress;
mod rust_src;
mod setup;
#[expect(dead_code, reason = "chaos-user's build script uses the rest")]
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
    /// Run a command as root in a virtual machine with Debian's kernel, on this machine's root file system (read-only).
    Vm(VmArguments),
}

#[derive(clap::Args)]
struct VmArguments {
    /// 5.10, 6.1, 6.12 or 7.2.
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
        Verb::Vm(arguments) => {
            let machine = vm::Machine {
                timeout: Duration::from_secs(arguments.timeout),
                memory: arguments.memory,
                processors: arguments.cpus,
                job: arguments.job,
                modules: arguments.module,
                ..vm::Machine::new(&arguments.series, arguments.command)
            };
            return Ok(ExitCode::from(machine.run(stdout(), stderr())?));
        }
    }
    Ok(ExitCode::SUCCESS)
}
