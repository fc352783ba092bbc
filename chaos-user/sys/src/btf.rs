//! The running kernel's type information: where its functions and the fields of its structs are. Read here and not by aya, which
//! keeps the members of structs to itself. Format: Documentation/bpf/btf.rst.

use super::error::KernelError;
use chaos_abi::OFFSETS;
use nix::errno::Errno;
use std::{collections::HashMap, sync::OnceLock};

const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FUNC: u32 = 12;
/// Functions that are looked for begin with one of these; a kernel has a hundred times as many.
const PREFIXES: &[&str] = &["bpf_lsm_", "bpf_task_", "security_", "__x64_sys_", "__arm64_sys_"];
/// How deep structs may lie in each other without a name.
const DEEPEST: usize = 8;

/// Type information.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type begins; type 0 is void.
    types: Vec<usize>,
    functions: HashMap<String, u32>,
    structs: HashMap<String, u32>,
}

impl Btf {
    /// Reads that of the running kernel.
    ///
    /// # Errors
    /// ENOENT, `unsupported`, where the kernel was built without (CONFIG_DEBUG_INFO_BTF); EBADMSG where it cannot be understood.
    pub fn of_kernel() -> Result<Self, KernelError> {
        let bytes = std::fs::read(PATH).map_err(|error| {
            let error = KernelError::from_io("read", PATH, &error);
            if error.errno == Errno::ENOENT {
                return error
                    .unsupported("use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions' are since Linux 5.10");
            }
            error
        })?;
        Self::parse(bytes).ok_or_else(|| KernelError::malformed("read", PATH, "its types cannot be understood"))
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(4)? as usize;
        let (first, length) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let mut btf = Self { strings, types: vec![0], functions: HashMap::new(), structs: HashMap::new(), bytes };
        let mut at = first;
        while at < first + length {
            let id = u32::try_from(btf.types.len()).ok()?;
            btf.types.push(at);
            let (name, info) = (btf.word(at)?, btf.word(at + 4)?);
            match (info >> 24) & 0x1f {
                FUNC if PREFIXES.iter().any(|prefix| btf.begins(name, prefix)) => {
                    _ = btf.functions.insert(btf.text(name)?, id);
                }
                STRUCT if name != 0 => _ = btf.structs.entry(btf.text(name)?).or_insert(id),
                _ => {}
            }
            at += 12 + tail(info)?;
        }
        Some(btf)
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }

    fn begins(&self, offset: u32, prefix: &str) -> bool {
        self.bytes.get(self.strings + offset as usize..).is_some_and(|from| from.starts_with(prefix.as_bytes()))
    }

    fn text(&self, offset: u32) -> Option<String> {
        let from = self.bytes.get(self.strings + offset as usize..)?;
        let end = from.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&from[..end]).into_owned())
    }

    /// The type id of a function at a call's entry or of a security hook.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    /// The offset in bytes of `struct.field.field`; None where the kernel has no such field. Alternatives are divided by `|`.
    #[must_use]
    pub fn offset(&self, paths: &str) -> Option<u32> {
        paths.split('|').filter(|path| !path.is_empty()).find_map(|path| {
            let (name, fields) = path.split_once('.')?;
            let mut id = *self.structs.get(name)?;
            let mut bits = 0;
            for field in fields.split('.') {
                let (offset, of) = self.member(self.plain(id)?, field, 0)?;
                bits += offset;
                id = of;
            }
            Some(bits / 8)
        })
    }

    /// Through names and qualifiers to the type itself.
    fn plain(&self, mut id: u32) -> Option<u32> {
        for _ in 0..32 {
            let at = *self.types.get(id as usize)?;
            // typedef, volatile, const, restrict, type tag
            if !matches!((self.word(at + 4)? >> 24) & 0x1f, 8..=11 | 18) {
                return Some(id);
            }
            id = self.word(at + 8)?;
        }
        None
    }

    /// Offset in bits and type of a member, also of one within structs and unions that have no name.
    fn member(&self, id: u32, wanted: &str, depth: usize) -> Option<(u32, u32)> {
        let at = *self.types.get(id as usize)?;
        let info = self.word(at + 4)?;
        if depth > DEEPEST || !matches!((info >> 24) & 0x1f, STRUCT | UNION) {
            return None;
        }
        for place in 0..(info & 0xffff) as usize {
            let member = at + 12 + place * 12;
            let (name, of, mut offset) = (self.word(member)?, self.word(member + 4)?, self.word(member + 8)?);
            if info >> 31 == 1 {
                // The upper byte is the width of a bit field.
                offset &= 0xff_ffff;
            }
            if name != 0 && self.text(name)? == wanted {
                return Some((offset, of));
            }
            if name == 0
                && let Some((inner, of)) = self.plain(of).and_then(|of| self.member(of, wanted, depth + 1))
            {
                return Some((offset + inner, of));
            }
        }
        None
    }
}

/// What programs need of the running kernel's type information: a hundredth of it, so that a process that lives long does not hold
/// it all.
pub struct KernelTypes {
    functions: HashMap<String, u32>,
    /// By index of [`OFFSETS`].
    offsets: HashMap<i32, u32>,
}

impl KernelTypes {
    /// Read once per process.
    ///
    /// # Errors
    /// As [`Btf::of_kernel`].
    pub fn shared() -> &'static Result<Self, KernelError> {
        static SHARED: OnceLock<Result<KernelTypes, KernelError>> = OnceLock::new();
        SHARED.get_or_init(|| Btf::of_kernel().map(Self::of))
    }

    fn of(types: Btf) -> Self {
        let offsets = OFFSETS.iter().filter_map(|(index, paths)| Some((*index, types.offset(paths)?)));
        Self { offsets: offsets.collect(), functions: types.functions }
    }

    /// These alone, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_offsets(offsets: &[(i32, u32)]) -> Self {
        Self { functions: HashMap::new(), offsets: offsets.iter().copied().collect() }
    }

    /// As [`Btf::function`].
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    /// In bytes, by index of [`OFFSETS`]; None where the kernel has no such field.
    #[must_use]
    pub fn offset(&self, index: i32) -> Option<u32> {
        self.offsets.get(&index).copied()
    }
}

/// Bytes behind the common part of a type.
fn tail(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match (info >> 24) & 0x1f {
        2 | 7..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => count * 12,
        6 | 13 => count * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_running_kernel() {
        let Ok(btf) = Btf::of_kernel() else { return };
        assert!(btf.function("security_file_open").is_some());
        assert!(btf.function("no_such_function").is_none());
        assert_eq!(btf.offset("path.mnt"), Some(0));
        assert_eq!(btf.offset("path.dentry"), Some(8));
        let (file, mnt) = (btf.offset("file.f_path"), btf.offset("file.f_path.mnt"));
        assert!(file.is_some() && file == mnt);
        assert!(btf.offset("pt_regs.no_such|pt_regs.orig_ax|pt_regs.syscallno").is_some());
        assert_eq!(btf.offset("file.no_such"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Btf::parse(Vec::new()).is_none());
        assert!(Btf::parse(vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0]).is_none());
    }
}
