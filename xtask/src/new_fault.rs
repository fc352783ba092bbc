//! `cargo xtask new-fault NAME`: both halves of a network fault that drops every packet that it hits, registered everywhere, with a
//! sample and a test. It compiles and runs as it is; what it does to a packet is then written in one file.

mod templates;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{artifacts, docs, process, setup};
use templates::Name;

/// Makes it.
pub fn run(name: &str) -> Result<()> {
    let name = Name::parse(name)?;
    let root = artifacts::workspace();
    let files = templates::files(&name);
    for (path, _) in &files {
        ensure!(!root.join(path).exists(), "{path} exists already; choose another name");
    }
    // All is read and changed in memory first: a registry that lost its marker must not leave half a fault.
    let mut edited = Vec::new();
    let number = next_action(root)?;
    for (path, text) in templates::registrations(&name, number) {
        edit(&mut edited, root, path, |content| insert(content, path, &text.marker, &text.lines))?;
    }
    edit(&mut edited, root, RULES, |content| highest(content, number))?;
    edit(&mut edited, root, SUMMARY, |content| listed(content, &name))?;
    // Cases that quote the list of all actions.
    let quoted = format!("bandwidth, {}, partition", name.yaml());
    edit(&mut edited, root, MESSAGES, |content| Ok(content.replace("bandwidth, partition", &quoted)))?;
    for (path, content) in files.iter().chain(&edited) {
        fs::write(root.join(path), content).with_context(|| format!("write {path}"))?;
        println!("{path}");
    }
    setup::for_build()?;
    process::run(process::cargo().arg("fmt").current_dir(root))?;
    let mut golden = process::cargo();
    golden
        .args(["test", "--quiet", "--package", "chaos-spec", "--lib", "golden_schema"])
        .env("CHAOS_UPDATE_GOLDEN", "1");
    process::run(golden.current_dir(root))?;
    // What is generated of the table of actions.
    let definitions = process::capture(
        process::cargo().args(["run", "--quiet", "--package", "chaos", "--", "crd"]).current_dir(root),
    )?;
    fs::write(root.join(DEFINITIONS), definitions).with_context(|| format!("write {DEFINITIONS}"))?;
    docs::run(&docs::Arguments { check: false })?;
    println!("tests/golden/schema.json\n{DEFINITIONS}\ndocs/src/reference\n\nIt drops every packet that it hits. Now:");
    println!(
        "  1. write what it does in chaos-ebpf/src/{0}.rs, its parameters in chaos-user/spec/src/faults/{0}.rs",
        name.module()
    );
    println!("  2. say in tests/tests/{}.rs what must be seen from outside", name.module());
    println!(
        "  3. say in chaos-user/engine/src/check/judge.rs what proves it, and in docs/src/faults/{}.md what it does",
        name.sample()
    );
    println!("  4. cargo xtask test --kernel running {}", name.module());
    Ok(())
}

const DEFINITIONS: &str = "manifests/base/crds.yaml";
const SUMMARY: &str = "docs/src/SUMMARY.md";
const RULES: &str = "chaos-ebpf/abi/src/rule.rs";
const MESSAGES: &str = "tests/golden/rules.json";

/// The book's contents, with the page of this fault behind those of the others.
fn listed(content: &str, name: &Name) -> Result<String> {
    const NEXT: &str = "- [Errors of system calls]";
    let (before, after) = content.split_once(NEXT).with_context(|| format!("{SUMMARY} has no line {NEXT}"))?;
    Ok(format!("{before}- [{}](faults/{}.md)\n{NEXT}{after}", name.type_name(), name.sample()))
}

/// Changes a file, which may have been changed before.
fn edit(
    edited: &mut Vec<(String, String)>,
    root: &Path,
    path: &str,
    change: impl FnOnce(&str) -> Result<String>,
) -> Result<()> {
    if let Some((_, content)) = edited.iter_mut().find(|(known, _)| known == path) {
        *content = change(content)?;
        return Ok(());
    }
    let content = fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
    edited.push((path.to_owned(), change(&content)?));
    Ok(())
}

/// Puts lines before the line that is `// new-fault: MARKER`, indented as it is.
fn insert(content: &str, path: &str, marker: &str, lines: &str) -> Result<String> {
    let wanted = format!("// new-fault: {marker}");
    let mut found = 0;
    let mut text = String::new();
    for line in content.lines() {
        if line.trim() == wanted {
            found += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            for new in lines.lines() {
                text.push_str(&format!("{indent}{new}\n"));
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    if found != 1 {
        bail!("{path} has the line `{wanted}` {found} times; it must be there once");
    }
    Ok(text)
}

/// The number after the highest `ACTION_*`.
fn next_action(root: &Path) -> Result<u32> {
    let content = fs::read_to_string(root.join(RULES)).with_context(|| format!("read {RULES}"))?;
    let numbers = content.lines().filter_map(|line| {
        let (_, number) = line.strip_prefix("pub const ACTION_")?.split_once("= ")?;
        number.trim_end_matches(';').parse::<u32>().ok()
    });
    let highest = numbers.max().with_context(|| format!("{RULES} has no ACTION_ constant"))?;
    Ok(highest + 1)
}

/// Programs say which actions they know: a process of this build is refused by older ones, and no new version of the contract is needed.
fn highest(content: &str, number: u32) -> Result<String> {
    const HIGHEST: &str = "pub const ACTIONS: u32 = ";
    let (before, rest) = content.split_once(HIGHEST).with_context(|| format!("{RULES} has no `{HIGHEST}`"))?;
    let (_, after) = rest.split_once(';').with_context(|| format!("{RULES}: `{HIGHEST}` has no end"))?;
    Ok(format!("{before}{HIGHEST}{number};{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_there_once() {
        let content = "a\n    // new-fault: x\nb\n";
        assert_eq!(insert(content, "f", "x", "1\n2").unwrap(), "a\n    1\n    2\n    // new-fault: x\nb\n");
        assert!(insert("a\n", "f", "x", "1").is_err());
        assert!(insert(&content.repeat(2), "f", "x", "1").is_err());
    }

    #[test]
    fn the_highest_action_is_the_new_one() {
        assert_eq!(highest("x\npub const ACTIONS: u32 = 9;\ny", 10).unwrap(), "x\npub const ACTIONS: u32 = 10;\ny");
        assert!(highest("x", 10).is_err());
    }

    #[test]
    fn every_registry_has_its_marker() {
        let name = Name::parse("of-a-test").unwrap();
        let root = artifacts::workspace();
        let number = next_action(root).unwrap();
        for (path, text) in templates::registrations(&name, number) {
            let content = fs::read_to_string(root.join(path)).unwrap();
            insert(&content, path, &text.marker, &text.lines).unwrap();
        }
    }
}
