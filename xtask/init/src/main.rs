//! The first process of a test machine: loads modules, puts the host's file system (read-only, over 9p) in place of the
//! initramfs, runs one command, leaves its exit code in the job directory and switches the machine off.
//!
//! The host's side is `xtask/src/vm/`.

mod command;
mod folders;
mod mounts;
mod output;

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    sys::reboot::{RebootMode, reboot},
    unistd::{dup2_stderr, dup2_stdout, sync},
};

/// Where the directory that the machine shares with the host is.
const JOB: &str = "/run/job";

fn main() {
    if let Err(error) = guest() {
        // To the console, which the host keeps.
        eprintln!("chaos-vm-init: {error:#}");
    }
    sync();
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    // Now init ends, the kernel panics, and QEMU, which was told not to reboot, ends too.
    eprintln!("chaos-vm-init: power off: {errno}");
}

fn guest() -> Result<()> {
    mounts::first()?;
    speak_on_the_console()?;
    load_modules(Path::new("/modules"))?;
    let folders = mounts::switch_root()?;
    mounts::system(JOB)?;
    folders.show()?;
    fs::write("/proc/sys/kernel/hostname", "vm").context("set the host name")?;
    let job = command::Job::read(Path::new(JOB))?;
    let status = command::run(&job)?;
    let path = Path::new(JOB).join("vm.status");
    fs::write(&path, status).with_context(|| format!("write {}", path.display()))?;
    // Only now: what cannot be killed must not keep the host from learning how the command ended.
    command::end_all_others();
    output::finish(job.pumps)
}

fn speak_on_the_console() -> Result<()> {
    let console = OpenOptions::new().write(true).open("/dev/console").context("open /dev/console")?;
    dup2_stdout(&console).context("make /dev/console our stdout")?;
    dup2_stderr(&console).context("make /dev/console our stderr")
}

/// In the order of their names, which the host has given them.
fn load_modules(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        let module = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        match finit_module(&module, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // One for hardware that is not here (an accelerated checksum) must not cost the machine.
            Err(errno) => eprintln!("chaos-vm-init: load {}: {errno}", path.display()),
        }
    }
    Ok(())
}
