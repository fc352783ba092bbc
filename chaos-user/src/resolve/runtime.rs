//! How systemd and container runtimes name cgroups.
use std::path::Path;

/// Processes that keep a node's containers alive: a fault on them reaches far beyond any target.
pub(super) const PROTECTED: [&str; 4] = ["kubelet", "containerd", "dockerd", "crio"];
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
    let is_id = id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !prefix.contains("conmon")).then_some(id)
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
