//! Folders of the host that a machine would hide from itself: it mounts file systems of its own, `/tmp` for one, over the host's.

use std::path::{Path, PathBuf};

/// Where `xtask/init` mounts file systems of the machine's own, so far as a repository can be below.
const MOUNTED_OVER: [&str; 3] = ["/run", "/tmp", "/dev/shm"];

/// Those of these paths that a machine must show again, none below another. Each is looked at as it is written and as what it leads to.
pub fn hidden(places: &[PathBuf]) -> Vec<PathBuf> {
    let absolute = places.iter().filter(|place| place.is_absolute());
    let mut found: Vec<PathBuf> = absolute
        .flat_map(|place| [Some(place.clone()), place.canonicalize().ok()])
        .flatten()
        .filter(|place| is_below(place) && place.exists())
        .collect();
    found.sort();
    found.dedup_by(|later, earlier| later.starts_with(earlier));
    found
}

fn is_below(place: &Path) -> bool {
    MOUNTED_OVER.iter().map(Path::new).any(|root| place.starts_with(root) && place != root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, os::unix::fs::symlink};

    #[test]
    fn only_what_is_below_a_file_system_of_the_machine_is_shown_again() {
        let dir = nix::unistd::mkdtemp(&Path::new("/tmp").join("chaos-folders-XXXXXX")).unwrap();
        let (repository, link) = (dir.join("repository"), dir.join("link"));
        fs::create_dir_all(repository.join("target")).unwrap();
        symlink(&repository, &link).unwrap();
        let places = [
            PathBuf::from("/usr"),
            "/tmp".into(),
            repository.join("target"),
            repository.clone(),
            dir.join("absent"),
            "relative".into(),
            link.join("target"),
            env::temp_dir().join("absent"),
        ];
        let found = hidden(&places);
        fs::remove_dir_all(&dir).unwrap();
        // Sorted: the link's name comes first.
        assert_eq!(found, [link.join("target"), repository]);
    }
}
