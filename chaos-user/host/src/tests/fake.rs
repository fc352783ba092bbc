//! A machine made of files.
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    Host, Interface, Needs, NetnsRef, Reason, Resolution, Selector, Target, Wanted,
    error::Problem,
    local::{Interfaces, resolve_local},
};

/// The number of the process that resolves, on every fake machine.
pub(super) const OWN_PID: i32 = 900;
/// Of the part of the hierarchy that a [hidden](Machine::hide) machine sees.
pub(super) const LEVEL: u32 = 3;

/// A folder that looks like a machine and is removed at the end. PID 1 is in `/init.scope`, the resolving process in
/// `/user.slice/shell.scope`, both in the namespace `host`.
pub(super) struct Machine {
    root: PathBuf,
    v1: bool,
    v2: bool,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _left_for_people = fs::remove_dir_all(&self.root);
    }
}

/// One interface, or an error for a file that is named as no namespace.
pub(super) struct OneInterface;

impl Interfaces for OneInterface {
    fn interfaces(&self, netns: &NetnsRef) -> Result<Vec<Interface>, Problem> {
        if netns.path.ends_with("no-netns") {
            return Err(Problem::absent("this is not a network namespace"));
        }
        Ok(vec![Interface { index: 2, name: "eth0".to_owned(), ..Interface::default() }])
    }
}

impl Machine {
    /// With cgroup2 only.
    pub(super) fn unified() -> Self {
        Self::new(false, true)
    }

    /// With cgroup2 and the v1 trees `systemd` and `memory`.
    pub(super) fn hybrid() -> Self {
        Self::new(true, true)
    }

    /// With the v1 trees only.
    pub(super) fn legacy() -> Self {
        Self::new(true, false)
    }

    fn new(v1: bool, v2: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("chaos-machine-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let machine = Self { root: std::env::temp_dir().join(name), v1, v2 };
        for folder in ["proc", "netns", "nsfs", "cgroup2", "systemd", "memory"] {
            fs::create_dir_all(machine.root.join(folder)).unwrap();
        }
        machine.process(1, 0, "systemd", "/init.scope", "host");
        machine.process(OWN_PID, 1, "chaos", "/user.slice/shell.scope", "host");
        symlink(OWN_PID.to_string(), machine.root.join("proc/self")).unwrap();
        let mount = |folder: &str, rest: &str| format!("1 2 0:3 / {}/{folder} rw - {rest}\n", machine.root.display());
        let mut table = "broken line\n".to_owned();
        if v2 {
            table += &mount("cgroup2", "cgroup2 cgroup2 rw");
        }
        if v1 {
            table += &mount("systemd", "cgroup cgroup rw,xattr,name=systemd");
            table += &mount("memory", "cgroup cgroup rw,memory");
        }
        machine.write(&format!("proc/{OWN_PID}/mountinfo"), &table);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Adds a process to the same cgroup in every hierarchy.
    pub(super) fn process(&self, pid: i32, parent: i32, comm: &str, cgroup: &str, netns: &str) {
        self.process_in(pid, parent, comm, [cgroup, cgroup], netns);
    }

    /// Adds a process to a cgroup of cgroup2 and another of the v1 trees.
    pub(super) fn process_in(&self, pid: i32, parent: i32, comm: &str, cgroups: [&str; 2], netns: &str) {
        let mut lines = String::new();
        if self.v1 {
            lines += &format!("2:memory:{}\n1:name=systemd:{}\n", cgroups[1], cgroups[1]);
            self.join("systemd", cgroups[1], pid);
            self.join("memory", cgroups[1], pid);
        }
        lines += &format!("0::{}\n", cgroups[0]);
        if self.v2 {
            self.join("cgroup2", cgroups[0], pid);
        }
        self.write(&format!("proc/{pid}/cgroup"), &lines);
        self.write(&format!("proc/{pid}/stat"), &format!("{pid} ({comm}) S {parent} 0 0"));
        if !comm.contains('/') {
            self.executable(pid, comm);
        }
        let namespace = self.netns(netns);
        let link = self.root.join(format!("proc/{pid}/ns/net"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(namespace, link).unwrap();
    }

    /// What a process executes, whatever it calls itself.
    pub(super) fn executable(&self, pid: i32, name: &str) {
        self.write(&format!("bin/{name}"), "");
        let link = self.root.join(format!("proc/{pid}/exe"));
        let _none_yet = fs::remove_file(&link);
        symlink(self.root.join("bin").join(name), link).unwrap();
    }

    /// Writes a file of a container runtime.
    pub(super) fn state_file(&self, path: &str, text: &str) {
        self.write(&format!("root/{path}"), text);
    }

    /// Puts a link to another folder of runtimes' state in the place of one.
    pub(super) fn replace_by_link(&self, path: &str, of: &str) {
        let (path, of) = (self.root.join("root").join(path), self.root.join("root").join(of));
        fs::remove_dir_all(&path).unwrap();
        symlink(of, path).unwrap();
    }

    /// Writes the file of a unit.
    pub(super) fn unit_file(&self, name: &str, text: &str) {
        self.write(&format!("units/{name}"), text);
    }

    /// Another name of a unit.
    pub(super) fn unit_link(&self, name: &str, of: &str) {
        std::os::unix::fs::symlink(of, self.root.join("units").join(name)).unwrap();
    }

    fn join(&self, tree: &str, cgroup: &str, pid: i32) {
        let path = format!("{tree}{}/cgroup.procs", if cgroup == "/" { "" } else { cgroup });
        let old = fs::read_to_string(self.root.join(&path)).unwrap_or_default();
        self.write(&path, &format!("{old}{pid}\n"));
    }

    /// The file that stands for a namespace, made when it is not there.
    fn netns(&self, name: &str) -> PathBuf {
        let path = self.root.join("nsfs").join(name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        path
    }

    /// Names a namespace as `ip netns` would.
    pub(super) fn name_netns(&self, name: &str) -> PathBuf {
        let link = self.root.join("netns").join(name);
        symlink(self.netns(name), &link).unwrap();
        link
    }

    /// The inode of a namespace.
    pub(super) fn netns_inode(&self, name: &str) -> u64 {
        fs::metadata(self.netns(name)).unwrap().ino()
    }

    /// From now on a cgroup namespace hides what is above: the root is the cgroup of a container, at level [`LEVEL`]. The kernel tells that
    /// to a process that is in it alone.
    pub(super) fn hide(&self, is_in_it: bool) {
        self.write("cgroup2/cgroup.events", "populated 1\n");
        if is_in_it {
            self.write("is-in-it", "");
        }
    }

    /// The inode of a cgroup2 directory.
    pub(super) fn cgroup_inode(&self, path: &str) -> u64 {
        fs::metadata(self.cgroup(path)).unwrap().ino()
    }

    /// A cgroup2 directory, made when it is not there.
    pub(super) fn cgroup(&self, path: &str) -> PathBuf {
        let directory = self.root.join("cgroup2").join(path.trim_start_matches('/'));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// The machine as the product sees it.
    pub(super) fn host(&self) -> Host {
        let path = |folder: &str| -> PathBuf { Path::new(&self.root).join(folder) };
        let root = self.cgroup_inode("/");
        let is_in_it = path("is-in-it").exists();
        let level =
            |id: u64| (is_in_it && id == root).then_some(LEVEL).ok_or("this process is not below it".to_owned());
        Host {
            units: vec![path("units"), path("units.d")],
            root: path("root"),
            ..Host::at(&path("proc"), &path("netns"), &level).unwrap()
        }
    }

    /// Resolves a list as `spec.selector.local`.
    pub(super) fn resolve(&self, wanted: &[Wanted]) -> Result<Resolution, Vec<(Reason, String)>> {
        self.resolve_for(Needs::Network, wanted)
    }

    /// The same for faults that need this of a target.
    pub(super) fn resolve_for(&self, needs: Needs, wanted: &[Wanted]) -> Result<Resolution, Vec<(Reason, String)>> {
        let field = |i: usize| format!("spec.selector.local[{i}]");
        let selectors: Vec<Selector> =
            wanted.iter().enumerate().map(|(i, w)| Selector { field: field(i), wanted: w.clone() }).collect();
        resolve_local(&self.host(), &OneInterface, needs, &selectors)
            .map_err(|errors| errors.iter().map(|e| (e.reason, e.to_string())).collect())
    }

    /// The only target.
    #[track_caller]
    pub(super) fn target(&self, wanted: Wanted) -> Target {
        let resolution = self.resolve(&[wanted]).unwrap();
        assert_eq!(resolution.warnings, Vec::<String>::new());
        resolution.targets.into_iter().next().unwrap()
    }

    /// Asserts the reason of the only error, and that its text holds all of `words`.
    #[track_caller]
    pub(super) fn refuses(&self, wanted: Wanted, reason: Reason, words: &[&str]) {
        let errors = self.resolve(&[wanted]).unwrap_err();
        let [(found, text)] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(*found, reason, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }
}
