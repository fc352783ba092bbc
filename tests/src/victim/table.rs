//! Every call that `chaos-victim` knows.

use super::deed::{Deed, Trouble};
use super::kit::Kit;
use super::{files, names, process, sockets, waits};

/// A call: its name, and how all that it needs is prepared.
pub struct Entry {
    pub name: &'static str,
    /// Whether what was prepared once is good for every repetition.
    pub again: bool,
    pub prepare: fn(&mut Kit) -> Result<Deed, Trouble>,
}

impl Entry {
    /// A call that can be repeated with the same arguments.
    pub const fn again(name: &'static str, prepare: fn(&mut Kit) -> Result<Deed, Trouble>) -> Self {
        Self { name, again: true, prepare }
    }

    /// A call that uses up what was prepared for it.
    pub const fn once(name: &'static str, prepare: fn(&mut Kit) -> Result<Deed, Trouble>) -> Self {
        Self { name, again: false, prepare }
    }

    /// The name without its variant: that of the system call.
    pub fn system_call(&self) -> &'static str {
        self.name.split(':').next().unwrap_or(self.name)
    }
}

pub fn all() -> impl Iterator<Item = &'static Entry> {
    [names::CALLS, files::CALLS, sockets::CALLS, waits::CALLS, process::CALLS].into_iter().flatten()
}

pub fn named(name: &str) -> Option<&'static Entry> {
    all().find(|entry| entry.name == name)
}
