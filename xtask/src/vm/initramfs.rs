//! The guest's first file system: a cpio archive in the `newc` format with our init and the modules that it loads.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// The archive: `/init`, `/modules/NNN-NAME.ko` (to be loaded in that order), `/folders` (what of the host is to be seen although the
/// machine mounts a file system of its own above it; each ended by a NUL), and an empty `/root` to mount on.
pub fn build(init: &Path, modules: &[PathBuf], folders: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "root", "modules"] {
        archive.add(dir, DIRECTORY, &[]);
    }
    archive.add("init", PROGRAM, &read(init)?);
    let mut list = Vec::new();
    for folder in folders {
        list.extend(folder.as_os_str().as_bytes());
        list.push(0);
    }
    archive.add("folders", FILE, &list);
    for (position, module) in modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("modules/{position:03}-{name}"), FILE, &read(module)?);
    }
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // Thirteen fields of eight hexadecimal digits: inode, mode, uid, gid, links, mtime, size, four of devices, length
        // of the name with its NUL, checksum (none in this format).
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let fields = [self.entries, mode, 0, 0, links, 0, length(content.len()), 0, 0, 0, 0, length(name.len() + 1), 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, FILE};

    #[test]
    fn an_entry_has_a_header_of_110_bytes_and_is_aligned() {
        let mut archive = Archive::default();
        archive.add("ab", FILE, b"xyz");
        assert_eq!(&archive.bytes[..6], b"070701");
        assert_eq!(&archive.bytes[6..22], b"00000001000081a4");
        assert_eq!(&archive.bytes[110..113], b"ab\0");
        assert_eq!(&archive.bytes[116..], b"xyz\0");
    }
}
