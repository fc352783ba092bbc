//! A kernel's modules and the order in which they must be loaded. Debian's packages hold no `modules.dep` (it is made
//! where they are installed), and a machine without `kmod` could not make it: each module says itself what it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// What a guest gets: its devices and file systems first, then what the product and its tests use. A guest has no
/// `modprobe`, so that nothing is loaded on demand.
pub const NEEDED: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "9p",
    "9pnet_virtio",
    "sch_fq",
    "sch_netem",
    "sch_tbf",
    "sch_ingress",
    "cls_bpf",
    "veth",
    "ifb",
    "bridge",
    "8021q",
    "dummy",
    "tun",
    "overlay",
    "fuse",
    "sctp",
    "wireguard",
    "act_mirred",
    "sch_fq_codel",
    "sch_prio",
];

/// All modules of one kernel.
pub struct ModuleTree {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl ModuleTree {
    /// Lists the directory `lib/modules/<release>`.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(&dir.join("kernel"), &mut files)?;
        let list = dir.join("modules.builtin");
        let builtin = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        let builtin = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(Self { files, builtin })
    }

    /// Which of these the kernel has neither built in nor as a module.
    pub fn missing(&self, names: &[&str]) -> Vec<String> {
        let absent = |name: &&&str| !self.files.contains_key(**name) && !self.builtin.contains(**name);
        names.iter().filter(absent).map(|name| (*name).to_owned()).collect()
    }

    /// Their files and those of all that they depend on, each after its dependencies.
    pub fn in_load_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        let mut visited = BTreeSet::new();
        for name in names {
            self.visit(name, &mut visited, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, visited: &mut BTreeSet<String>, order: &mut Vec<PathBuf>) -> Result<()> {
        // A soft dependency may name an algorithm (crc32c) instead of a module that has it (crc32c_generic).
        let named = self.files.get(name).or_else(|| self.files.get(&format!("{name}_generic")));
        let Some(path) = named else { return Ok(()) };
        if !visited.insert(name.to_owned()) {
            return Ok(());
        }
        let module = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        for dependency in dependencies(&module) {
            self.visit(&dependency, visited, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry.with_context(|| format!("read {}", dir.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The kernel spells module names with `_` where files may have `-`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// From the strings of the module's section `.modinfo`, such as `depends=virtio,virtio_ring` and `softdep=pre: crc32c`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for string in module.split(|byte| *byte == 0).filter_map(|bytes| str::from_utf8(bytes).ok()) {
        if let Some(names) = string.strip_prefix("depends=") {
            found.extend(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")));
        } else if let Some(names) = string.strip_prefix("softdep=pre: ") {
            let names = names.split_whitespace().take_while(|name| !name.ends_with(':'));
            found.extend(names.map(|name| name.replace('-', "_")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn dependencies_are_read_from_the_module() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0softdep=pre: crc32c post: x\0\xff\0";
        assert_eq!(dependencies(module), ["virtio", "virtio_ring", "crc32c"]);
    }
}
