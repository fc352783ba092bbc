//! A sysfs of our own: the calling thread's network namespace has its devices only in a sysfs that was mounted from inside it
//! (fs/sysfs/mount.c, `sysfs_init_fs_context`), and in a container `/sys` is read-only.

use super::error::KernelError;
use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};
use std::{
    fs::File,
    io::{Read, Write},
};

const OP: &str = "open in sysfs";

/// Opens a file by its path below `/sys`. The mount is in no table and goes with the descriptor. Linux 5.2.
fn open(path: &str, flags: OFlags) -> Result<File, KernelError> {
    let error = |errno: rustix::io::Errno| KernelError::from_io(OP, path, &errno.into());
    let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(error)?;
    fsconfig_create(&context).map_err(error)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(error)?;
    openat(&mount, path, flags | OFlags::CLOEXEC, Mode::empty()).map(File::from).map_err(error)
}

/// Reads a file by its path below `/sys`, without blanks at its ends.
///
/// # Errors
/// ENOENT where this kernel has no such file; EPERM without CAP_SYS_ADMIN.
pub fn read(path: &str) -> Result<String, KernelError> {
    let mut text = String::new();
    open(path, OFlags::RDONLY)?
        .read_to_string(&mut text)
        .map_err(|e| KernelError::from_io("read from sysfs", path, &e))?;
    Ok(text.trim().to_owned())
}

/// Writes a file by its path below `/sys`.
///
/// # Errors
/// As [`read`]; what the file's owner in the kernel says of the value.
pub fn write(path: &str, value: &str) -> Result<(), KernelError> {
    open(path, OFlags::WRONLY)?
        .write_all(value.as_bytes())
        .map_err(|e| KernelError::from_io("write to sysfs", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{netns::Netns, testing};

    #[test]
    fn devices_are_those_of_the_namespace_that_a_thread_is_in() {
        testing::root_or_return!();
        let scratch = Netns::scratch().unwrap();
        assert_eq!(scratch.enter(|| read("class/net/lo/ifindex")).unwrap().unwrap(), "1");
        assert_eq!(read("no/such/file").unwrap_err().category(), "absent");
        scratch.enter(|| write("class/net/lo/ifalias", "x\n")).unwrap().unwrap();
        assert_eq!(scratch.enter(|| read("class/net/lo/ifalias")).unwrap().unwrap(), "x");
        assert_ne!(read("class/net/lo/ifalias").unwrap(), "x");
    }
}
