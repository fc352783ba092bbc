//! Whose a namespace or a cgroup is: its name holds the number of the process that made it, and when that was started.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const PREFIX: &str = "chaos-test";

/// What the names of this process's things begin with: `chaos-test-PID.START-`.
pub fn prefix() -> &'static str {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| {
        let pid = std::process::id();
        format!("{PREFIX}-{pid}.{}-", started(pid).expect("/proc/self/stat"))
    })
}

/// Whether a name is that of a thing whose process has ended. Another process may have got its number since.
pub fn is_dead(name: &str) -> bool {
    let owner =
        name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')).and_then(|rest| rest.split('-').next());
    let owner = owner.and_then(|owner| owner.split_once('.')).and_then(|(pid, at)| Some((pid.parse().ok()?, at)));
    owner.is_some_and(|(pid, at)| started(pid).is_none_or(|started| started != at))
}

/// The names in a folder of things whose processes have ended.
pub fn dead_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| is_dead(name)).collect()
}

/// In ticks since the machine was started; proc_pid_stat(5), field 22.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie owns nothing any more.
    (fields.next()? != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_dead_when_its_process_is_though_the_number_lives() {
        let own = format!("{}0-a", prefix());
        assert!(!is_dead(&own));
        let (before, after) = own.split_once('.').unwrap();
        assert!(is_dead(&format!("{before}.1{after}")), "another start");
        assert!(is_dead("chaos-test-4194999.1-0-a"), "no process has this number");
        assert!(!is_dead("chaos-test-shop") && !is_dead("web"), "not ours");
    }
}
