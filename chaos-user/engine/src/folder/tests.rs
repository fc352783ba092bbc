use super::*;
use chaos_sys::testing::{root_or_return, unique};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

const NOBODY: u32 = 65_534;

/// A place that everybody may look into, as /run.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("chaos-folder"));
        fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        Self(path)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("chaos")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Whether a shell of nobody's can do it.
fn nobody_can(script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).uid(NOBODY).gid(NOBODY).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().unwrap().success()
}

fn is_closed(folder: &Path, names: &[&str]) {
    assert_eq!(mode_of(folder), 0o700);
    assert!(!nobody_can(&format!("ls {}", folder.display())));
    assert!(!nobody_can(&format!(": > {}", folder.join("new").display())));
    for name in names {
        let path = folder.join(name);
        assert_eq!(mode_of(&path), 0o600, "{name}");
        let path = path.display();
        for script in [format!(": < {path}"), format!(": >> {path}"), format!("flock -n -x {path} true")] {
            assert!(!nobody_can(&script), "{script}");
        }
    }
}

#[test]
fn folder_and_files_are_roots_alone_whatever_the_umask() {
    root_or_return!();
    for mask in [0, 0o022] {
        let place = Place::new();
        let before = nix::sys::stat::umask(Mode::from_bits_truncate(mask));
        let folder = Folder::at(&place.folder());
        let made = folder.and_then(|folder| {
            let lock = folder.lock_file("journal.lock")?;
            folder.write("journal.json", b"{}").map_err(|e| EngineError::Failed(e.to_string()))?;
            Ok((folder, lock))
        });
        nix::sys::stat::umask(before);
        let (folder, _lock) = made.unwrap();
        is_closed(&place.folder(), &["journal.lock", "journal.json"]);
        assert_eq!(folder.read("journal.json").unwrap().as_deref(), Some("{}"));
        assert!(folder.remove("journal.json").unwrap() && !folder.remove("journal.json").unwrap());
        assert_eq!(folder.read("journal.json").unwrap(), None);
    }
}

#[test]
fn what_an_older_version_left_open_is_closed() {
    root_or_return!();
    let place = Place::new();
    let folder = place.folder();
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o777);
    for name in ["journal.lock", "journal.json"] {
        fs::write(folder.join(name), "old").unwrap();
        mode(&folder.join(name), 0o666);
    }
    assert!(nobody_can(&format!("flock -n -x {} true", folder.join("journal.lock").display())), "that it was open");
    let opened = Folder::at(&folder).unwrap();
    assert_eq!(opened.read("journal.json").unwrap().as_deref(), Some("old"));
    opened.lock_file("journal.lock").unwrap();
    is_closed(&folder, &["journal.lock", "journal.json"]);
}

#[test]
fn what_is_somebody_elses_or_no_file_is_refused_and_untouched() {
    root_or_return!();
    let place = Place::new();
    let folder = Folder::at(&place.folder()).unwrap();
    let path = folder.path_of("journal.json");
    let elsewhere = place.0.join("passwd");
    fs::write(&elsewhere, "kept").unwrap();
    mode(&elsewhere, 0o644);
    let refused = |why: &str| {
        let error = folder.read("journal.json").unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("chaos cleanup"), "{error}");
        assert!(folder.lock_file("journal.json").is_err());
        // Written anew, or set aside, but never written through.
        let aside = folder.set_aside("journal.json").unwrap();
        assert_eq!(folder.read("journal.json").unwrap(), None);
        folder.write("journal.json", b"new").unwrap();
        assert_eq!(folder.read("journal.json").unwrap().as_deref(), Some("new"));
        folder.remove("journal.json").unwrap();
        aside
    };
    fs::write(&path, "planted").unwrap();
    std::os::unix::fs::chown(&path, Some(NOBODY), None).unwrap();
    assert_eq!(refused("belongs to user 65534"), "journal.json.damaged-1");
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(refused("not a regular file"), "journal.json.damaged-2");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    refused("not a regular file");
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    assert_eq!((fs::read_to_string(&elsewhere).unwrap().as_str(), mode_of(&elsewhere)), ("kept", 0o644));
}

#[test]
fn a_folder_that_is_not_roots_is_refused() {
    root_or_return!();
    let place = Place::new();
    std::os::unix::fs::symlink("/etc", place.folder()).unwrap();
    assert!(Folder::at(&place.folder()).unwrap_err().to_string().contains("not a folder"));
    fs::remove_file(place.folder()).unwrap();
    fs::create_dir(place.folder()).unwrap();
    std::os::unix::fs::chown(place.folder(), Some(NOBODY), None).unwrap();
    assert!(Folder::at(&place.folder()).unwrap_err().to_string().contains("belongs to user 65534"));
}
