//! Tells of cgroups that are made, and of programs that begin in those that are awaited.

use super::{
    datapath::{load_error, map_error},
    error::KernelError,
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, RingBuf},
    programs::RawTracePoint,
};
use chaos_abi::{BIRTH_CGROUP, BIRTH_EXEC, Birth, maps as names};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::os::fd::AsFd;

const OP: &str = "follow new pods by";
const TRACEPOINTS: [(&str, &str); 2] = [("cgroup_made", "cgroup_mkdir"), ("program_began", "sched_process_exec")];

/// Something that came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A cgroup, by its path below the root of its hierarchy, whichever that is.
    Cgroup {
        /// Its path.
        path: String,
    },
    /// A program in an awaited cgroup.
    Program {
        /// Its process.
        pid: i32,
        /// Its cgroup2.
        cgroup: u64,
        /// The awaited cgroup, which that is or is below.
        awaited: u64,
        /// When, CLOCK_MONOTONIC in ns.
        time: u64,
    },
}

/// The programs at work; dropped, they are gone.
pub struct Births {
    _programs: Ebpf,
    awaited: HashMap<MapData, u64, u32>,
}

/// Where the events come out.
pub struct Reader {
    ring: RingBuf<MapData>,
}

/// Attaches the programs of this object, `chaos_objects::BIRTH` (Linux 5.8: the ring buffer).
///
/// # Errors
/// EPERM without CAP_BPF and CAP_PERFMON or CAP_SYS_ADMIN; what the verifier says.
pub fn start(object: &[u8]) -> Result<(Births, Reader), KernelError> {
    of(object, &TRACEPOINTS)
}

/// The same of cgroups alone.
///
/// # Errors
/// As [`start`].
pub fn of_cgroups(object: &[u8]) -> Result<(Births, Reader), KernelError> {
    of(object, &TRACEPOINTS[..1])
}

fn of(object: &[u8], tracepoints: &[(&str, &str)]) -> Result<(Births, Reader), KernelError> {
    let mut ebpf = EbpfLoader::new().btf(None).load(object).map_err(|e| load_error(OP, "tracepoints", &e))?;
    for &(name, tracepoint) in tracepoints {
        let wrong = || KernelError::new(OP, tracepoint, Errno::ENOENT);
        let program: &mut RawTracePoint = ebpf.program_mut(name).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
        program.load().map_err(|e| load_error(OP, tracepoint, &e))?;
        program.attach(tracepoint).map_err(|e| load_error(OP, tracepoint, &e))?;
    }
    let mut map = |name: &'static str| ebpf.take_map(name).ok_or_else(|| KernelError::new(OP, name, Errno::ENOENT));
    let (ring, awaited) = (map(names::BIRTHS)?, map(names::AWAITED)?);
    let ring = ring.try_into().map_err(|e| map_error(OP, names::BIRTHS, &e))?;
    let awaited = awaited.try_into().map_err(|e| map_error(OP, names::AWAITED, &e))?;
    Ok((Births { _programs: ebpf, awaited }, Reader { ring }))
}

impl Births {
    /// Tells of programs that begin in this cgroup or below it from now on.
    ///
    /// # Errors
    /// ENOSPC where too many are awaited.
    pub fn await_in(&mut self, cgroup: u64) -> Result<(), KernelError> {
        self.awaited.insert(cgroup, 0, 0).map_err(|e| map_error("await programs in", names::AWAITED, &e))
    }

    /// No more.
    pub fn forget(&mut self, cgroup: u64) {
        let _gone_already = self.awaited.remove(&cgroup);
    }
}

impl Reader {
    /// The next event; None where none comes within a second.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&mut self) -> Result<Option<Event>, KernelError> {
        loop {
            if let Some(item) = self.ring.next() {
                match parse(&item) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let mut fds = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(1000u16)) {
                Ok(0) | Err(Errno::EINTR) => return Ok(None),
                Ok(_) => {}
                Err(errno) => return Err(KernelError::new("wait for events of", "tracepoints", errno)),
            }
        }
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Event> {
    let number = |offset: usize| bytes.get(offset..offset + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let word = |offset: usize| bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = word(std::mem::offset_of!(Birth, kind))?;
    match kind {
        BIRTH_CGROUP => {
            let path = bytes.get(std::mem::offset_of!(Birth, path)..)?;
            let length = path.iter().position(|byte| *byte == 0)?;
            Some(Event::Cgroup { path: String::from_utf8_lossy(&path[..length]).into_owned() })
        }
        BIRTH_EXEC => Some(Event::Program {
            pid: i32::try_from(word(std::mem::offset_of!(Birth, pid))?).ok()?,
            cgroup: number(std::mem::offset_of!(Birth, cgroup))?,
            awaited: number(std::mem::offset_of!(Birth, awaited))?,
            time: number(std::mem::offset_of!(Birth, time))?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::{fs, process::Command};

    fn seen(reader: &mut Reader, wanted: impl Fn(&Event) -> bool) -> bool {
        (0..100).any(|_| reader.wait().unwrap().is_some_and(|event| wanted(&event)))
    }

    #[test]
    fn tells_of_cgroups_and_of_programs_in_those_that_are_awaited() {
        testing::root_or_return!();
        let Some(mount) = testing::cgroup2() else { return };
        let (mut births, mut reader) = start(chaos_objects::BIRTH).unwrap();
        let name = testing::unique("birth");
        let directory = mount.join(&name);
        fs::create_dir(&directory).unwrap();
        assert!(seen(&mut reader, |event| *event == Event::Cgroup { path: format!("/{name}") }));
        let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&directory).unwrap());
        births.await_in(id).unwrap();
        let procs = directory.join("cgroup.procs");
        let script = format!("echo $$ > {}; exec true", procs.display());
        let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert!(seen(
            &mut reader,
            |event| matches!(event, Event::Program { pid: one, cgroup, .. } if *one == pid && *cgroup == id)
        ));
        fs::remove_dir(&directory).unwrap();
    }
}
