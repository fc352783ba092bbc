//! What a run of tests that was killed leaves running: its processes bear a mark, which children inherit, and the next run ends
//! them. Their namespaces, cgroups and files bear the owner's name and go when the next test makes some; the folders in which killed
//! victims made their calls go here.

use std::{
    env, fs,
    path::Path,
    process::{self, Command},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::identity;

/// In the environment of programs that end with us: our identity.
pub const MARK: &str = "CHAOS_RUN_OF";

/// How the folder of a victim begins; its number follows.
const VICTIM: &str = "chaos-victim-";

/// Marks a program that is to end with this process.
pub fn mark(command: &mut Command) {
    if let Some(identity) = identity::of(process::id()) {
        command.env(MARK, identity);
    }
}

/// Kills the processes of runs that have ended. Needs root for those of root; others are passed over.
pub fn end() {
    for (pid, owner) in marked() {
        if !identity::is_alive(&owner) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            eprintln!("ended process {pid} of a run that was killed");
        }
    }
    remove_folders(&env::temp_dir());
}

/// Removes the folders of victims that are no more, which bear their number (tests/src/victim/kit.rs). Those of others are passed over.
fn remove_folders(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(VICTIM)?.parse::<u32>().ok());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _not_ours = fs::remove_dir_all(entry.path());
        }
    }
}

fn marked() -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut words = environment.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
        let owner = words.find_map(|word| word.strip_prefix(MARK)?.strip_prefix('='))?;
        Some((pid, owner.to_owned()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_victims_that_are_no_more_go_and_no_others() {
        let parent = env::temp_dir().join(format!("orphans-{}", process::id()));
        let dead = format!("{VICTIM}{}", u32::MAX);
        let alive = format!("{VICTIM}{}", process::id());
        for name in [dead.as_str(), &alive, &format!("{VICTIM}x"), "other"] {
            fs::create_dir_all(parent.join(name).join("in")).expect("a folder");
        }
        remove_folders(&parent);
        let mut left: Vec<_> = fs::read_dir(&parent).expect("folders").flatten().map(|one| one.file_name()).collect();
        left.sort();
        let mut wanted: Vec<std::ffi::OsString> = vec![alive.into(), format!("{VICTIM}x").into(), "other".into()];
        wanted.sort();
        assert_eq!(left, wanted);
        fs::remove_dir_all(&parent).expect("removed");
    }

    #[test]
    fn processes_of_a_run_that_ended_are_killed_and_no_others() {
        let start = |owner: Option<&str>| {
            let mut command = Command::new("sleep");
            command.arg("60");
            match owner {
                Some(owner) => {
                    command.env(MARK, owner);
                }
                None => mark(&mut command),
            }
            command.spawn().expect("sleep")
        };
        // The mark of a process that was once number 1 and is no more.
        let (mut orphan, mut ours) = (start(Some("1 0")), start(None));
        end();
        assert!(!orphan.wait().expect("its end").success());
        assert!(ours.try_wait().expect("looked at").is_none(), "ours lives");
        ours.kill().expect("killed");
        ours.wait().expect("waited for");
    }
}
