//! What the guest's kernel had to say.

use std::fmt;

use anyhow::{Result, bail};

/// Lines of the console that are worth showing after a failure.
const TAIL: usize = 40;

/// A kernel that prints one of these has gone wrong, even where it goes on; a warning begins with "cut here".
const TROUBLE: [&str; 4] = ["Kernel panic", "Oops:", "BUG: ", "[ cut here ]"];

/// What the emulator does to a kernel now and then: while the kernel patches its own code (a static key turns when the first
/// program is attached, and at boot), another emulated processor still runs the breakpoint that guards the patching, and the
/// kernel no longer knows of it (arch/x86/kernel/alternative.c, `smp_text_poke_int3_handler`). No real processor does that.
const EMULATOR: &str = "Oops: int3";

/// The emulator's doing, not the kernel's and not ours: the same may succeed at once when it is tried again.
#[derive(Debug)]
pub struct EmulatorFault;

impl fmt::Display for EmulatorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the emulated processor ran code that the kernel had replaced ({EMULATOR})")
    }
}

impl std::error::Error for EmulatorFault {}

/// Fails where the kernel has gone wrong; with [`EmulatorFault`] where the emulator has.
pub fn judge(log: &[u8]) -> Result<()> {
    let log = String::from_utf8_lossy(log);
    let mut lines = log.lines();
    let Some(line) = lines.find(|line| TROUBLE.iter().any(|trouble| line.contains(trouble))) else { return Ok(()) };
    if line.contains(EMULATOR) {
        return Err(EmulatorFault.into());
    }
    let next = lines.next().unwrap_or_default();
    bail!("the guest's kernel went wrong:\n{}\n{}", line.trim(), next.trim())
}

/// The console's last lines.
pub fn tail(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL);
    format!("the guest's console, last lines:\n{}", lines[from..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{EmulatorFault, judge, tail};

    #[test]
    fn a_panic_is_an_error_and_a_message_is_not() {
        assert!(judge(b"[ 1.2] sch_fq: loaded\r\n").is_ok());
        assert!(judge(b"[ 1.2] x\r\n[ 1.3] Kernel panic - not syncing: y\r\n").is_err());
        let fault =
            judge(b"[ 1.2] Oops: int3: 0000 [#1] PREEMPT\r\n[ 1.3] Kernel panic - not syncing: y\r\n").unwrap_err();
        assert!(fault.is::<EmulatorFault>(), "{fault}");
        assert!(tail(b"a\r\nb\r\n").ends_with("a\nb"));
    }
}
