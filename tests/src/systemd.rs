//! A machine with a real systemd as its first process: in namespaces of its own on the running kernel, its root file system read-only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock::wait_until;
use crate::need;
use crate::net::{Cgroup, NetNs};
use crate::product::Chaos;

/// Where Debian has it.
const SYSTEMD: &str = "/lib/systemd/systemd";
/// It takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands between the new namespaces and systemd. What others read or write of this machine is out of its reach: `/run` and the units are its
/// own, and of the rest only the folder of temporary files may be written.
const BEGIN: &str = r#"
set -e
mount --make-rprivate /
mount --bind /tmp /tmp
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd/system
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mkdir -p /run/lock /sys/fs/cgroup/session
printf '[Unit]\nDefaultDependencies=no\n' > /etc/systemd/system/bare.target
export container=chaos-test
exec "$0" --unit=bare.target --log-target=console --log-level=warning --show-status=no
"#;

/// The machine; it ends with this.
#[derive(Debug)]
pub struct Systemd {
    child: Child,
    /// Its first process, by this machine's numbers.
    first: i32,
    folder: PathBuf,
    _cgroup: Cgroup,
}

impl Systemd {
    /// Starts it in a network namespace; `None` where there is no systemd, and why is printed.
    #[track_caller]
    pub fn start(ns: &NetNs) -> Option<Self> {
        if !need::program(SYSTEMD) || !need::cgroup2() {
            return None;
        }
        let cgroup = Cgroup::new("machine");
        // It ends with the test, also where that is killed.
        let words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "-C",
            "-m",
            "-p",
            "-u",
            "-i",
            "-f",
            "--kill-child",
            "sh",
            "-c",
            BEGIN,
            SYSTEMD,
        ];
        let mut command = cgroup.command(Some(ns), &words);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("unshare");
        let folder = std::env::temp_dir().join(format!("chaos-systemd-{}", child.id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut machine = Self { child, first: 0, folder, _cgroup: cgroup };
        let ready = wait_until(PATIENCE, || {
            machine.first = child_of(machine.child.id()).unwrap_or(0);
            machine.first != 0 && machine.systemctl(&["is-active", "bare.target"]).is_ok()
        });
        assert!(ready, "systemd does not answer: {:?}", machine.systemctl(&["is-active", "bare.target"]));
        Some(machine)
    }

    /// A command inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "-m", "-C", "-n", "-p", "-u", "-i", "--"]).args(words);
        command
    }

    /// `systemctl WORDS` inside: what it printed, or what it complained about.
    pub fn systemctl(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(&[&["systemctl"], words].concat()).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The same, which must succeed.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> String {
        self.systemctl(words).unwrap_or_else(|error| panic!("systemctl {words:?}: {error}"))
    }

    /// Writes a unit, without what units depend on by themselves: nothing else runs here. `systemctl daemon-reload` is still to come.
    pub fn unit(&self, name: &str, text: &str) {
        let file = self.root("etc/systemd/system").join(name);
        let head = "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0";
        fs::write(&file, format!("{head}\n{text}")).expect("a unit");
    }

    /// A file inside.
    pub fn root(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.first.to_string()).join("root").join(path)
    }

    /// A folder that has the same name inside and outside.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a program there.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
        path
    }

    /// The product, run inside.
    pub fn chaos(&self, outside: &Chaos) -> Chaos {
        let path = outside.path().canonicalize().expect("the product");
        let first = self.first;
        // As somebody who is logged in there: in a cgroup of that machine.
        let script = format!(
            "#!/bin/sh\necho $$ > /proc/{first}/root/sys/fs/cgroup/session/cgroup.procs\n\
             exec nsenter -t {first} -m -C -n -p -u -i -- {} \"$@\"\n",
            path.display()
        );
        Chaos::at(self.program("chaos", &script)).expect("the product inside")
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // With its first process all others of its namespace end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let first = PathBuf::from(format!("/proc/{}", self.first));
        wait_until(PATIENCE, || !first.exists());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The first child of a process.
fn child_of(parent: u32) -> Option<i32> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // proc_pid_stat(5), field 4; the name before it may hold anything.
        let above = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1));
        above.is_some_and(|above| above == parent.to_string())
    })
}
