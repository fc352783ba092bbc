//! Virtual machines with Debian's kernels, and one that is built here, on this machine's own root file system, read-only. QEMU
//! emulates the processor, so that neither KVM nor its modules are needed.

pub mod built;
mod console;
mod folders;
mod initramfs;
mod kept;
pub mod kernel;
mod modules;
mod qemu;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{arch::Arch, artifacts, toolchain};
pub use console::EmulatorFault;
pub use kept::Kept;
use kernel::Kernel;

/// How often something is tried that the emulator spoils.
const ATTEMPTS: usize = 4;

/// Does `work`, which boots a machine, again where the emulator spoiled it.
pub fn persistently<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for attempt in 1.. {
        match work() {
            Err(error) if error.is::<EmulatorFault>() && attempt < ATTEMPTS => {
                eprintln!("{error}; once more");
            }
            result => return result,
        }
    }
    bail!("no attempt was made")
}

/// A kernel and its first file system.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The kernel.
    pub image: PathBuf,
    /// With its modules.
    pub initramfs: PathBuf,
}

/// One boot for one command.
pub struct Machine {
    /// `6.12`
    pub series: String,
    /// After which QEMU is killed.
    pub timeout: Duration,
    /// In MiB.
    pub memory: u32,
    /// Processors.
    pub processors: u32,
    /// Seen by the command as `/run/job`, writable; a temporary one by default.
    pub job: Option<PathBuf>,
    /// Beside the usual ones.
    pub variables: Vec<(OsString, OsString)>,
    /// Kernel modules beside the usual ones.
    pub modules: Vec<String>,
    /// What to boot, where it is there already: then neither series nor modules count.
    pub boot: Option<Boot>,
    /// A tap device that is the machine's eth0.
    pub tap: Option<String>,
    /// Where the command runs.
    pub directory: PathBuf,
    /// Words of the command.
    pub command: Vec<OsString>,
}

impl Machine {
    /// Two processors, 2 GiB, ten minutes, in the repository.
    pub fn new(series: &str, command: Vec<OsString>) -> Self {
        Self {
            series: series.to_owned(),
            timeout: Duration::from_secs(600),
            memory: 2048,
            processors: 2,
            job: None,
            variables: Vec::new(),
            modules: Vec::new(),
            boot: None,
            tap: None,
            directory: artifacts::workspace().to_owned(),
            command,
        }
    }

    /// Boots, runs the command, and returns its exit code. Its output goes to `stdout` and `stderr` as
    /// it comes. A kernel that oopses is an error, whatever the command says;
    /// [`EmulatorFault`] where the emulator made it.
    pub fn run(&self, stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> Result<u8> {
        let scratch = Scratch::new()?;
        let boot = match &self.boot {
            Some(boot) => boot.clone(),
            None => self.prepare(&scratch.path)?,
        };
        let job = match &self.job {
            Some(dir) => dir.canonicalize().with_context(|| format!("find the job directory {}", dir.display()))?,
            None => scratch.make("job")?,
        };
        let status = job.join("vm.status");
        if status.exists() {
            fs::remove_file(&status).with_context(|| format!("remove {}", status.display()))?;
        }
        write(&job.join("vm.command"), &self.job_file())?;
        let console = scratch.path.join("console");
        let guest = qemu::Guest {
            machine: self,
            image: &boot.image,
            initramfs: &boot.initramfs,
            job: &job,
            console: &console,
            sockets: &scratch.path,
        };
        let ended = guest.run(stdout, stderr).with_context(|| format!("boot {}", boot.image.display()));
        let log = fs::read(&console).unwrap_or_default();
        let code = console::judge(&log).and(ended).and_then(|()| exit_code(&status));
        if code.as_ref().is_err_and(|error| !error.is::<EmulatorFault>()) {
            eprintln!("{}", console::tail(&log));
        }
        code
    }

    /// Fetches the kernel where it is missing, and makes the initramfs in `dir`.
    pub fn prepare(&self, dir: &Path) -> Result<Boot> {
        let kernel = Kernel::of_series(&self.series)?;
        let initramfs = dir.join("initramfs");
        write(&initramfs, &self.initramfs(&kernel)?)?;
        Ok(Boot { image: kernel.image()?, initramfs })
    }

    fn initramfs(&self, kernel: &Kernel) -> Result<Vec<u8>> {
        let tree = kernel.modules()?;
        let extra: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        let unknown = tree.missing(&extra);
        if !unknown.is_empty() {
            bail!("{} has no module {}", kernel.release, unknown.join(", "));
        }
        let wanted = [modules::NEEDED, &extra].concat();
        initramfs::build(&init_program()?, &tree.in_load_order(&wanted)?, &folders::hidden(&self.places()))
    }

    /// What of the host's files the command may want: the repository, what is built and fetched, its own program, what variables of
    /// ours name.
    fn places(&self) -> Vec<PathBuf> {
        let mut places = vec![artifacts::workspace().to_owned(), artifacts::target(), toolchain::cache_dir()];
        places.push(self.directory.clone());
        places.extend(self.command.first().map(PathBuf::from));
        places.extend(env::current_exe());
        let ours = |name: &OsString| name.to_string_lossy().starts_with("CHAOS_");
        let named = usual_variables().into_iter().chain(self.variables.clone()).filter(|(name, _)| ours(name));
        places.extend(named.map(|(_, value)| PathBuf::from(value)));
        places
    }

    /// As `xtask/init` reads it: strings ended by NUL.
    fn job_file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut string = |parts: &[&OsStr]| {
            for part in parts {
                file.extend(part.as_bytes());
            }
            file.push(0);
        };
        string(&[self.directory.as_os_str()]);
        for (name, value) in usual_variables().iter().chain(&self.variables) {
            string(&[name, OsStr::new("="), value]);
        }
        string(&[]);
        for word in &self.command {
            string(&[word]);
        }
        file
    }
}

fn exit_code(status: &Path) -> Result<u8> {
    let text = fs::read_to_string(status).map_err(|_| anyhow!("the machine went off before the command ended"))?;
    text.trim().parse().with_context(|| format!("read the exit code {text:?}"))
}

/// What of the host's environment means the same in the guest.
fn usual_variables() -> Vec<(OsString, OsString)> {
    let fixed = [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("USER", "root")];
    let fixed = fixed.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let kept = env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        ["PATH", "LANG", "CI"].contains(&&*name) || name.starts_with("CHAOS_") || name.starts_with("RUST_")
    });
    fixed.into_iter().chain(kept).collect()
}

/// Built anew where it changed; otherwise cargo says so in a moment.
fn init_program() -> Result<PathBuf> {
    let mut cargo = Arch::HERE.static_cargo("build")?;
    cargo.args(["--quiet", "--release", "--package", "chaos-vm-init"]);
    let programs = artifacts::build(&mut cargo).context("build the virtual machine's init")?;
    let program = programs.into_iter().find(|program| program.name == "chaos-vm-init");
    program.map(|program| program.path).ok_or_else(|| anyhow!("cargo built no chaos-vm-init"))
}

/// A directory that goes when we do.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self> {
        let path =
            nix::unistd::mkdtemp(&env::temp_dir().join("chaos-vm-XXXXXX")).context("make a temporary directory")?;
        Ok(Self { path })
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}
