//! Delays during which a thread sleeps: what the program that decides leaves to the one that may sleep, and where both find the
//! process whose memory makes them wait.

use crate::abi_struct;

/// Threads that may sleep at a time; as many pages are mapped. A power of two.
pub const SLEEP_SLOTS: u32 = 4096;
/// Threads in calls after which they are to sleep. A power of two.
pub const MAX_LATER: u32 = 8192;
/// Threads for which a sleep is decided and not begun.
pub const MAX_SLEEPS: u32 = 8192;
/// The longest sleep without a look at lease and deadline, ns.
pub const SLEEP_SLICE: u64 = 500_000_000;
/// A decision that is older was for a call that something else refused, ns.
pub const SLEEP_STALE: u64 = 1_000_000_000;
/// Bytes from one slot's page to the next.
pub const SLEEP_PAGE: u64 = 4096;

abi_struct! {
    /// A sleep that is decided, by thread.
    pub struct Sleep {
        /// When, CLOCK_MONOTONIC in ns.
        pub decided: u64,
        /// How long, ns.
        pub duration: u64,
        /// Number of the system call.
        pub number: u32,
        /// What the call returns then; 0: it goes on.
        pub errno: u32,
        /// The rule that decided.
        pub rule: u32,
        /// Unused.
        pub reserved: u32,
    }
}

abi_struct! {
    /// The process whose pages make a reader wait; one entry.
    pub struct SleepServer {
        /// Where its pages begin; 0: there is none.
        pub address: u64,
        /// Counts on with each sleep.
        pub next: u64,
        /// Counts on with each sleep that is to come on the way back.
        pub later: u64,
        /// Its id in the initial PID namespace.
        pub pid: i32,
        /// Unused.
        pub reserved: u32,
    }
}

abi_struct! {
    /// A sleep on the way back from a call that may still last.
    pub struct Later {
        /// The kernel's own (linux/bpf.h, `struct bpf_task_work`).
        pub work: u64,
        /// When it was decided, CLOCK_BOOTTIME in ns: as leases say when they began.
        pub decided: u64,
        /// How long, ns.
        pub duration: u64,
        /// The rule that decided.
        pub rule: u32,
        /// What the call returns; 0: what it would without us.
        pub errno: u32,
    }
}

/// In place of a helper's number: the kernel's functions, whose ids user space looks up and puts in place (`OFFSET_MAGIC`).
pub const KFUNC_TASK_FROM_PID: i32 = 0x7c41_0000;
/// Gives back what [`KFUNC_TASK_FROM_PID`] gave.
pub const KFUNC_TASK_RELEASE: i32 = 0x7c41_0001;
/// Has a program's function called before the thread returns to user space (Linux 6.18).
pub const KFUNC_TASK_WORK: i32 = 0x7c41_0002;
/// All of them, each by the names that kernels have for it: the first one that there is is meant.
pub const KFUNCS: [(i32, &[&str]); 3] = [
    (KFUNC_TASK_FROM_PID, &["bpf_task_from_pid"]),
    (KFUNC_TASK_RELEASE, &["bpf_task_release"]),
    // The second name came first, with one argument more, which no program gives (kernel/bpf/helpers.c, `aux__prog`).
    (KFUNC_TASK_WORK, &["bpf_task_work_schedule_resume", "bpf_task_work_schedule_resume_impl"]),
];
