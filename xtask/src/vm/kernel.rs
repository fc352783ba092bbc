//! Debian's own kernels, unpacked into the cache: the ones that users run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{built, modules::ModuleTree};
use crate::{apt::Apt, process, progress::step, setup, toolchain::cache_dir};

/// Series that can be booted, each with the suite that has it.
pub const SERIES: [(&str, &str); 4] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("7.2", "sid")];

const FLAVOUR: &str = "-amd64";

/// Most of a kernel's modules drive what no virtual machine has.
const PRUNED: [&str; 6] =
    ["sound", "drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/net/ethernet", "drivers/staging"];

/// A kernel in the cache.
pub struct Kernel {
    /// `6.12.107+deb13-cloud-amd64`
    pub release: String,
    root: PathBuf,
}

impl Kernel {
    /// The newest one of this series in the cache; fetches one if there is none, or builds it.
    pub fn of_series(series: &str) -> Result<Self> {
        if series == built::NAME {
            return built::kernel();
        }
        let Some((_, suite)) = SERIES.iter().find(|(name, _)| *name == series) else {
            let known = SERIES.map(|(name, _)| name).join(", ");
            bail!("no kernel {series:?}: there are {known} and {}", built::NAME);
        };
        if let Some(kernel) = Self::cached(series)? {
            return Ok(kernel);
        }
        let _lock = setup::lock("setup")?;
        // Another xtask may just have fetched it.
        if let Some(kernel) = Self::cached(series)? {
            return Ok(kernel);
        }
        let what = format!("fetch Linux {series} from Debian {suite} (10 to 30 s)");
        step(&what, || fetch(series, suite)).with_context(|| {
            format!(
                "By hand: unpack a linux-image-{series}* package for amd64 with `dpkg -x` into {}/<release>, and \
                 decompress its modules",
                kernels_dir().display()
            )
        })
    }

    /// One that was unpacked or built there.
    pub fn at(root: PathBuf, release: String) -> Self {
        Self { release, root }
    }

    fn cached(series: &str) -> Result<Option<Self>> {
        let names = names_in_cache()?.into_iter();
        let newest = newest(names, |name| is_of_series(name, series) && !name.ends_with(".partial"));
        Ok(newest.map(|release| Self { root: kernels_dir().join(&release), release }))
    }

    /// The kernel itself: in `/boot`, or, in newer packages, beside its modules.
    pub fn image(&self) -> Result<PathBuf> {
        image(&self.root, &self.release)
    }

    /// Its modules.
    pub fn modules(&self) -> Result<ModuleTree> {
        ModuleTree::read(&modules_dir(&self.root, &self.release)?)
    }
}

/// Where kernels are kept, a directory for each.
pub fn kernels_dir() -> PathBuf {
    cache_dir().join("kernels")
}

/// The directories there; those of kernels that are not whole yet end with `.partial`.
pub fn names_in_cache() -> Result<Vec<String>> {
    let dir = kernels_dir();
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn fetch(series: &str, suite: &str) -> Result<Kernel> {
    let apt = Apt::with_suites(&[suite])?;
    let images = apt.names(&format!("linux-image-{series}"))?;
    let releases = images.iter().filter_map(|name| name.strip_prefix("linux-image-")).map(str::to_owned);
    let release = newest(releases, |release| is_of_series(release, series) && is_generic(release))
        .ok_or_else(|| anyhow!("Debian {suite} has no package linux-image-{series}*{FLAVOUR}"))?;
    let kernel = Kernel { root: kernels_dir().join(&release), release };
    // Newer packages are split: linux-image depends on the others.
    let names = apt.names("linux-")?;
    let parts = ["image", "base", "binary", "modules"].map(|part| format!("linux-{part}-{}", kernel.release));
    let parts: Vec<&str> = parts.iter().filter(|part| names.contains(part)).map(String::as_str).collect();
    apt.unpack(&parts, &kernel.root, |root| {
        image(root, &kernel.release)?;
        let modules = modules_dir(root, &kernel.release)?;
        prune(&modules)?;
        decompress(&modules)
    })?;
    Ok(kernel)
}

/// Neither `-rt-amd64`, nor `-cloud-amd64`, which lacks 9p, nor `-amd64-unsigned`.
fn is_generic(release: &str) -> bool {
    let version = release.strip_suffix(FLAVOUR);
    version.is_some_and(|version| !version.ends_with("-rt") && !version.ends_with("-cloud"))
}

fn image(root: &Path, release: &str) -> Result<PathBuf> {
    let in_boot = root.join("boot").join(format!("vmlinuz-{release}"));
    let beside = modules_dir(root, release)?.join("vmlinuz");
    [in_boot, beside].into_iter().find(|image| image.is_file()).ok_or_else(|| {
        anyhow!("{} has no kernel: neither boot/vmlinuz-{release} nor one beside its modules", root.display())
    })
}

/// Old packages are for systems where /lib is not in /usr.
fn modules_dir(root: &Path, release: &str) -> Result<PathBuf> {
    ["lib/modules", "usr/lib/modules"]
        .map(|dir| root.join(dir).join(release))
        .into_iter()
        .find(|dir| dir.is_dir())
        .ok_or_else(|| anyhow!("{} has no lib/modules/{release}", root.display()))
}

fn prune(modules: &Path) -> Result<()> {
    for dir in PRUNED.map(|dir| modules.join("kernel").join(dir)) {
        if dir.is_dir() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Once, here, rather than at each boot.
fn decompress(modules: &Path) -> Result<()> {
    for (suffix, tool) in [("*.ko.xz", "xz -d"), ("*.ko.zst", "zstd -q -d --rm")] {
        let mut find = Command::new("find");
        find.arg(modules).args(["-name", suffix, "-exec"]).args(tool.split(' ')).args(["{}", "+"]);
        process::capture(&mut find).with_context(|| format!("decompress the modules in {}", modules.display()))?;
    }
    Ok(())
}

/// `6.1.0-50-amd64` is of the series `6.1`, `6.12.1-amd64` is not.
fn is_of_series(release: &str, series: &str) -> bool {
    release.strip_prefix(series).is_some_and(|rest| rest.starts_with(['.', '-', '+']))
}

/// The newest of those that are ours.
pub fn newest(releases: impl Iterator<Item = String>, ours: impl Fn(&str) -> bool) -> Option<String> {
    releases.filter(|release| ours(release)).max_by_key(|release| numbers(release))
}

/// Releases in the order of their numbers: `6.12.94` is older than `6.12.107`.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_generic, is_of_series, newest};

    #[test]
    fn other_flavours_are_passed_over() {
        assert!(is_generic("7.2.13+deb14-amd64"));
        assert!(!is_generic("7.2.13+deb14-rt-amd64"));
        assert!(!is_generic("7.2.13+deb14-amd64-unsigned"));
        assert!(!is_generic("7.2.13+deb14-cloud-amd64"));
    }

    #[test]
    fn a_series_is_not_a_mere_prefix() {
        assert!(is_of_series("6.1.0-50-cloud-amd64", "6.1"));
        assert!(!is_of_series("6.12.107+deb13-cloud-amd64", "6.1"));
    }

    #[test]
    fn the_newest_release_is_so_by_number() {
        let releases = ["6.12.94+deb13-amd64", "6.12.107+deb13-amd64"].map(str::to_owned);
        assert_eq!(newest(releases.into_iter(), |_| true).as_deref(), Some("6.12.107+deb13-amd64"));
    }
}
