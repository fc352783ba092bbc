//! How systemd and container runtimes name cgroups.
use super::{host::Host, process::Process};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Programs that keep a node's containers alive: a fault on them reaches far beyond any target.
const PROTECTED: [&str; 4] = ["kubelet", "containerd", "dockerd", "crio"];

/// Does this process keep the node's containers alive? By its executable and its user: a thread's name is its own to choose.
pub(super) fn is_runtime(host: &Host, process: &Process) -> bool {
    let path = host.of(process.pid, "exe");
    let Ok(executable) = fs::read_link(&path) else {
        // Without the right to see it, its name is all there is.
        return PROTECTED.contains(&process.comm.as_str());
    };
    let name = executable.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Said by the kernel of a file that an upgrade has replaced (proc_pid_exe(5)).
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let trusted = |uid: u32| uid == 0 || uid == nix::unistd::geteuid().as_raw();
    // Nobody else's program, and run by nobody else.
    let owned = |path: &Path| fs::metadata(path).is_ok_and(|file| trusted(file.uid()));
    PROTECTED.contains(&name) && owned(&path) && owned(&host.of(process.pid, ""))
}

/// Is this directory in the part of the tree that belongs to people who are logged in? They name what they like there.
pub(super) fn is_of_users(directory: &Path) -> bool {
    directory.components().any(|part| part.as_os_str() == "user.slice")
}
/// Characters of a container's id as Docker, containerd and CRI-O make it.
const ID_LENGTH: usize = 64;
/// Suffixes of systemd units that have a cgroup.
pub(super) const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".slice", ".socket", ".mount"];

/// The container whose cgroup has this name: `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
/// `libpod-ID.scope`, or `ID` with the cgroupfs driver. Not a container are the monitors `crio-conmon-ID.scope`.
pub(super) fn container_id(directory: &Path) -> Option<&str> {
    let name = directory.file_name()?.to_str()?;
    let (prefix, id) = match name.strip_suffix(".scope") {
        Some(scope) => scope.rsplit_once('-')?,
        None => ("", name),
    };
    (is_id(id) && !prefix.contains("conmon")).then_some(id)
}

/// Has it the form of a whole id?
pub(super) fn is_id(id: &str) -> bool {
    id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An id as it may be written, without the runtime in front: `containerd://3f2a...`, as kubectl shows it.
pub(super) fn bare_id(wanted: &str) -> &str {
    wanted.rsplit_once("://").map_or(wanted, |(_, id)| id)
}

/// A unit's full name: `nginx` is `nginx.service`, as for systemctl(1).
pub(super) fn unit_name(wanted: &str) -> String {
    let complete = UNIT_SUFFIXES.iter().any(|suffix| wanted.ends_with(suffix));
    if complete { wanted.to_owned() } else { format!("{wanted}.service") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_every_layout() {
        let id = "3f2a9c".repeat(10) + "abcd";
        for layout in ["{}", "docker-{}.scope", "cri-containerd-{}.scope", "crio-{}.scope", "libpod-{}.scope"] {
            let name = layout.replace("{}", &id);
            assert_eq!(container_id(Path::new("/sys/fs/cgroup").join(&name).as_path()), Some(id.as_str()), "{name}");
        }
        for other in [format!("crio-conmon-{id}.scope"), "nginx.service".to_owned(), "abc".to_owned(), id + "0"] {
            assert_eq!(container_id(Path::new(&other)), None, "{other}");
        }
        assert_eq!((bare_id("docker://3f"), bare_id("3f")), ("3f", "3f"));
    }

    #[test]
    fn units_are_services_unless_said() {
        assert_eq!(["nginx", "a.scope", "x.y"].map(unit_name), ["nginx.service", "a.scope", "x.y.service"]);
    }
}
