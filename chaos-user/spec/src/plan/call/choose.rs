//! By which mechanism a call is hit: the best one that knows what the match asks for and that the kernel has; pure.

use super::{
    AttachMethod, CallPlan, CgroupHook, HookSite,
    table::{self, Group, KIND, PATH, PEER, Row},
};
use crate::Mechanism;
use chaos_abi::{HOOK_CGROUP, HOOK_ENTRY, HOOK_KPROBE, TIMING_ASLEEP, TIMING_LATER};

/// A way to hit a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where programs are to stand.
    pub sites: Vec<HookSite>,
    /// [`chaos_abi::CallKey::hook`].
    pub hook: u32,
    /// [`chaos_abi::CallKey::number`].
    pub number: u32,
}

impl Candidate {
    /// Its word in specs and reports.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self.sites.first().map(|site| site.method) {
            Some(AttachMethod::Entry | AttachMethod::EntryLater) => "entry",
            Some(AttachMethod::Kprobe) => "kprobe",
            Some(AttachMethod::Cgroup(_)) => "cgroup",
            Some(
                AttachMethod::Lsm
                | AttachMethod::Security
                | AttachMethod::LsmAsleep
                | AttachMethod::Sleep
                | AttachMethod::LsmLater,
            )
            | None => "lsm",
        }
    }
}

/// All ways to hit a call that know what the plan asks for, the best one first; and why the others do not.
#[must_use]
pub fn candidates(plan: &CallPlan, name: &str) -> (Vec<Candidate>, Vec<String>) {
    let Some((row, number)) = table::find(name) else { return (Vec::new(), vec!["there is no such call".to_owned()]) };
    let (mut all, mut reasons) = (Vec::new(), Vec::new());
    let wanted = |mechanism| plan.mechanism == Mechanism::Auto || plan.mechanism == mechanism;
    let needs = plan.needs();
    let mut add = |mechanism: Mechanism, knows: u8, candidate: Candidate| {
        if !wanted(mechanism) {
            return;
        }
        let unknown = needs & !knows;
        if unknown == 0 {
            all.push(candidate);
        } else {
            reasons.push(format!("{}: {} not known there", candidate.mechanism(), words(unknown)));
        }
    };
    if plan.sleeps() {
        return sleeping(plan, &row, number);
    }
    let at_entry = row.known_at_entry();
    for (mechanism, method, program, hook) in [
        (Mechanism::Entry, AttachMethod::Entry, "entry", HOOK_ENTRY),
        (Mechanism::Kprobe, AttachMethod::Kprobe, "kprobe", HOOK_KPROBE),
    ] {
        let site = HookSite { method, function: table::entry(row.name), program };
        add(mechanism, at_entry, Candidate { sites: vec![site], hook, number });
    }
    if let Some(hook) = row.hook_for(needs) {
        for function in hook.functions {
            for (method, function) in
                [(AttachMethod::Lsm, table::lsm(function)), (AttachMethod::Security, (*function).to_owned())]
            {
                let site = HookSite { method, function, program: hook.program };
                add(Mechanism::Lsm, hook.knows, Candidate { sites: vec![site], hook: hook.number, number });
            }
        }
    } else if wanted(Mechanism::Lsm) {
        reasons.push("lsm: the call passes no security hook of its own".to_owned());
    }
    match row.group {
        Some(group) if wanted(Mechanism::Cgroup) => cgroup(plan, &row, group, needs, &mut all, &mut reasons),
        None if plan.mechanism == Mechanism::Cgroup => {
            reasons.push("cgroup: only connect, bind, socket and sending to an address have such hooks".to_owned());
        }
        _ => {}
    }
    (all, reasons)
}

/// Ways to hold a thread without keeping its CPU: what decides stands before what may sleep. In the call where the kernel lets a
/// thread sleep there, otherwise on the way back.
fn sleeping(plan: &CallPlan, row: &Row, number: u32) -> (Vec<Candidate>, Vec<String>) {
    let busy = chaos_abi::LONGEST_BUSY / 1000;
    let wanted = |mechanism| plan.mechanism == Mechanism::Auto || plan.mechanism == mechanism;
    if !wanted(Mechanism::Lsm) && !wanted(Mechanism::Entry) {
        return (Vec::new(), vec![format!("delays over {busy} us need the mechanism lsm or entry")]);
    }
    if matches!(row.name, "exit" | "exit_group") {
        return (Vec::new(), vec!["the call does not return".to_owned()]);
    }
    let (mut all, mut reasons) = (Vec::new(), Vec::new());
    // Of two at one place the one that came last runs first (kernel/bpf/trampoline.c, `hlist_add_head`).
    let mut add = |function: String, [sleeps, decides]: [(AttachMethod, &'static str); 2], hook: u32| {
        let site = |(method, program)| HookSite { method, function: function.clone(), program };
        all.push(Candidate { sites: vec![site(sleeps), site(decides)], hook, number });
    };
    let hook = row.hook_for(plan.needs()).filter(|_| wanted(Mechanism::Lsm));
    let knows = hook.filter(|hook| plan.needs() & !hook.knows == 0);
    match (hook, knows) {
        (Some(hook), None) => reasons.push(format!("lsm: {} not known there", words(plan.needs() & !hook.knows))),
        (None, _) if wanted(Mechanism::Lsm) => reasons.push("lsm: the call passes no security hook".to_owned()),
        _ => {}
    }
    // LSM programs before those at the entry: a thread that is interrupted in one keeps no others out of it.
    let hooks = knows.iter().flat_map(|hook| hook.functions.iter().map(move |function| (hook, function)));
    for (hook, function) in hooks {
        let place = table::lsm(function);
        if table::may_sleep(function) {
            add(
                place,
                [(AttachMethod::Sleep, "sleeper"), (AttachMethod::LsmAsleep, hook.program)],
                hook.number | TIMING_ASLEEP,
            );
        } else {
            reasons.push(format!("a thread may not sleep in {function}"));
            add(
                place,
                [(AttachMethod::LsmLater, "later"), (AttachMethod::LsmLater, hook.program)],
                hook.number | TIMING_LATER,
            );
        }
    }
    let at_entry = row.known_at_entry();
    match plan.needs() & !at_entry {
        _ if !wanted(Mechanism::Entry) => {}
        0 => {
            let entry = table::entry(row.name);
            add(
                entry,
                [(AttachMethod::EntryLater, "later"), (AttachMethod::EntryLater, "entry")],
                HOOK_ENTRY | TIMING_LATER,
            );
        }
        unknown => reasons.push(format!("entry: {} not known there", words(unknown))),
    }
    (all, reasons)
}

fn cgroup(plan: &CallPlan, row: &Row, group: Group, needs: u8, all: &mut Vec<Candidate>, reasons: &mut Vec<String>) {
    let missing: Vec<&str> = group.calls.iter().copied().filter(|call| !plan.calls.iter().any(|c| c == call)).collect();
    if !missing.is_empty() {
        reasons.push(format!("cgroup: cannot tell {} from {}: name all of them", row.name, missing.join(" and ")));
        return;
    }
    let unknown = needs & !(KIND | PEER);
    if unknown != 0 {
        reasons.push(format!("cgroup: {} not known there", words(unknown)));
        return;
    }
    let site = |hook: &CgroupHook| HookSite {
        method: AttachMethod::Cgroup(*hook),
        function: format!("cgroup {}", hook.program()),
        program: hook.program(),
    };
    all.push(Candidate { sites: group.hooks.iter().map(site).collect(), hook: HOOK_CGROUP, number: group.number });
}

fn words(unknown: u8) -> String {
    let all = [(PATH, "paths"), (KIND, "fd"), (PEER, "ports and peers")];
    let named: Vec<&str> = all.iter().filter(|(bit, _)| unknown & bit != 0).map(|(_, word)| *word).collect();
    format!("{} {}", named.join(" and "), if named.len() == 1 && named[0] == "fd" { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan_of;
    use super::*;

    fn mechanisms(matches: &str, calls: &str, name: &str) -> Vec<&'static str> {
        candidates(&plan_of(matches, calls), name).0.iter().map(Candidate::mechanism).collect()
    }

    #[test]
    fn by_what_is_known_where() {
        assert_eq!(mechanisms("{all: true}", "[openat]", "openat"), ["entry", "kprobe", "lsm", "lsm"]);
        assert_eq!(mechanisms("{paths: [/a]}", "[openat]", "openat"), ["lsm", "lsm"]);
        assert_eq!(mechanisms("{paths: [/a]}", "[read]", "read"), ["entry", "kprobe", "lsm", "lsm"]);
        assert_eq!(mechanisms("{ports: [80]}", "[connect]", "connect"), ["lsm", "lsm", "cgroup"]);
        let unix = candidates(&plan_of("{paths: [/run/**]}", "[connect]"), "connect").0;
        let places: Vec<&str> = unix.iter().map(|one| one.sites[0].function.as_str()).collect();
        assert_eq!(places, ["bpf_lsm_unix_stream_connect", "security_unix_stream_connect"]);
        assert!(mechanisms("{paths: [/run/**], ports: [80]}", "[connect]", "connect").is_empty(), "nobody has both");
        assert_eq!(mechanisms("{all: true}", "[fsync]", "fsync"), ["entry", "kprobe"]);
        assert_eq!(mechanisms("{all: true}", "[getpid]", "getpid"), ["entry", "kprobe"]);
    }

    #[test]
    fn where_a_thread_may_sleep() {
        let long = |calls: &str, name: &str| {
            let mut plan = plan_of("{all: true}", calls);
            plan.args.delay = 1_000_000;
            let (all, reasons) = candidates(&plan, name);
            let stands = |one: &Candidate| -> Vec<String> {
                one.sites.iter().map(|site| format!("{} at {}", site.program, site.function)).collect()
            };
            (all.iter().map(stands).collect::<Vec<_>>(), reasons)
        };
        let (all, _) = long("[openat]", "openat");
        assert_eq!(all[0], ["sleeper at bpf_lsm_file_open", "file_open at bpf_lsm_file_open"]);
        assert_eq!(all[1], ["later", "entry"].map(|program| format!("{program} at {}", table::entry("openat"))));
        for (call, place, program, reason) in [
            ("unlink", "bpf_lsm_path_unlink".to_owned(), "path", "may not sleep in security_path_unlink"),
            ("fsync", table::entry("fsync"), "entry", "passes no security hook"),
        ] {
            let (all, reasons) = long(&format!("[{call}]"), call);
            assert_eq!(all[0], [format!("later at {place}"), format!("{program} at {place}")]);
            assert!(reasons[0].contains(reason), "{reasons:?}");
        }
    }

    #[test]
    fn calls_that_a_hook_cannot_tell_apart() {
        let (all, reasons) = candidates(&plan_of("{all: true}", "[sendto]"), "sendto");
        assert!(all.iter().all(|c| c.mechanism() != "cgroup"));
        assert_eq!(reasons, ["cgroup: cannot tell sendto from sendmsg and sendmmsg: name all of them"]);
        assert!(mechanisms("{all: true}", "[sendto, sendmsg, sendmmsg]", "sendto").contains(&"cgroup"));
    }
}
