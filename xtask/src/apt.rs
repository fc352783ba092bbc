//! Packages of Debian suites other than the system's own, taken by an apt configuration of our own: nothing is installed
//! and the system's apt does not notice.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, toolchain::cache_dir};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// One private apt, with fresh package lists of some suites.
pub struct Apt {
    dir: PathBuf,
    options: Vec<OsString>,
}

impl Apt {
    /// Downloads the lists of these suites.
    pub fn with_suites(suites: &[&str]) -> Result<Self> {
        for tool in ["apt-get", "dpkg"] {
            if process::find(tool).is_none() {
                bail!("{tool} is not here: this step needs Debian, Ubuntu or another system with apt");
            }
        }
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let dir = cache_dir().join("apt").join(suites.join("-"));
        for sub in ["lists/partial", "cache/archives/partial", "download"] {
            create_dir(&dir.join(sub))?;
        }
        let mirror = mirror();
        let lines: String =
            suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect();
        let list = dir.join("sources.list");
        fs::write(&list, lines).with_context(|| format!("write {}", list.display()))?;
        let apt = Self { options: options(&dir, &list), dir };
        process::capture(apt.command("apt-get").args(["-qq", "--error-on=any", "update"]))
            .with_context(|| format!("download the package lists of {} from {mirror}", suites.join(", ")))?;
        Ok(apt)
    }

    /// Names of all packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = process::capture(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// All versions of a package, newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = process::capture(self.command("apt-cache").args(["madison", package]))?;
        // " rust-src | 1.95.0+dfsg1-2 | http://deb.debian.org/debian sid/main amd64 Packages"
        Ok(table.lines().filter_map(|line| line.split('|').nth(1)).map(|field| field.trim().to_owned()).collect())
    }

    /// Downloads packages (`name` or `name=version`) and unpacks them into `target`, which then exists whole or not at
    /// all: `finish` is called before it gets its name.
    pub fn unpack(&self, packages: &[&str], target: &Path, finish: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let download = self.dir.join("download");
        replace_dir(&download)?;
        let mut fetch = self.command("apt-get");
        fetch.args(["-qq", "download"]).args(packages).current_dir(&download);
        process::capture(&mut fetch).with_context(|| format!("download {}", packages.join(", ")))?;
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        replace_dir(&partial)?;
        for entry in fs::read_dir(&download).with_context(|| format!("read {}", download.display()))? {
            let archive = entry.with_context(|| format!("read {}", download.display()))?.path();
            process::capture(Command::new("dpkg").arg("-x").arg(&archive).arg(&partial))?;
        }
        finish(&partial)?;
        remove_dir(target)?;
        fs::rename(&partial, target)
            .with_context(|| format!("rename {} to {}", partial.display(), target.display()))?;
        remove_dir(&download)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("LC_ALL", "C");
        command
    }
}

fn options(dir: &Path, list: &Path) -> Vec<OsString> {
    let setting = |name: &str, value: &Path| {
        let mut setting = OsString::from(format!("-o{name}="));
        setting.push(value);
        setting
    };
    let none = Path::new("/dev/null");
    vec![
        setting("Dir::Etc::SourceList", list),
        setting("Dir::Etc::SourceParts", none),
        setting("Dir::Etc::PreferencesParts", none),
        setting("Dir::Etc::Preferences", none),
        setting("Dir::State::Lists", &dir.join("lists")),
        setting("Dir::Cache", &dir.join("cache")),
        // As root apt downloads as the user _apt, who may not enter root's cache directory.
        setting("APT::Sandbox::User", Path::new("root")),
    ]
}

/// The Debian mirror that the system itself uses, if it is a Debian.
fn mirror() -> String {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]);
    let listed = process::capture(&mut targets).unwrap_or_default();
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .unwrap_or(MIRROR)
        .to_owned()
}

fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

fn remove_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

fn replace_dir(dir: &Path) -> Result<()> {
    remove_dir(dir)?;
    create_dir(dir)
}
