//! Which mechanisms for system calls this kernel has, proven by effect: a thread of ours makes a harmless call that is to fail, by
//! programs and maps that nobody else knows of.

use crate::{
    kernel::{
        btf::Btf,
        calls::{CgroupHook, Image, SharedMaps, Stand, Way},
        datapath::map_error,
        error::KernelError,
    },
    plan::{
        call::{CallPlan, Candidate, LONGEST_BUSY, candidates, table},
        glob::{self, Text},
    },
    resolve::Host,
};
use chaos_abi::{
    ACTION_CALL, ALWAYS, ANY_UID, CALL_SOCKET, CallArgs, CallKey, CallList, Control, HOOK_CGROUP, HOOK_ENTRY,
    HOOK_PLAIN, LEASE_RUNNING, Lease, MAX_RULES_PER_CALL, Rule, Scopes, maps,
};
use nix::errno::Errno;
use std::{path::PathBuf, sync::OnceLock};

/// The root of the cgroup tree has this id everywhere (fs/kernfs/dir.c, `kernfs_create_root`: the first inode).
const ROOT: u64 = 1;
/// The name of the thread that makes the trial calls.
const THREAD: &str = "chaos-trial";

/// What came out for each mechanism: nothing, or why it does not serve.
pub struct Trial {
    entry: Result<(), String>,
    kprobe: Result<(), String>,
    security: Result<(), String>,
    cgroup: Result<(), String>,
    kernel: Option<Btf>,
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
    /// Tried once per process.
    pub fn get() -> &'static Self {
        static TRIAL: OnceLock<Trial> = OnceLock::new();
        TRIAL.get_or_init(Self::make)
    }

    fn make() -> Self {
        let stand = |way, function: String, program| Stand { way, function, program };
        let getsid = libc::SYS_getsid as u32;
        let session = || nix::unistd::getsid(None).map(drop);
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| errno_of(&e));
        let cgroup = stand(Way::Cgroup(CgroupHook::SockCreate), "cgroup sock_create".into(), "sock_create");
        let mut bench = match Bench::new() {
            Ok(bench) => bench,
            Err(error) => return Self::none(&error),
        };
        let mut one = |stand: Stand, hook, call: &(dyn Fn() -> Result<(), Errno> + Sync)| {
            let number = if hook == HOOK_CGROUP { CALL_SOCKET } else { getsid };
            bench.tried(&stand, CallKey { cgroup: ROOT, number, hook }, call).map_err(|error| error.to_string())?
        };
        Self {
            entry: one(stand(Way::Entry, table::entry("getsid"), "entry"), HOOK_ENTRY, &session),
            kprobe: one(stand(Way::Kprobe, table::entry("getsid"), "kprobe"), HOOK_ENTRY, &session),
            security: one(stand(Way::Security, "security_task_getsid".into(), "plain"), HOOK_PLAIN, &session),
            cgroup: one(cgroup, HOOK_CGROUP, &socket),
            kernel: Btf::of_kernel().ok(),
        }
    }

    fn none(why: &KernelError) -> Self {
        let no = || Err(why.to_string());
        Self { entry: no(), kprobe: no(), security: no(), cgroup: no(), kernel: None }
    }

    fn of(&self, way: Way) -> &Result<(), String> {
        match way {
            Way::Entry => &self.entry,
            Way::Kprobe => &self.kprobe,
            Way::Security => &self.security,
            Way::Cgroup(_) => &self.cgroup,
        }
    }

    /// Why a candidate does not serve on this kernel.
    ///
    /// # Errors
    /// The reason.
    pub fn serves(&self, candidate: &Candidate) -> Result<(), String> {
        for stand in &candidate.stands {
            self.of(stand.way).clone()?;
            let absent = self.kernel.as_ref().is_some_and(|kernel| kernel.function(&stand.function).is_none());
            if absent && !matches!(stand.way, Way::Cgroup(_)) {
                return Err(format!("this kernel has no {}", stand.function));
            }
        }
        Ok(())
    }

    /// The best mechanism for each call of a plan.
    ///
    /// # Errors
    /// The first call that has none, with the reason for each.
    pub fn choose(&self, plan: &CallPlan) -> Result<Vec<Candidate>, String> {
        if plan.args.delay + plan.args.jitter > LONGEST_BUSY {
            return Err(format!(
                "a thread is held for at most {} us, jitter included: longer delays of calls are not part of this release",
                LONGEST_BUSY / 1000
            ));
        }
        plan.calls.iter().map(|name| self.best(plan, name)).collect()
    }

    /// The best mechanism for one call.
    ///
    /// # Errors
    /// The reason for each that does not serve.
    pub fn best(&self, plan: &CallPlan, name: &str) -> Result<Candidate, String> {
        let (all, mut reasons) = candidates(plan, name);
        for candidate in all {
            match self.serves(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(why) => reasons.push(format!("{}: {why}", candidate.mechanism())),
            }
        }
        reasons.dedup();
        Err(format!("{name} cannot be hit on this kernel ({})", reasons.join("; ")))
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Programs and maps of a trial.
struct Bench {
    // Held for its maps.
    _shared: SharedMaps,
    image: Image,
}

impl Bench {
    fn new() -> Result<Self, KernelError> {
        let mut shared = SharedMaps::private()?;
        let mut image = Image::new(&shared.descriptors(), &cgroup_root()?)?;
        let rows = glob::compile(&[THREAD.to_owned()], Text::Name).unwrap_or_default();
        let comm = image.maps.add_globs(&rows)?;
        let args = CallArgs { errno: Errno::EXDEV as u32, comm, uid: ANY_UID, ..CallArgs::default() };
        let rule = Rule {
            action: ACTION_CALL,
            lease: 1,
            percent: ALWAYS,
            cgroup: ROOT,
            args: args.encode(),
            ..Rule::zeroed()
        };
        let (control, lease) = running();
        shared.set(rule, control, lease)?;
        let error = |e| map_error("fill map", maps::SCOPES, &e);
        image.maps.scopes.set(0, Scopes { count: 1, ..Scopes::zeroed() }, 0).map_err(error)?;
        Ok(Self { _shared: shared, image })
    }

    /// Does a program there have `call` fail with the error that is asked for?
    fn tried(
        &mut self,
        stand: &Stand,
        key: CallKey,
        call: &(dyn Fn() -> Result<(), Errno> + Sync),
    ) -> Result<Result<(), String>, KernelError> {
        let program = self.image.load(stand)?;
        let list = CallList { count: 1, rules: [1; MAX_RULES_PER_CALL], ..CallList::zeroed() };
        self.image.maps.calls.insert(key, list, 0).map_err(|e| map_error("fill map", maps::CALLS, &e))?;
        let _links = self.image.attach(stand, &program)?;
        let outcome = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn_scoped(scope, call);
            thread.map(|thread| thread.join().unwrap_or(Ok(())))
        });
        Ok(match outcome {
            Ok(Err(Errno::EXDEV)) => Ok(()),
            Ok(result) => Err(format!("a program at {} changes nothing: {result:?}", stand.function)),
            Err(error) => Err(format!("start thread {THREAD}: {error}")),
        })
    }
}

/// A lease that ends in a minute at the latest: the maps go with this process anyhow.
fn running() -> (Control, Lease) {
    let control = Control { abi: chaos_abi::ABI_VERSION, reserved: 0, generation: 1 };
    let lease = Lease {
        state: LEASE_RUNNING,
        generation: 1,
        until: u64::MAX,
        end: u64::MAX,
        deadline: u64::MAX,
        ..Lease::zeroed()
    };
    (control, lease)
}
