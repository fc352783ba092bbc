//! Folders of the host below a place where the machine mounts a file system of its own, as `/tmp`: shown again above it.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MsFlags, mount},
};

/// Held open from before they were hidden.
pub struct Folders(Vec<(PathBuf, OwnedFd)>);

impl Folders {
    /// Opens those that `list` names, each ended by a NUL, below `root`.
    pub fn open(list: &Path, root: &Path) -> Result<Self> {
        let names = fs::read(list).with_context(|| format!("read {}", list.display()))?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let top = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
        let top = top.with_context(|| format!("open {}", root.display()))?;
        let mut folders = Vec::new();
        for name in names {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            // Links lead to where they would if `root` were the root.
            let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
            let opened = openat2(&top, &path, how).with_context(|| format!("open the host's {}", path.display()))?;
            folders.push((path, opened));
        }
        Ok(Self(folders))
    }

    /// Mounts them where they were.
    pub fn show(self) -> Result<()> {
        for (path, folder) in self.0 {
            let source = format!("/proc/self/fd/{}", folder.as_raw_fd());
            if fs::metadata(&source).is_ok_and(|found| found.is_dir()) {
                make_dir(&path)?;
            } else {
                make_dir(path.parent().unwrap_or(Path::new("/")))?;
                File::create(&path).with_context(|| format!("create {}", path.display()))?;
            }
            mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("show the host's {} again", path.display()))?;
        }
        Ok(())
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))
}
