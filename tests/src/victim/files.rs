//! Calls on open files, pipes and directories: data in and out, lengths, locks, maps.

use super::deed::{After, Deed, Trouble};
use super::kit::{Kit, LENGTH, pipe};
use super::table::Entry;
use crate::sys::raw::RawCall;

/// How much is read or written.
const AMOUNT: usize = 16;

pub const CALLS: &[Entry] = &[
    Entry::again("read", |kit| Ok(data(libc::SYS_read, kit.reader()?).into())),
    Entry::once("read:socket", |kit| Ok(data(libc::SYS_read, kit.full_socket()?).into())),
    Entry::once("read:pipe", |kit| Ok(data(libc::SYS_read, kit.full_pipe()?).into())),
    Entry::again("pread64", |kit| Ok(data(libc::SYS_pread64, kit.reader()?).into())),
    Entry::again("readv", |kit| Ok(vector(libc::SYS_readv, kit.reader()?).into())),
    Entry::again("preadv", |kit| Ok(vector(libc::SYS_preadv, kit.reader()?).into())),
    Entry::again("write", |kit| Ok(data(libc::SYS_write, kit.writer()?).into())),
    Entry::once("write:socket", |kit| Ok(data(libc::SYS_write, kit.pair()?[1]).into())),
    Entry::once("write:pipe", |_| Ok(data(libc::SYS_write, pipe()?[1]).into())),
    Entry::again("pwrite64", |kit| Ok(data(libc::SYS_pwrite64, kit.writer()?).into())),
    Entry::again("writev", |kit| Ok(vector(libc::SYS_writev, kit.writer()?).into())),
    Entry::again("pwritev", |kit| Ok(vector(libc::SYS_pwritev, kit.writer()?).into())),
    Entry::again("fsync", |kit| Ok(RawCall::new(libc::SYS_fsync).int(kit.writer()?).into())),
    Entry::again("fdatasync", |kit| Ok(RawCall::new(libc::SYS_fdatasync).int(kit.writer()?).into())),
    Entry::once("close", |kit| Ok(RawCall::new(libc::SYS_close).int(kit.reader()?).into())),
    Entry::again("fstat", |kit| Ok(RawCall::new(libc::SYS_fstat).int(kit.reader()?).words(vec![0; 32]).into())),
    Entry::again("ftruncate", |kit| Ok(RawCall::new(libc::SYS_ftruncate).int(kit.writer()?).size(LENGTH).into())),
    Entry::again("fallocate", |kit| {
        Ok(RawCall::new(libc::SYS_fallocate).int(kit.writer()?).int(0).int(0).size(LENGTH).into())
    }),
    Entry::again("getdents64", |kit| {
        Ok(RawCall::new(libc::SYS_getdents64).int(kit.directory()?).bytes(vec![0; LENGTH]).size(LENGTH).into())
    }),
    Entry::again("ioctl", |kit| {
        let how_much: i64 = libc::FIONREAD as i64;
        Ok(RawCall::new(libc::SYS_ioctl).int(kit.full_pipe()?).int(how_much).bytes(vec![0; 4]).into())
    }),
    Entry::again("fcntl", |kit| Ok(RawCall::new(libc::SYS_fcntl).int(kit.reader()?).int(libc::F_GETFD).into())),
    Entry::again("flock", |kit| Ok(RawCall::new(libc::SYS_flock).int(kit.reader()?).int(libc::LOCK_SH).into())),
    Entry::once("sendfile", |kit| {
        let to = kit.pair()?[1];
        Ok(RawCall::new(libc::SYS_sendfile).int(to).int(kit.reader()?).size(0).size(AMOUNT).into())
    }),
    Entry::once("splice", |kit| {
        let [_, to] = pipe()?;
        Ok(RawCall::new(libc::SYS_splice).int(kit.reader()?).int(0).int(to).int(0).size(AMOUNT).into())
    }),
    Entry::again("copy_file_range", copy_file_range),
    Entry::again("mmap", |_| Ok(After::Unmap(LENGTH).of(map()))),
    Entry::again("mprotect", |kit| {
        let page = kit.just("mmap", map())?;
        Ok(RawCall::new(libc::SYS_mprotect).size(page).size(LENGTH).int(libc::PROT_READ).into())
    }),
];

fn data(number: libc::c_long, fd: i32) -> RawCall {
    RawCall::new(number).int(fd).bytes(vec![b'x'; AMOUNT]).size(AMOUNT)
}

fn vector(number: libc::c_long, fd: i32) -> RawCall {
    let mut call = RawCall::new(number).int(fd);
    let address = call.keep_bytes(vec![b'x'; AMOUNT]);
    call.words(vec![address, AMOUNT]).int(1)
}

fn copy_file_range(kit: &mut Kit) -> Result<Deed, Trouble> {
    let from = kit.reader()?;
    let name = kit.new_name("copy_file_range")?;
    let to = kit.open(&name, libc::O_WRONLY | libc::O_CREAT)?;
    Ok(RawCall::new(libc::SYS_copy_file_range).int(from).int(0).int(to).int(0).size(AMOUNT).into())
}

/// Maps memory of its own, which is a page or less.
fn map() -> RawCall {
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    RawCall::new(libc::SYS_mmap).int(0).size(LENGTH).int(rights).int(flags).int(-1).int(0)
}
