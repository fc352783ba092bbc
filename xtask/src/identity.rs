//! Which process one is: a number alone may have been given to another since.

use std::fs;

/// Of the process with this number: the number and when it was started. None where there is no such process.
pub fn of(pid: u32) -> Option<String> {
    started(pid).map(|started| format!("{pid} {started}"))
}

/// Whether the process of which this is the identity still exists.
pub fn is_alive(identity: &str) -> bool {
    let Some((pid, since)) = identity.split_once(' ') else { return false };
    pid.parse().ok().and_then(started).is_some_and(|started| started == since)
}

/// When a process was started, in ticks since the machine was; proc_pid_stat(5), field 22. A process that has ended and was not
/// waited for counts as ended.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_itself_until_it_has_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let identity = of(child.id()).expect("it lives");
        assert!(is_alive(&identity));
        let (pid, started) = identity.split_once(' ').expect("two words");
        assert!(!is_alive(&format!("{pid} 1{started}")), "another process of the same number");
        child.kill().expect("killed");
        child.wait().expect("waited for");
        assert!(!is_alive(&identity) && of(child.id()).is_none() && !is_alive("no identity"));
    }
}
