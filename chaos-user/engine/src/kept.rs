//! Reports of experiments that are over, in `/run/chaos/reports`: the last ones, so that a name is known for a while after its end. For
//! root alone, since reports name peers and paths.

use super::{EngineError, journal};
use chaos_outcome::Report;
use nix::libc;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// So many are kept.
const MOST: usize = 32;
/// So many bytes are kept, all together.
const MOST_BYTES: u64 = 8 << 20;
/// A longer one is kept without its examples, and not at all where that is not enough.
const MOST_OF_ONE: usize = 1 << 20;
/// Between the namespace and the name of a cluster's experiment: neither may hold it.
const BETWEEN: char = '_';

fn directory() -> PathBuf {
    Path::new(journal::DIRECTORY).join("reports")
}

/// Keeps a report in the place of an earlier one of that name; the oldest go where there is no room.
///
/// # Errors
/// `Failed` where it cannot be written, or is too long.
pub fn keep(namespace: Option<&str>, report: &Report) -> Result<(), EngineError> {
    keep_in(&directory(), namespace, report).map_err(|error| {
        EngineError::Failed(format!("keep the report of {} in {}: {error}", report.experiment, directory().display()))
    })
}

/// The report of the last experiment of that name (or `NAMESPACE/NAME`) that is over; None where none is kept.
///
/// # Errors
/// `Unsupported` without the right to read it; `Failed` for what is no report.
pub fn find(name: &str) -> Result<Option<Report>, EngineError> {
    find_in(&directory(), name).map_err(|error| {
        let text = format!("read the report of {name:?} in {}: {error}", directory().display());
        match error.kind() {
            io::ErrorKind::PermissionDenied => EngineError::Unsupported(format!("{text}; run as root")),
            _ => EngineError::Failed(text),
        }
    })
}

fn keep_in(directory: &Path, namespace: Option<&str>, report: &Report) -> io::Result<()> {
    let name = namespace.map_or_else(|| report.experiment.clone(), |of| format!("{of}{BETWEEN}{}", report.experiment));
    if !is_plain(&name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name cannot be a file's"));
    }
    let text = shortened(report)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a directory of this user"));
    }
    let temporary = directory.join(format!(".new-{}", std::process::id()));
    // One of a process that died with this number.
    let _was_not_there = fs::remove_file(&temporary);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let placed = written.and_then(|mut file| file.write_all(&text)).and_then(|()| {
        make_room(directory, &name, text.len() as u64);
        fs::rename(&temporary, directory.join(&name))
    });
    if placed.is_err() {
        let _nothing_more_to_do = fs::remove_file(&temporary);
    }
    placed
}

/// As JSON of at most [`MOST_OF_ONE`] bytes.
fn shortened(report: &Report) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(report)?;
    if text.len() <= MOST_OF_ONE {
        return Ok(text);
    }
    let mut report = report.clone();
    report.faults.iter_mut().for_each(|fault| fault.samples = chaos_outcome::Samples::default());
    report.warnings.push("examples are left out: the report would be too long to be kept".to_owned());
    let text = serde_json::to_vec(&report)?;
    if text.len() > MOST_OF_ONE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MOST_OF_ONE} bytes")));
    }
    Ok(text)
}

/// Takes away the oldest until one more fits. Temporary files of the dead are among them.
fn make_room(directory: &Path, name: &str, bytes: u64) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mine = format!(".new-{}", std::process::id());
    let mut all: Vec<(SystemTime, PathBuf, u64)> = entries
        .filter(|entry| entry.file_name() != name && entry.file_name() != mine.as_str())
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some((found.modified().ok()?, entry.path(), found.len()))
        })
        .collect();
    all.sort();
    let mut sum = all.iter().map(|one| one.2).sum::<u64>() + bytes;
    let mut count = all.len() + 1;
    for (_, path, length) in &all {
        if count <= MOST && sum <= MOST_BYTES {
            break;
        }
        let _gone_already = fs::remove_file(path);
        (count, sum) = (count - 1, sum - length);
    }
}

fn find_in(directory: &Path, name: &str) -> io::Result<Option<Report>> {
    let wanted = name.replace('/', &BETWEEN.to_string());
    if !is_plain(&wanted) {
        return Ok(None);
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_it = |file: &str| {
        file == wanted || file.split_once(BETWEEN).is_some_and(|(_, name)| name == wanted && !file.starts_with('.'))
    };
    let found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_it))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max();
    let Some((_, path)) = found else { return Ok(None) };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut text = Vec::new();
    File::take(file, MOST_OF_ONE as u64 + 1).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// May this be the name of a file that is not hidden?
fn is_plain(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(label: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chaos-kept-{label}-{}", std::process::id()));
            let _was_not_there = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _nothing_more_to_do = fs::remove_dir_all(&self.0);
        }
    }

    fn report(name: &str, reason: &str) -> Report {
        Report { experiment: name.to_owned(), reason: reason.to_owned(), ..Report::default() }
    }

    #[test]
    fn the_last_of_a_name_is_found_and_nobody_else_may_read_it() {
        let folder = Folder::new("found");
        assert_eq!(find_in(&folder.0, "slow").unwrap(), None);
        keep_in(&folder.0, None, &report("slow", "first")).unwrap();
        keep_in(&folder.0, None, &report("slow", "second")).unwrap();
        keep_in(&folder.0, Some("shop"), &report("cut", "third")).unwrap();
        let reason = |name: &str| find_in(&folder.0, name).unwrap().map(|report| report.reason);
        assert_eq!(reason("slow").as_deref(), Some("second"));
        assert_eq!((reason("cut").as_deref(), reason("shop/cut").as_deref()), (Some("third"), Some("third")));
        assert_eq!((reason("shop/slow"), reason("low"), reason("../kept"), reason("")), (None, None, None, None));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join("slow"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let folder = Folder::new("bounded");
        for number in 0..MOST + 8 {
            keep_in(&folder.0, None, &report(&format!("run-{number}"), "")).unwrap();
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), MOST);
        assert!(find_in(&folder.0, &format!("run-{}", MOST + 7)).unwrap().is_some());
        let long = "x".repeat(MOST_OF_ONE - 1024);
        for number in 0..12 {
            keep_in(&folder.0, None, &report(&format!("long-{number}"), &long)).unwrap();
        }
        let sum: u64 = fs::read_dir(&folder.0).unwrap().map(|one| one.unwrap().metadata().unwrap().len()).sum();
        assert!(sum <= MOST_BYTES, "{sum}");
        assert!(find_in(&folder.0, "long-11").unwrap().is_some());
        let longer = "x".repeat(MOST_OF_ONE);
        assert!(keep_in(&folder.0, None, &report("longer", &longer)).is_err());
    }

    #[test]
    fn neither_names_nor_links_lead_out_of_the_folder() {
        let folder = Folder::new("out");
        for name in ["../out", "a/b", ".new-1", ""] {
            assert!(keep_in(&folder.0, None, &report(name, "")).is_err(), "{name}");
        }
        keep_in(&folder.0, None, &report("slow", "")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.0.join("link")).unwrap();
        assert!(find_in(&folder.0, "link").is_err());
        fs::write(folder.0.join("garbage"), "{").unwrap();
        assert!(find_in(&folder.0, "garbage").is_err());
    }
}
