//! Every network fault has all its parts.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

const ACTIONS: &str = "chaos-ebpf/abi/src/rule.rs";
/// Actions that are no network faults.
const OTHERS: [&str; 2] = ["EXCEPT", "CALL"];
/// Files that name each of them, and how. `{ACTION}`: `DROP_SYN`; `{field}`: `dropSyn`.
const NAMED: [(&str, &str, &str); 4] = [
    ("chaos-ebpf/src/rule.rs", "ACTION_{ACTION}", "an arm in the kernel half"),
    ("chaos-user/spec/src/faults/mod.rs", "ACTION_{ACTION},", "a place in the order of a pass"),
    ("chaos-user/engine/src/check/case.rs", "(\"{field}\", ", "a case of `chaos check`"),
    ("manifests/base/crds.yaml", "has(self.{field})", "a rule of the API server"),
];
/// Files of its own. `{file}`: `drop-syn`; `{module}`: `drop_syn`.
const OWN: [(&str, &str); 4] = [
    ("chaos-user/spec/src/faults/{module}.rs", "its parameters"),
    ("manifests/samples/{file}.yaml", "a sample"),
    ("manifests/samples/kubernetes/{file}.yaml", "a sample for a cluster"),
    ("docs/src/faults/{file}.md", "a page"),
];

/// What is missing, fault by fault.
///
/// # Errors
/// One of the files that name all faults cannot be read.
pub fn incomplete(root: &Path) -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let mut missing = Vec::new();
    for action in actions(&read(ACTIONS)?) {
        for (path, text, part) in NAMED {
            let text = text.replace("{ACTION}", &action).replace("{field}", &field(&action));
            if !read(path)?.contains(&text) {
                missing.push(format!("{path}: add {part} for ACTION_{action}: {text}"));
            }
        }
        let module = action.to_lowercase();
        for (path, part) in OWN {
            let path = path.replace("{module}", &module).replace("{file}", &module.replace('_', "-"));
            if !root.join(&path).exists() {
                missing.push(format!("{path}: add {part} for ACTION_{action}"));
            }
        }
    }
    Ok(missing)
}

/// The network faults among the constants of the contract, without their prefix.
fn actions(contract: &str) -> Vec<String> {
    let names = contract.lines().filter_map(|line| line.strip_prefix("pub const ACTION_")?.split(':').next());
    names.filter(|name| !OTHERS.contains(name)).map(str::to_owned).collect()
}

/// `DROP_SYN` becomes `dropSyn`.
fn field(action: &str) -> String {
    let mut words = action.split('_').map(str::to_lowercase);
    let first = words.next().unwrap_or_default();
    let capital = |word: String| word[..1].to_uppercase() + &word[1..];
    words.fold(first, |all, word| all + &capital(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts;

    #[test]
    fn each_fault_is_complete_and_half_of_one_is_found() {
        assert_eq!(incomplete(artifacts::workspace()).unwrap(), Vec::<String>::new());
        let root = std::env::temp_dir().join(format!("chaos-faults-{}", std::process::id()));
        for (path, text) in [(ACTIONS, "pub const ACTION_DROP_SYN: u32 = 10;\npub const ACTION_CALL: u32 = 9;\n")]
            .into_iter()
            .chain(NAMED.map(|(path, _, _)| (path, "")))
        {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        fs::write(root.join("chaos-ebpf/src/rule.rs"), "ACTION_DROP_SYN => act()").unwrap();
        let missing = incomplete(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(missing.len(), 7, "{missing:#?}");
        assert!(missing.iter().any(|line| line.starts_with("docs/src/faults/drop-syn.md: add a page")));
        assert!(missing.iter().any(|line| line.ends_with("has(self.dropSyn)")));
    }
}
