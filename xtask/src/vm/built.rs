//! The kernel that Debian has not, with CONFIG_BPF_KPROBE_OVERRIDE: made of Debian's source and a small configuration of ours, once,
//! and kept in the cache beside Debian's own.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::available_parallelism,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::kernel::{self, Kernel};
use crate::{apt::Apt, packages, process, progress::step, setup, toolchain::cache_dir};

/// What `cargo xtask vm` and `test --kernel` call it.
pub const NAME: &str = "6.12-override";

/// Whose source it is made of.
pub const SERIES: &str = "6.12";

const SUITE: &str = "trixie";
/// Its directory is not called by its release: it would pass for a newer Debian kernel of its series.
const PREFIX: &str = "override-";
/// What is asked for beside the defaults; kept with each kernel, for one that was made by another configuration is made anew.
const CONFIG: &str = include_str!("override.config");
const CONFIG_FILE: &str = "override.config";
/// How many minutes one processor takes, and how many commands make then tells of.
const MINUTES: usize = 16;
const COMMANDS: usize = 2000;
/// Lines of make's output that tell why it failed.
const TAIL: usize = 30;

/// The kernel: from the cache, or built now, which takes minutes and says so.
pub fn kernel() -> Result<Kernel> {
    if let Some(kernel) = cached()? {
        return Ok(kernel);
    }
    let _lock = setup::lock("kernel build")?;
    // Another xtask may just have built it.
    if let Some(kernel) = cached()? {
        return Ok(kernel);
    }
    packages::ensure(&packages::OF_KERNELS)?;
    let build = Build { dir: cache_dir().join("kernel-build") };
    build.make().with_context(|| {
        format!(
            "build the kernel {NAME}. Once that is mended, `cargo xtask kernel` goes on where it broke off; to begin anew, \
             remove {}",
            build.dir.display()
        )
    })
}

/// The newest one that was made by this configuration, if there is any.
pub fn cached() -> Result<Option<Kernel>> {
    let dirs = kernel::names_in_cache()?.into_iter().filter(|name| name.starts_with(PREFIX));
    let ours = |name: &str| {
        fs::read_to_string(kernel::kernels_dir().join(name).join(CONFIG_FILE)).is_ok_and(|config| config == CONFIG)
    };
    let newest = kernel::newest(dirs, |name| !name.ends_with(".partial") && ours(name));
    Ok(newest.map(|name| {
        let release = format!("{}-override", name.trim_start_matches(PREFIX));
        Kernel::at(kernel::kernels_dir().join(name), release)
    }))
}

/// Where it is built: the source, what comes of it, and what make said. It stays after a failure.
struct Build {
    dir: PathBuf,
}

impl Build {
    fn make(&self) -> Result<Kernel> {
        let out = self.dir.join("out");
        fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
        if !self.source().is_dir() {
            // The fetches of Debian's kernels use the same private apt.
            let _lock = setup::lock("setup")?;
            step(&format!("fetch the source of Linux {SERIES} from Debian {SUITE} (150 MB, 1 minute)"), || {
                self.fetch()
            })?;
        }
        self.configure()?;
        let release = process::capture(self.command().args(["-s", "kernelrelease"]))?.trim().to_owned();
        let jobs = available_parallelism().map_or(1, usize::from);
        let minutes = MINUTES.div_ceil(jobs);
        let what = format!(
            "build Linux {release} with CONFIG_BPF_KPROBE_OVERRIDE (this once; about {minutes} minutes on {jobs} processors)"
        );
        step(&what, || self.compile(jobs))?;
        let kernel = self.install(&release)?;
        fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))?;
        Ok(kernel)
    }

    /// Where the package's archive is unpacked.
    fn source(&self) -> PathBuf {
        self.dir.join("source")
    }

    fn fetch(&self) -> Result<()> {
        let package = format!("linux-source-{SERIES}");
        Apt::with_suites(&[SUITE])?.unpack(&[&package], &self.source(), |root| {
            let archive = root.join(format!("usr/src/{package}.tar.xz"));
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(&archive).arg("-C").arg(root).arg("--strip-components=1");
            process::capture(&mut tar)?;
            fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
        })
    }

    fn command(&self) -> Command {
        let mut make = Command::new("make");
        // What a user has set for builds of other kernels is not for this one.
        for name in ["MAKEFLAGS", "ARCH", "CROSS_COMPILE", "KBUILD_OUTPUT", "LOCALVERSION", "LLVM"] {
            make.env_remove(name);
        }
        make.arg("-C").arg(self.source()).arg("ARCH=x86_64").arg(format!("O={}", self.dir.join("out").display()));
        make
    }

    fn configure(&self) -> Result<()> {
        let wanted = self.dir.join(CONFIG_FILE);
        fs::write(&wanted, CONFIG).with_context(|| format!("write {}", wanted.display()))?;
        process::capture(self.command().arg("alldefconfig").env("KCONFIG_ALLCONFIG", &wanted))?;
        let made = self.dir.join("out/.config");
        let made = fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
        let lost = lost(CONFIG, &made);
        if !lost.is_empty() {
            bail!(
                "this source of Linux does not know, or does not allow with the others: {}. Mend xtask/src/vm/{CONFIG_FILE}",
                lost.join(", ")
            );
        }
        Ok(())
    }

    fn compile(&self, jobs: usize) -> Result<()> {
        let path = self.dir.join("log");
        let mut log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut make = self.command();
        make.arg(format!("-j{jobs}")).arg("bzImage").stdin(Stdio::null()).stdout(Stdio::piped());
        make.stderr(log.try_clone().context("open the log twice")?);
        let mut child = make.spawn().context("start make")?;
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("make has no stdout"))?;
        let (mut done, mut told) = (0, 0);
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read what make prints")?;
            writeln!(log, "{line}").with_context(|| format!("write {}", path.display()))?;
            done += usize::from(line.starts_with("  "));
            let tenths = (done * 10 / COMMANDS).min(9);
            if tenths > told {
                eprintln!("    {tenths}0 %");
                told = tenths;
            }
        }
        let status = child.wait().context("wait for make")?;
        if !status.success() {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            bail!("make: {status}; the end of {}:\n{tail}\n", path.display());
        }
        Ok(())
    }

    /// As Debian's packages lay it out, but without modules: all is built in. It gets its name when it is whole.
    fn install(&self, release: &str) -> Result<Kernel> {
        let version = release.trim_end_matches("-override");
        let root = kernel::kernels_dir().join(format!("{PREFIX}{version}"));
        let partial = kernel::kernels_dir().join(format!("{PREFIX}{version}.partial"));
        let modules = format!("lib/modules/{release}");
        for dir in ["boot", &format!("{modules}/kernel")] {
            let dir = partial.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        for (from, to) in [
            ("out/arch/x86/boot/bzImage", format!("boot/vmlinuz-{release}")),
            ("out/.config", format!("boot/config-{release}")),
            ("out/modules.builtin", format!("{modules}/modules.builtin")),
            (CONFIG_FILE, CONFIG_FILE.to_owned()),
        ] {
            copy(&self.dir.join(from), &partial.join(to))?;
        }
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
        }
        fs::rename(&partial, &root).with_context(|| format!("rename {} to {}", partial.display(), root.display()))?;
        Ok(Kernel::at(root, release.to_owned()))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display())).map(drop)
}

/// What is wanted and not in the configuration that was made.
fn lost<'a>(wanted: &'a str, made: &str) -> Vec<&'a str> {
    let made: Vec<&str> = made.lines().collect();
    // Options that are off stand in comments, and are absent where others hide them.
    let options = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    let unset = wanted.lines().filter_map(|line| line.strip_prefix("# CONFIG_")?.strip_suffix(" is not set"));
    let turned_on =
        unset.filter(|name| made.iter().any(|line| line.strip_prefix("CONFIG_") == Some(&format!("{name}=y"))));
    options.filter(|line| !made.contains(line)).chain(turned_on).collect()
}

#[cfg(test)]
mod tests {
    use super::{CONFIG, lost};

    #[test]
    fn an_option_that_the_source_refuses_is_told() {
        let wanted = "# Why.\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        assert_eq!(lost(wanted, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n"), ["CONFIG_B=y", "C"]);
        assert!(lost(CONFIG, CONFIG).is_empty());
        assert!(CONFIG.contains("\nCONFIG_BPF_KPROBE_OVERRIDE=y\n"));
    }
}
