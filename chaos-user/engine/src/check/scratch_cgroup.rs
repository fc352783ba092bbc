//! A scratch cgroup below this process's own, so that the latter never runs empty, which systemd would take for its end.

use chaos_host::{CgroupScope, Host, cgroup};
use chaos_sys::{error::KernelError, seam};
use nix::errno::Errno;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Begins the names of our directories; this process's number follows.
const NAME: &str = "chaos-check-";

/// An empty cgroup; gone when dropped.
#[derive(Debug)]
pub struct ScratchCgroup {
    /// What a rule needs to know of it.
    pub scope: CgroupScope,
    own: PathBuf,
}

fn failed(op: &'static str, path: &Path, error: &std::io::Error) -> KernelError {
    let error = KernelError::from_io(op, path.display().to_string(), error);
    error.with_hint("the cgroup2 tree must be writable to try this; the rest does not need it")
}

impl ScratchCgroup {
    /// Makes one, and removes those of dead processes.
    ///
    /// # Errors
    /// `unsupported` without a whole cgroup2 hierarchy; EROFS, EACCES where it may not be written.
    pub fn new() -> Result<Self, KernelError> {
        let unsupported =
            |why: String| KernelError::new("find", "this process's cgroup", Errno::EOPNOTSUPP).with_detail(why);
        let host = Host::this().map_err(|problem| unsupported(problem.text))?;
        let tree = host.unified.map_err(unsupported)?;
        let own = cgroup::own(&tree).ok_or_else(|| unsupported("it is not below the cgroup2 mount".to_owned()))?;
        remove_dead(&own);
        let directory = own.join(format!("{NAME}{}", std::process::id()));
        seam::run("create", "scratch cgroup", || {
            fs::create_dir(&directory).map_err(|e| failed("create cgroup", &directory, &e))
        })?;
        let Some(scope) = cgroup::scope(&tree, &directory) else {
            return Err(unsupported(format!("{} is gone", directory.display())));
        };
        Ok(Self { scope, own })
    }

    /// Runs `work` with this whole process in the cgroup; it is back when this returns. What sockets are made meanwhile
    /// belong to it.
    ///
    /// # Errors
    /// EOPNOTSUPP, EBUSY where this process may not be moved (threaded cgroups, controllers).
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> Result<T, KernelError> {
        let enter = |directory: &Path| {
            let path = directory.join("cgroup.procs");
            seam::run("enter", "cgroup", || fs::write(&path, "0").map_err(|e| failed("write", &path, &e)))
        };
        enter(&self.scope.directory)?;
        let result = work();
        enter(&self.own)?;
        Ok(result)
    }
}

impl Drop for ScratchCgroup {
    fn drop(&mut self) {
        // The next check tries again.
        let _left_for_the_next = fs::remove_dir(&self.scope.directory);
    }
}

fn remove_dead(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _not_empty_so_not_ours = fs::remove_dir(entry.path());
        }
    }
}
