//! A container's runtime keeps devices from it: on cgroup v2 by programs at the container's own cgroup. For the moment in which one file
//! is opened, a program of ours stands in their place, and nobody else's are touched. It lets through what every container has, and FUSE.
//! So whatever happens in between, a container never has more than that: it fails closed.

use super::OwnCgroup;
use crate::{
    bpf::{
        self, Program, attach_device_program, detach_device_program, device_programs, insn, load_program,
        replace_device_program,
    },
    error::KernelError,
};
use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use nix::errno::Errno;
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Devices of characters that every container has (runtime-spec, config-linux.md, "Default Devices"), and FUSE: major, minor.
const USUAL: [(i32, i32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (10, 229)];
/// For the lock that another process of the container holds while it opens a file.
const MOST_WAIT: Duration = Duration::from_secs(2);
/// Major number of its terminals, whatever their minor.
const TERMINALS: i32 = 136;

/// Says yes to these, and to the making of any device file, which gives no access. What it is asked stands in `struct bpf_cgroup_dev_ctx`
/// (linux/bpf.h): what for, in the upper half of the first word, the kind in the lower; major; minor.
fn stand_in() -> Result<OwnedFd, KernelError> {
    const CHARACTERS: i32 = 2; // BPF_DEVCG_DEV_CHAR
    const MAKE: i32 = 1; // BPF_DEVCG_ACC_MKNOD alone
    let load = |to, at| insn(0x61, to, 1, at, 0);
    // A yes of two instructions, over which what does not fit jumps.
    let yes = || [insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)];
    let unless = |register, value, over| insn(0x55, register, 0, over, value);
    let mut code: Vec<bpf_insn> = vec![load(2, 0), load(4, 4), load(5, 8)];
    // r3 = r2 >> 16; r2 &= 0xffff
    code.extend([insn(0xbf, 3, 2, 0, 0), insn(0x77, 3, 0, 0, 16), insn(0x57, 2, 0, 0, 0xffff)]);
    code.push(unless(3, MAKE, 2));
    code.extend(yes());
    let no = [insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)];
    code.push(insn(0x15, 2, 0, 2, CHARACTERS));
    code.extend(no);
    for (major, minor) in USUAL {
        code.extend([unless(4, major, 3), unless(5, minor, 2)]);
        code.extend(yes());
    }
    code.push(unless(4, TERMINALS, 2));
    code.extend(yes());
    code.extend(no);
    let program = Program {
        name: "chaos_devices",
        kind: bpf_prog_type::BPF_PROG_TYPE_CGROUP_DEVICE,
        attach: bpf_attach_type::BPF_CGROUP_DEVICE,
        code: &code,
        types: None,
        target: None,
        sleepable: false,
    };
    load_program(&program, "devices of this container")
}

/// While it lives, the cgroup's own programs for devices are not attached; one of ours is.
#[derive(Debug)]
pub struct Lifted {
    cgroup: File,
    stand_in: OwnedFd,
    /// In whose place ours stands.
    first: OwnedFd,
    /// Those beside it.
    others: Vec<OwnedFd>,
    /// How many of these are away.
    away: usize,
    flags: u32,
    is_back: bool,
}

impl Lifted {
    /// Takes the place of those of the cgroup.
    ///
    /// # Errors
    /// There are none: devices are kept from us by cgroup v1, or further up; or the kernel's answer.
    fn of(directory: &Path, cgroup: File) -> Result<Self, KernelError> {
        let shown = || directory.display().to_string();
        let (ids, flags) = device_programs(cgroup.as_fd())?;
        let mut programs = ids.into_iter().map(bpf::program_by_id);
        let Some(first) = programs.next().transpose()? else {
            let why =
                "no program at this container's own cgroup keeps devices from it: cgroup v1 or one further up does";
            return Err(KernelError::new("find", shown(), Errno::ENOENT).with_detail(why));
        };
        let others = programs.collect::<Result<Vec<_>, _>>()?;
        let stand_in = stand_in()?;
        replace_device_program(first.as_fd(), stand_in.as_fd(), cgroup.as_fd(), flags)?;
        let mut lifted = Self { cgroup, stand_in, first, others, away: 0, flags, is_back: false };
        for place in 0..lifted.others.len() {
            detach_device_program(lifted.others[place].as_fd(), lifted.cgroup.as_fd())?;
            // From now on it is ours to put back.
            lifted.away = place + 1;
        }
        Ok(lifted)
    }

    /// Puts them back as they were.
    ///
    /// # Errors
    /// The kernel's answer: then ours stays, and this container has the usual devices alone.
    pub fn put_back(mut self) -> Result<(), KernelError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), KernelError> {
        self.is_back = true;
        let closed = |error: KernelError| {
            error.with_hint("until this container is restarted, it has no devices but those that every container has")
        };
        for other in self.others.iter().take(self.away) {
            attach_device_program(other.as_fd(), self.cgroup.as_fd(), self.flags).map_err(closed)?;
        }
        let (ours, first) = (self.stand_in.as_fd(), self.first.as_fd());
        replace_device_program(ours, first, self.cgroup.as_fd(), self.flags).map_err(closed)
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        if !self.is_back
            && let Err(error) = self.restore()
        {
            tracing::error!("{error}");
        }
    }
}

/// What `open` gives, if need be while this container's devices are not kept from it. One process of a container at a time: another might
/// take the program that stands in for the container's own, and put that back.
///
/// # Errors
/// As of [`Lifted::of`]; where they could not be put back.
pub fn past<T>(own: OwnCgroup, open: impl Fn() -> io::Result<T>) -> Result<io::Result<T>, KernelError> {
    let absent = |why: String| KernelError::new("find", "this process's cgroup", Errno::ENOENT).with_detail(why);
    past_of(&own().map_err(absent)?, open)
}

fn past_of<T>(directory: &Path, open: impl Fn() -> io::Result<T>) -> Result<io::Result<T>, KernelError> {
    let cgroup =
        File::open(directory).map_err(|e| KernelError::from_io("open", directory.display().to_string(), &e))?;
    wait_for(&cgroup);
    // Refused while another had ours in place.
    if let Ok(opened) = open() {
        return Ok(Ok(opened));
    }
    let lifted = Lifted::of(directory, cgroup)?;
    let opened = open();
    lifted.put_back()?;
    Ok(opened)
}

/// Takes the lock of a cgroup's directory, which goes with the descriptor. Whoever sees the directory can hold it: not for ever.
fn wait_for(cgroup: &File) {
    let until = Instant::now() + MOST_WAIT;
    while cgroup.try_lock().is_err() {
        if Instant::now() > until {
            return tracing::warn!(
                "the lock of this container's cgroup is held by another process; going on without it"
            );
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests;
