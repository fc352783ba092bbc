//! A fault of system calls, planned: which calls, what is asked of them, by which mechanisms.

mod choose;
mod site;
pub mod table;

pub use choose::{Candidate, candidates};
pub use site::{AttachMethod, CgroupHook, HookSite};

use super::{
    Refusal,
    glob::{self, Row, Text},
};
use crate::{Distribution, FdKind, Mechanism, Syscall};
use chaos_abi::{
    ANY_UID, CallArgs, DIST_NORMAL, DIST_PARETO, DIST_PARETONORMAL, DIST_UNIFORM, KIND_ANY, KIND_FILE, KIND_PIPE,
    KIND_SOCKET,
};
use std::collections::BTreeSet;

/// One fault of system calls.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The calls, without groups and without doubles.
    pub calls: Vec<String>,
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// The table of its paths.
    pub paths: Option<Vec<Row>>,
    /// The table of the thread's name.
    pub comm: Option<Vec<Row>>,
    /// Peers or ports are asked for.
    pub peers: bool,
    /// What descriptors are asked for (`KIND_*`).
    pub kind: u32,
    /// Everything but the tables.
    pub args: CallArgs,
}

impl CallPlan {
    /// All calls of a name, with an error.
    #[must_use]
    pub fn of_all(name: &str) -> Self {
        Self {
            calls: vec![name.to_owned()],
            mechanism: Mechanism::Auto,
            paths: None,
            comm: None,
            peers: false,
            kind: KIND_ANY,
            args: CallArgs { errno: 1, uid: ANY_UID, ..CallArgs::default() },
        }
    }

    /// The same with a delay, ns.
    #[must_use]
    pub fn delayed(mut self, delay: u64) -> Self {
        self.args.delay = delay;
        self
    }

    /// Its delays are too long for a thread to keep its CPU.
    #[must_use]
    pub const fn sleeps(&self) -> bool {
        self.args.delay + self.args.jitter > chaos_abi::LONGEST_BUSY
    }

    /// What must be known of a call ([`table::PATH`] and so on).
    #[must_use]
    pub fn needs(&self) -> u8 {
        let path = if self.paths.is_some() { table::PATH } else { 0 };
        let kind = if self.kind == KIND_ANY { 0 } else { table::KIND };
        path | kind | if self.peers { table::PEER } else { 0 }
    }
}

/// Plans one fault; `path` names it in messages.
///
/// # Errors
/// A call that does not exist; globs that need too many states.
pub fn plan(syscall: &Syscall, path: &str) -> Result<CallPlan, Refusal> {
    let refuse = |field: &str, message: String| Refusal { path: format!("{path}.{field}"), message, invalid: false };
    let mut calls: Vec<String> = Vec::new();
    for (index, name) in syscall.calls.iter().enumerate() {
        if name.starts_with('@') {
            calls.extend(table::of_group(name).map(str::to_owned));
        } else if table::find(name).is_some() {
            calls.push(name.clone());
        } else {
            return Err(Refusal { invalid: true, ..refuse(&format!("calls[{index}]"), unknown(name)) });
        }
    }
    let mut seen = BTreeSet::new();
    calls.retain(|name| seen.insert(name.clone()));
    let matches = &syscall.matches;
    let too_many = || "the patterns need too many states; use fewer, or fewer ** and ? in them".to_owned();
    let paths = match matches.paths.as_slice() {
        [] => None,
        paths => Some(glob::compile(paths, Text::Path).ok_or_else(|| refuse("match.paths", too_many()))?),
    };
    let comm = match &matches.comm {
        None => None,
        Some(comm) => {
            let table = glob::compile(std::slice::from_ref(comm), Text::Name);
            Some(table.ok_or_else(|| refuse("match.comm", too_many()))?)
        }
    };
    let kind = match matches.fd {
        None => KIND_ANY,
        Some(FdKind::File) => KIND_FILE,
        Some(FdKind::Socket) => KIND_SOCKET,
        Some(FdKind::Pipe) => KIND_PIPE,
    };
    let latency = syscall.latency.as_ref();
    let args = CallArgs {
        errno: syscall.errno.map_or(0, |errno| u32::from(errno.get())),
        delay: latency.map_or(0, |latency| latency.delay.as_nanos()),
        jitter: latency.and_then(|latency| latency.jitter).map_or(0, |jitter| jitter.as_nanos()),
        distribution: match latency.and_then(|latency| latency.distribution) {
            None | Some(Distribution::Uniform) => DIST_UNIFORM,
            Some(Distribution::Normal) => DIST_NORMAL,
            Some(Distribution::Pareto) => DIST_PARETO,
            Some(Distribution::ParetoNormal) => DIST_PARETONORMAL,
        },
        path: 0,
        comm: 0,
        uid: matches.uid.unwrap_or(ANY_UID),
        kind,
    };
    let peers = !matches.peers.is_empty() || !matches.ports.is_empty();
    Ok(CallPlan { calls, mechanism: syscall.mechanism, paths, comm, peers, kind, args })
}

fn unknown(name: &str) -> String {
    let close = crate::suggest::closest(name, table::ROWS.iter().map(|row| row.name));
    let remedy = close.map_or_else(|| "see syscalls(2)".to_owned(), |close| format!("did you mean {close}?"));
    format!("{name:?} is no system call of this machine; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn plan_of(matches: &str, calls: &str) -> CallPlan {
        plan(&spec_of(matches, calls), "spec.faults[0].syscall").unwrap()
    }

    fn spec_of(matches: &str, calls: &str) -> Syscall {
        let text = format!("calls: {calls}\nerrno: EIO\nmatch: {matches}");
        yaml_serde::from_str(&text).unwrap()
    }

    #[test]
    fn groups_and_names_are_one_list_without_doubles() {
        let plan = plan_of("{all: true}", "['@memory', mmap, getpid]");
        assert_eq!(plan.calls, ["mmap", "mprotect", "brk", "getpid"]);
        assert_eq!((plan.args.errno, plan.args.uid, plan.needs()), (5, ANY_UID, 0));
    }

    #[test]
    fn a_call_that_does_not_exist() {
        let refusal = plan(&spec_of("{all: true}", "[openta]"), "spec.faults[0].syscall").unwrap_err();
        assert_eq!(refusal.path, "spec.faults[0].syscall.calls[0]");
        assert_eq!(refusal.message, "\"openta\" is no system call of this machine; did you mean openat?");
    }
}
