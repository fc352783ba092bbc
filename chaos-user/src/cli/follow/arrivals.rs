//! That a cgroup of some name is made is told at once: who looks now and then comes too late for its first packet.

use chaos_host::target::CgroupScope;
use chaos_sys::births::{self, Births, Event, Reader};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
};

/// Who tells. The thread that made it is woken from [`thread::park_timeout`].
pub struct Arrivals {
    came: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    _programs: Births,
}

impl Arrivals {
    /// Of cgroups whose directories are called as these are; None where there are none, or where the kernel does not tell: then they are
    /// found by looking.
    pub fn of<'a>(scopes: impl Iterator<Item = &'a CgroupScope>) -> Option<Self> {
        let names: BTreeSet<String> = scopes.map(|scope| last(&scope.path).to_owned()).collect();
        if names.is_empty() {
            return None;
        }
        let (programs, reader) = births::of_cgroups(chaos_objects::BIRTH).ok()?;
        let (came, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let told = (came.clone(), over.clone(), thread::current());
        thread::Builder::new().name("arrivals".to_owned()).spawn(move || listen(reader, &names, &told)).ok()?;
        Some(Self { came, over, _programs: programs })
    }

    /// Has one been made since this was asked last?
    pub fn came(&self) -> bool {
        self.came.swap(false, Ordering::Acquire)
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        // It looks each second, and ends with the process.
        self.over.store(true, Ordering::Release);
    }
}

fn listen(
    mut reader: Reader,
    names: &BTreeSet<String>,
    (came, over, main): &(Arc<AtomicBool>, Arc<AtomicBool>, Thread),
) {
    while !over.load(Ordering::Acquire) {
        match reader.wait() {
            Ok(Some(Event::Cgroup { path })) if names.contains(last(&path)) => {
                came.store(true, Ordering::Release);
                main.unpark();
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
