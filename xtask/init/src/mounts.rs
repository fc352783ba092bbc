//! The guest's file systems.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    unistd::{chdir, chroot},
};

use crate::folders::Folders;

const ROOT: &str = "/root";
const NINE_P: &str = "trans=virtio,version=9p2000.L,msize=262144";

/// What loading modules and seeing devices needs.
pub fn first() -> Result<()> {
    plain("proc", "/proc")?;
    match plain("devtmpfs", "/dev") {
        // Some kernels mount it by themselves.
        Err(error) if error.downcast_ref() == Some(&Errno::EBUSY) => Ok(()),
        done => done,
    }
}

/// Makes the host's file system our root. The initramfs stays below it, out of sight. Returns the folders that are to be seen in spite of what
/// [`system`] mounts.
pub fn switch_root() -> Result<Folders> {
    let options = format!("{NINE_P},cache=loose");
    mount(Some("hostroot"), ROOT, Some("9p"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .context("mount the host's file system over 9p")?;
    let folders = Folders::open(Path::new("/folders"), Path::new(ROOT))?;
    let dev = format!("{ROOT}/dev");
    move_mount("/dev", &dev)?;
    chdir(ROOT).with_context(|| format!("enter {ROOT}"))?;
    move_mount(".", "/")?;
    chroot(".").context("chroot into the host's file system")?;
    chdir("/").context("enter the new root")?;
    Ok(folders)
}

/// The usual file systems of a running Linux, and `job`.
pub fn system(job: &str) -> Result<()> {
    let always = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
        ("debugfs", "/sys/kernel/debug"),
    ];
    for (kind, target) in always {
        plain(kind, target)?;
    }
    for (kind, target) in [("tracefs", "/sys/kernel/tracing"), ("securityfs", "/sys/kernel/security")] {
        if Path::new(target).exists() {
            plain(kind, target)?;
        }
    }
    for (kind, target) in [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm")] {
        make_dir(target)?;
        plain(kind, target)?;
    }
    // As udev would: scripts write to /dev/stderr and read /dev/fd.
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        let link = format!("/dev/{name}");
        symlink(format!("/proc/self/fd{target}"), &link).with_context(|| format!("make the link {link}"))?;
    }
    make_dir(job)?;
    mount(Some("job"), job, Some("9p"), MsFlags::empty(), Some(NINE_P)).with_context(|| format!("mount {job} over 9p"))
}

fn plain(kind: &str, target: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount {kind} on {target}"))
}

fn move_mount(from: &str, to: &str) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .with_context(|| format!("move the mount {from} to {to}"))
}

fn make_dir(path: &str) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {path}"))
}
