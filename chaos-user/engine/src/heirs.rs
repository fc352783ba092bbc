//! Rules that follow when a cgroup is made in another one's place, as when a service restarts: a program in the kernel writes the new one's
//! id into them before its directory is seen (`chaos-ebpf/src/call/heir.rs`).

use crate::syscall::Image;
use chaos_abi::{HEIR_NAME, Heir, HeirKey, MAX_HEIR_CALLS, MAX_HEIR_RULES, maps};
use chaos_sys::{datapath::map_error, error::KernelError, seam};
use nix::errno::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
};

/// What follows to a place.
#[derive(Default)]
struct Line {
    /// The cgroup that is there, or was there last.
    cgroup: u64,
    rules: BTreeSet<u32>,
    /// Hook and number of the calls that they stand at.
    calls: Vec<(u32, u32)>,
}

/// Those of a process.
#[derive(Default)]
pub struct Heirs {
    /// By the id of the cgroup above, and the name.
    lines: BTreeMap<(u64, String), Line>,
    /// Held, or the program would be gone.
    program: Option<[OwnedFd; 2]>,
}

impl Heirs {
    /// Adds rules of a cgroup, which has this `place`: the id of the cgroup above, and its name.
    ///
    /// # Errors
    /// E2BIG where they are too many; what the kernel says. Rules do not follow then.
    pub fn add(
        &mut self,
        image: &mut Image,
        cgroup: u64,
        (parent, name): (u64, &str),
        rules: &[u32],
        calls: Vec<(u32, u32)>,
    ) -> Result<(), KernelError> {
        if name.len() >= HEIR_NAME {
            return Err(KernelError::new("follow cgroup", name, Errno::ENAMETOOLONG));
        }
        if self.program.is_none() {
            self.program = Some(image.heirs()?);
        }
        let place = (parent, name.to_owned());
        self.leave(image, rules, &place)?;
        let line = self.lines.entry(place.clone()).or_default();
        (line.cgroup, line.calls) = (cgroup, calls);
        line.rules.extend(rules);
        let added = self.write(image, &place);
        if added.is_err() {
            // Those of others go on.
            if let Some(line) = self.lines.get_mut(&place) {
                line.rules.retain(|rule| !rules.contains(rule));
            }
            self.write(image, &place)?;
        }
        added
    }

    /// They are at this place now, and at no other.
    fn leave(&mut self, image: &mut Image, rules: &[u32], place: &(u64, String)) -> Result<(), KernelError> {
        let elsewhere =
            |(at, line): &(&(u64, String), &Line)| *at != place && rules.iter().any(|rule| line.rules.contains(rule));
        let places: Vec<_> = self.lines.iter().filter(elsewhere).map(|(at, _)| at.clone()).collect();
        for at in places {
            if let Some(line) = self.lines.get_mut(&at) {
                line.rules.retain(|rule| !rules.contains(rule));
            }
            self.write(image, &at)?;
        }
        Ok(())
    }

    /// These rules follow no more.
    ///
    /// # Errors
    /// The first that the kernel refused.
    pub fn remove(&mut self, image: &mut Image, gone: &[u32]) -> Result<(), KernelError> {
        let touched = |line: &Line| gone.iter().any(|rule| line.rules.contains(rule));
        let places: Vec<_> =
            self.lines.iter().filter(|(_, line)| touched(line)).map(|(place, _)| place.clone()).collect();
        let mut result = Ok(());
        for place in places {
            if let Some(line) = self.lines.get_mut(&place) {
                line.rules.retain(|rule| !gone.contains(rule));
            }
            result = result.and(self.write(image, &place));
        }
        if self.lines.is_empty() {
            self.program = None;
        }
        result
    }

    /// The cgroup is another one now.
    ///
    /// # Errors
    /// The first that the kernel refused.
    pub fn follow(&mut self, image: &mut Image, old: u64, new: u64) -> Result<(), KernelError> {
        let of_old = |(place, line): (&(u64, String), &Line)| (line.cgroup == old).then(|| place.clone());
        let places: Vec<_> = self.lines.iter().filter_map(of_old).collect();
        let mut result = Ok(());
        for place in places {
            if let Some(line) = self.lines.get_mut(&place) {
                line.cgroup = new;
            }
            result = result.and(self.write(image, &place));
        }
        result
    }

    fn write(&mut self, image: &mut Image, place: &(u64, String)) -> Result<(), KernelError> {
        let heir = self.lines.get(place).filter(|line| !line.rules.is_empty()).map(entry).transpose()?;
        let key = key(place);
        let table = &mut image.maps.heirs;
        if let Some(heir) = heir {
            let written = seam::run("write map", maps::HEIRS, || {
                table.insert(key, heir, 0).map_err(|e| map_error("write map", maps::HEIRS, &e))
            });
            if written.is_err() {
                // What stands there may have rules that are gone.
                let _absent = table.remove(&key);
            }
            return written;
        }
        self.lines.remove(place);
        seam::run("write map", maps::HEIRS, || match table.remove(&key) {
            Err(error) => Err(map_error("write map", maps::HEIRS, &error)).or_else(|error| match error.errno {
                Errno::ENOENT => Ok(()),
                _ => Err(error),
            }),
            Ok(()) => Ok(()),
        })
    }
}

fn key((parent, name): &(u64, String)) -> HeirKey {
    let mut key = HeirKey { parent: *parent, ..HeirKey::zeroed() };
    key.name.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    key
}

fn entry(line: &Line) -> Result<Heir, KernelError> {
    if line.rules.len() > MAX_HEIR_RULES || line.calls.len() > MAX_HEIR_CALLS {
        return Err(KernelError::new("follow rules of", "a cgroup", Errno::E2BIG));
    }
    let mut heir = Heir { cgroup: line.cgroup, ..Heir::zeroed() };
    (heir.rule_count, heir.call_count) = (line.rules.len() as u32, line.calls.len() as u32);
    heir.rules.iter_mut().zip(&line.rules).for_each(|(to, rule)| *to = *rule);
    for (place, (hook, number)) in line.calls.iter().enumerate() {
        (heir.hooks[place], heir.numbers[place]) = (*hook, *number);
    }
    Ok(heir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_bounded_and_a_name_ends_in_zeros() {
        let line = |rules: u32, calls: u32| Line {
            cgroup: 7,
            rules: (1..=rules).collect(),
            calls: (0..calls).map(|number| (9, number)).collect(),
        };
        let full = entry(&line(64, 128)).unwrap();
        assert_eq!((full.cgroup, full.rules[63], full.numbers[127], full.hooks[127]), (7, 64, 127, 9));
        assert!(entry(&line(65, 0)).is_err() && entry(&line(0, 129)).is_err());
        let key = key(&(3, "web.service".to_owned()));
        assert_eq!(
            (key.parent, &key.name[..11], key.name[11..].iter().all(|byte| *byte == 0)),
            (3, &b"web.service"[..], true)
        );
    }
}
