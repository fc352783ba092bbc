//! Which mechanisms for system calls this kernel has, proven by effect: a thread of ours makes a harmless call that is to fail, by
//! programs and maps that nobody else knows of.

mod nearest;
mod sleep;

use crate::syscall::{ERROR, THREAD, attach_trial, has_entry};
use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use chaos_abi::LONGEST_BUSY;
use chaos_host::Host;
use chaos_spec::plan::call::{AttachMethod, CallPlan, Candidate, CgroupHook, HookSite, candidates, table};
use chaos_sys::{btf::KernelTypes, error::KernelError};
use nix::errno::Errno;
use std::{path::PathBuf, sync::OnceLock};

/// What came out for each mechanism that was asked for: nothing, or why it does not serve.
#[derive(Default)]
pub struct Trial {
    entry: OnceLock<Result<(), String>>,
    kprobe: OnceLock<Result<(), String>>,
    lsm: OnceLock<Result<(), String>>,
    security: OnceLock<Result<(), String>>,
    sleep: OnceLock<Result<(), String>>,
    lsm_later: OnceLock<Result<(), String>>,
    entry_later: OnceLock<Result<(), String>>,
    cgroup: OnceLock<Result<(), String>>,
}

/// The uppermost directory of the cgroup2 tree.
///
/// # Errors
/// ENOENT, `unsupported`, where none is mounted.
pub fn cgroup_root() -> Result<PathBuf, KernelError> {
    Host::cgroup2().map_err(|why| {
        let error = KernelError::new("find", "cgroup2 file system", Errno::ENOENT).with_detail(why);
        error.unsupported("mount one: mount -t cgroup2 none /sys/fs/cgroup")
    })
}

impl Trial {
    /// Each mechanism is tried once per process, when it is first asked for.
    pub fn get() -> &'static Self {
        static TRIAL: OnceLock<Trial> = OnceLock::new();
        TRIAL.get_or_init(Self::default)
    }

    fn of(&self, method: AttachMethod) -> &Result<(), String> {
        // Of a process that is named: the caller's own session is told without asking the security hook.
        let session = || nix::unistd::getsid(Some(nix::unistd::Pid::this())).map(drop);
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| errno_of(&e));
        let site = |function: &str, program| HookSite { method, function: function.to_owned(), program };
        match method {
            AttachMethod::Entry => self.entry.get_or_init(|| tried(&site(&table::entry("getsid"), "entry"), &session)),
            AttachMethod::Kprobe => {
                self.kprobe.get_or_init(|| tried(&site(&table::entry("getsid"), "kprobe"), &session))
            }
            AttachMethod::Lsm => self.lsm.get_or_init(|| tried(&site("bpf_lsm_task_getsid", "plain"), &session)),
            AttachMethod::Security => {
                self.security.get_or_init(|| tried(&site("security_task_getsid", "plain"), &session))
            }
            AttachMethod::LsmAsleep | AttachMethod::Sleep => {
                self.sleep.get_or_init(|| sleep::tried(&site("bpf_lsm_file_open", "sleeper")))
            }
            AttachMethod::LsmLater => self.lsm_later.get_or_init(|| sleep::tried(&site("bpf_lsm_file_open", "later"))),
            AttachMethod::EntryLater => self.entry_later.get_or_init(|| {
                // Another of its kind stands where it does.
                self.of(AttachMethod::Entry).clone()?;
                sleep::tried(&site(&table::entry("openat"), "later"))
            }),
            AttachMethod::Cgroup(_) => self.cgroup.get_or_init(|| {
                let hook = CgroupHook::SockCreate;
                let site = HookSite {
                    method: AttachMethod::Cgroup(hook),
                    function: "cgroup sock_create".into(),
                    program: hook.program(),
                };
                tried(&site, &socket)
            }),
        }
    }

    /// Why a candidate does not serve on this kernel.
    ///
    /// # Errors
    /// The reason.
    pub fn serves(&self, candidate: &Candidate) -> Result<(), String> {
        for site in &candidate.sites {
            self.of(site.method).clone()?;
            let kernel = KernelTypes::shared().as_ref();
            let untyped = kernel.is_ok_and(|kernel| kernel.function(&site.function).is_none());
            let absent = match site.method {
                AttachMethod::Cgroup(_) => false,
                AttachMethod::Kprobe => untyped && !has_entry(&site.function),
                _ => untyped,
            };
            if absent {
                return Err(format!("this kernel has no {}", site.function));
            }
        }
        Ok(())
    }

    /// The best mechanism for each call of a plan.
    ///
    /// # Errors
    /// The first call that has none, with the reason for each.
    pub fn choose(&self, plan: &CallPlan) -> Result<Vec<Candidate>, String> {
        plan.calls.iter().map(|name| self.best(plan, name)).collect()
    }

    /// The best mechanism for one call.
    ///
    /// # Errors
    /// The reason for each that does not serve.
    pub fn best(&self, plan: &CallPlan, name: &str) -> Result<Candidate, String> {
        self.found(plan, name).map_err(|why| {
            let near = nearest::nearest(plan, name, &|plan, name| self.found(plan, name).is_ok());
            near.map_or(why.clone(), |near| format!("{why}; the nearest that works here: {near}"))
        })
    }

    fn found(&self, plan: &CallPlan, name: &str) -> Result<Candidate, String> {
        let (all, mut reasons) = candidates(plan, name);
        for candidate in all {
            match self.serves(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(why) => reasons.push(format!("{}: {why}", candidate.mechanism())),
            }
        }
        reasons.dedup();
        let what = match plan.sleeps() {
            true => format!("delayed for more than {} us", LONGEST_BUSY / 1000),
            false => "hit".to_owned(),
        };
        Err(format!("{name} cannot be {what} on this kernel ({})", reasons.join("; ")))
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Does a program there have `call` fail with the error that is asked for?
fn tried(site: &HookSite, call: &(dyn Fn() -> Result<(), Errno> + Sync)) -> Result<(), String> {
    // What the programs themselves need, and the trial's does not.
    let loops = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_loop);
    if !loops.map_err(|error| format!("probe helper bpf_loop: {error}"))? {
        return Err("programs for calls need Linux 5.17 (bpf_loop)".to_owned());
    }
    let root = cgroup_root().map_err(|e| e.to_string())?;
    let _held = attach_trial(site, KernelTypes::shared().as_ref().ok(), &root).map_err(|error| error.to_string())?;
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn_scoped(scope, call);
        thread.map(|thread| thread.join().unwrap_or(Ok(())))
    });
    match outcome {
        Ok(Err(error)) if error == ERROR => Ok(()),
        Ok(_) => Err(format!("a program at {} changes nothing", site.function)),
        Err(error) => Err(format!("start thread {THREAD}: {error}")),
    }
}
