//! The files by which a target finds names. They are the target's: it may have put anything there, so paths are resolved below
//! its root, nothing is waited for, and no more is read than a resolver would.

use crate::target::{Target, TargetKind};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes read of a file.
const MOST: u64 = 1 << 20;

/// The files' contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFiles {
    /// resolv.conf(5); empty where there is none.
    pub resolv: String,
    /// hosts(5); empty where there is none.
    pub hosts: String,
}

impl NameFiles {
    /// Those of a target: below the root of one of its processes; for a named network namespace in `/etc/netns/NAME`
    /// (ip-netns(8)) or else this process's own.
    ///
    /// # Errors
    /// A sentence: no process of it is left, or its root may not be read.
    pub fn of(target: &Target) -> Result<Self, String> {
        let named = target.netns.path.starts_with("/run/netns") || target.netns.path.starts_with("/var/run/netns");
        if target.kind == TargetKind::Netns && (named || target.pids.is_empty()) {
            let name = target.netns.path.file_name().unwrap_or_default();
            return Self::beside(&Path::new("/etc/netns").join(name));
        }
        let mut error = format!("{} has no process left", target.name);
        for pid in &target.pids {
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            match Self::below(&root) {
                Ok(files) => return Ok(files),
                Err(why) => error = format!("{}: {why}", root.display()),
            }
        }
        Err(error)
    }

    /// Of a root directory. Links within lead to files within.
    fn below(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = OpenOptions::new().read(true).custom_flags(flags.bits()).open(root)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let open = |name: &str| openat2(root.as_fd(), name, how).map(File::from).map_err(io::Error::from);
        Ok(Self { resolv: text(open("etc/resolv.conf"))?, hosts: text(open("etc/hosts"))? })
    }

    /// Of a directory of `/etc/netns`, by file.
    fn beside(directory: &Path) -> Result<Self, String> {
        let read = |name: &str| -> Result<String, String> {
            let own = directory.join(name);
            let path = if own.exists() { own } else { Path::new("/etc").join(name) };
            text(File::open(&path)).map_err(|e| format!("{}: {e}", path.display()))
        };
        Ok(Self { resolv: read("resolv.conf")?, hosts: read("hosts")? })
    }
}

fn text(file: io::Result<File>) -> io::Result<String> {
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("chaos-names-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        root
    }

    #[test]
    fn links_stay_within_the_root() {
        let root = root("links");
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/resolv.conf"), "nameserver 10.9.9.9\n").unwrap();
        symlink("/run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        symlink("../../../../../../../../etc/passwd", root.join("etc/hosts")).unwrap();
        let files = NameFiles::below(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(files.unwrap(), NameFiles { resolv: "nameserver 10.9.9.9\n".into(), hosts: String::new() });
    }

    #[test]
    fn a_named_namespace_has_files_of_its_own_or_ours() {
        let root = root("netns");
        fs::write(root.join("resolv.conf"), "nameserver 10.9.9.9\n").unwrap();
        let files = NameFiles::beside(&root);
        fs::remove_dir_all(&root).unwrap();
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        assert_eq!(files.unwrap(), NameFiles { resolv: "nameserver 10.9.9.9\n".into(), hosts });
    }

    #[test]
    fn what_is_no_file_is_an_error_and_does_not_block() {
        let root = root("fifo");
        nix::unistd::mkfifo(&root.join("etc/resolv.conf"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = NameFiles::below(&root).unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
