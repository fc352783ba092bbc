//! Calls that take a path: opening, looking, and making, renaming and removing names.

use libc::{AT_FDCWD, O_CLOEXEC, R_OK};

use super::deed::{After, Deed, Trouble};
use super::kit::{Kit, LENGTH, make_file};
use super::table::Entry;
use crate::sys::raw::RawCall;

/// Enough for `struct stat` and `struct statx`, in words.
const STAT: usize = 32;

pub const CALLS: &[Entry] = &[
    #[cfg(target_arch = "x86_64")]
    Entry::again("open", |kit| opening(kit, |file| RawCall::new(libc::SYS_open).path(file).int(O_CLOEXEC))),
    Entry::again("openat", |kit| opening(kit, |file| at(libc::SYS_openat).path(file).int(O_CLOEXEC))),
    Entry::again("openat2", |kit| {
        let how = vec![O_CLOEXEC as usize, 0, 0];
        opening(kit, |file| at(libc::SYS_openat2).path(file).words(how).size(24))
    }),
    #[cfg(target_arch = "x86_64")]
    Entry::again("creat", |kit| opening(kit, |file| RawCall::new(libc::SYS_creat).path(file).int(0o644))),
    #[cfg(target_arch = "x86_64")]
    Entry::again("stat", |kit| looking(kit, |file| RawCall::new(libc::SYS_stat).path(file).words(vec![0; STAT]))),
    #[cfg(target_arch = "x86_64")]
    Entry::again("lstat", |kit| looking(kit, |file| RawCall::new(libc::SYS_lstat).path(file).words(vec![0; STAT]))),
    Entry::again("newfstatat", |kit| looking(kit, |file| at(libc::SYS_newfstatat).path(file).words(vec![0; STAT]))),
    Entry::again("statx", |kit| {
        let basic = libc::STATX_BASIC_STATS;
        looking(kit, |file| at(libc::SYS_statx).path(file).int(0).int(basic).words(vec![0; STAT]))
    }),
    #[cfg(target_arch = "x86_64")]
    Entry::again("access", |kit| looking(kit, |file| RawCall::new(libc::SYS_access).path(file).int(R_OK))),
    Entry::again("faccessat", |kit| looking(kit, |file| at(libc::SYS_faccessat).path(file).int(R_OK))),
    Entry::again("faccessat2", |kit| looking(kit, |file| at(libc::SYS_faccessat2).path(file).int(R_OK))),
    Entry::again("truncate", |kit| looking(kit, |file| RawCall::new(libc::SYS_truncate).path(file).size(LENGTH))),
    #[cfg(target_arch = "x86_64")]
    Entry::again("unlink", |kit| taking(kit, |file| RawCall::new(libc::SYS_unlink).path(file))),
    Entry::again("unlinkat", |kit| taking(kit, |file| at(libc::SYS_unlinkat).path(file))),
    #[cfg(target_arch = "x86_64")]
    Entry::again("rename", |kit| {
        let new = kit.new_name("rename")?;
        taking(kit, |file| RawCall::new(libc::SYS_rename).path(file).path(&new))
    }),
    Entry::again("renameat", |kit| {
        let new = kit.new_name("renameat")?;
        taking(kit, |file| at(libc::SYS_renameat).path(file).int(AT_FDCWD).path(&new))
    }),
    Entry::again("renameat2", |kit| {
        let new = kit.new_name("renameat2")?;
        taking(kit, |file| at(libc::SYS_renameat2).path(file).int(AT_FDCWD).path(&new))
    }),
    #[cfg(target_arch = "x86_64")]
    Entry::once("mkdir", |kit| Ok(RawCall::new(libc::SYS_mkdir).path(&kit.new_name("mkdir")?).int(0o755).into())),
    Entry::once("mkdirat", |kit| Ok(at(libc::SYS_mkdirat).path(&kit.new_name("mkdirat")?).int(0o755).into())),
    #[cfg(target_arch = "x86_64")]
    Entry::once("rmdir", |kit| Ok(RawCall::new(libc::SYS_rmdir).path(&kit.new_dir("rmdir")?).into())),
    #[cfg(target_arch = "x86_64")]
    Entry::once("link", |kit| {
        let new = kit.new_name("link")?;
        looking(kit, |file| RawCall::new(libc::SYS_link).path(file).path(&new))
    }),
    Entry::once("linkat", |kit| {
        let new = kit.new_name("linkat")?;
        looking(kit, |file| at(libc::SYS_linkat).path(file).int(AT_FDCWD).path(&new))
    }),
    #[cfg(target_arch = "x86_64")]
    Entry::once("symlink", |kit| {
        Ok(RawCall::new(libc::SYS_symlink).path(c"nowhere").path(&kit.new_name("symlink")?).into())
    }),
    Entry::once("symlinkat", |kit| {
        let new = kit.new_name("symlinkat")?;
        Ok(RawCall::new(libc::SYS_symlinkat).path(c"nowhere").int(AT_FDCWD).path(&new).into())
    }),
];

/// A call whose path is relative to the working directory.
fn at(number: libc::c_long) -> RawCall {
    RawCall::new(number).int(AT_FDCWD)
}

/// A call that opens the file.
fn opening(kit: &mut Kit, call: impl FnOnce(&std::ffi::CStr) -> RawCall) -> Result<Deed, Trouble> {
    let file = kit.file();
    Ok(After::Close.of(call(&file)).preceded(make_file(&file)))
}

/// A call on the file, which stays.
fn looking(kit: &mut Kit, call: impl FnOnce(&std::ffi::CStr) -> RawCall) -> Result<Deed, Trouble> {
    let file = kit.file();
    Ok(Deed::from(call(&file)).preceded(make_file(&file)))
}

/// A call that takes the file away.
fn taking(kit: &mut Kit, call: impl FnOnce(&std::ffi::CStr) -> RawCall) -> Result<Deed, Trouble> {
    let file = kit.own_file();
    Ok(Deed::from(call(&file)).preceded(make_file(&file)))
}
