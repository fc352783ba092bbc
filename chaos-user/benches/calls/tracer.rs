//! The same error by strace(1), in both of its modes: what somebody would use who has nothing in the kernel.

use std::process::{Command, Stdio};

use chaos_tests::figure::{self, Figure, absent};

use super::victim::Victim;

/// The call that fails; by then the victim and its loader have opened what they need.
const INJECT: &str = "inject=pread64:error=EIO:when=200+";

/// Whether there is one.
pub fn is_there() -> bool {
    let installed = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    installed.is_ok_and(|status| status.success())
}

pub fn measure(alone: &mut Victim) {
    if !is_there() {
        return absent("calls/strace/pread64", "strace is not installed");
    }
    for (name, mode) in [("strace", &["-f"][..]), ("strace-seccomp", &["-f", "--seccomp-bpf"])] {
        let words: Vec<&str> = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", INJECT]
            .into_iter()
            .chain(mode.iter().copied())
            .collect();
        let mut traced = Victim::outside(&words);
        // The first calls are let through.
        traced.time("pread64");
        let rounds = figure::in_turns(|| traced.time("pread64"), || alone.time("pread64"));
        Figure::beside(&format!("calls/{name}/pread64"), "ns", &rounds).print();
    }
}
