//! Does a thread sleep that is told to? Tried with the very programs, and with maps that nobody else knows of.

use super::cgroup_root;
use crate::syscall::{Image, SharedMaps, THREAD};
use chaos_abi::{Control, LEASE_RUNNING, Lease, Rule, Sleep};
use chaos_spec::plan::call::HookSite;
use chaos_sys::{clock, error::KernelError, sleep};
use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long the thread of the trial sleeps: longer than opening a file takes on a slow machine.
const NAP: Duration = Duration::from_millis(50);

/// Nothing, or why threads cannot sleep here.
pub fn tried(site: &HookSite) -> Result<(), String> {
    let slept = nap(site).map_err(|error| error.to_string())?;
    if slept < NAP {
        return Err(format!(
            "a thread that was to sleep for {} ms slept for {} us",
            NAP.as_millis(),
            slept.as_micros()
        ));
    }
    Ok(())
}

fn nap(site: &HookSite) -> Result<Duration, KernelError> {
    let mut shared = SharedMaps::private()?;
    let lease = Lease { state: LEASE_RUNNING, until: u64::MAX, end: u64::MAX, ..Lease::zeroed() };
    shared.set(Rule { lease: 1, ..Rule::zeroed() }, Control::zeroed(), lease)?;
    let mut image = Image::new(&shared.descriptors(), &cgroup_root()?)?;
    image.maps.set_sleeper(sleep::pages()?)?;
    let program = image.load(site)?;
    let _links = image.attach(site, &program)?;
    let (tell, told) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
        let _ = tell.send(nix::unistd::gettid().as_raw() as u32);
        let _ = gone.recv();
        let begin = Instant::now();
        let _ = std::fs::File::open("/proc/self/stat");
        begin.elapsed()
    });
    let thread = thread.map_err(|e| KernelError::from_io("start", THREAD, &e))?;
    let Ok(id) = told.recv() else { return Ok(Duration::ZERO) };
    let note = Sleep {
        decided: clock::monotonic(),
        duration: NAP.as_nanos() as u64,
        number: libc::SYS_openat as u32,
        rule: 1,
        ..Sleep::zeroed()
    };
    image.maps.decide(id, note)?;
    drop(go);
    Ok(thread.join().unwrap_or_default())
}
