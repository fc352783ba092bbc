//! The reference: pages that an example of the product's package prints, so that they say what the product's types say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};

use super::pages;
use crate::{artifacts, process, setup};

/// Writes the pages, or lists those that would be written.
pub fn update(folder: &Path, only_check: bool) -> Result<Vec<String>> {
    let made = made()?;
    let mut problems = Vec::new();
    let there: BTreeSet<String> =
        pages(folder)?.into_iter().filter_map(|(path, _)| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    problems.extend(
        there
            .iter()
            .filter(|name| !made.contains_key(*name))
            .map(|name| format!("docs/src/reference/{name}.md: the product prints no such page; remove it")),
    );
    for (name, text) in made {
        let path = folder.join(format!("{name}.md"));
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if only_check {
            problems.push(format!("docs/src/reference/{name}.md: stale; run cargo xtask docs"));
        } else {
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(problems)
}

/// Builds the example and reads what it prints.
fn made() -> Result<BTreeMap<String, String>> {
    setup::for_build()?;
    let mut cargo = process::cargo();
    // With the workspace's features, as the tests are built: nothing is compiled for this alone.
    cargo.args(["build", "--workspace", "--example", "reference"]);
    let programs = artifacts::build(&mut cargo)?;
    let example = programs.into_iter().find(|program| program.name == "reference" && !program.test);
    let example = example.ok_or_else(|| anyhow!("cargo built no example called reference"))?;
    let text = process::capture(&mut Command::new(&example.path))?;
    serde_json::from_str(&text).context("read what the example reference printed")
}
