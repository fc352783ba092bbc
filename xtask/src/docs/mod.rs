//! `cargo xtask docs`: the user documentation. Its reference is written from the product; the book is built and judged.

mod console;
mod links;
mod prose;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{artifacts, process, progress::step, tool};

const MDBOOK_VERSION: &str = "0.5.4";

/// How to build the book.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing, and fail where a page of the reference is stale.
    #[arg(long)]
    pub check: bool,
}

/// Writes the reference, builds the book, and judges it. What is wrong is said at once.
pub fn run(arguments: &Arguments) -> Result<PathBuf> {
    let mut problems = step("reference", || reference::update(&source().join("reference"), arguments.check))?;
    // As a library of xtask it would be compiled with xtask on every machine that only runs tests.
    let mdbook = tool::ensure("mdbook", MDBOOK_VERSION, &["--no-default-features"])?;
    let book = artifacts::target().join("book");
    step("book", || {
        let mut build = std::process::Command::new(&mdbook);
        build.arg("build").arg(artifacts::workspace().join("docs")).arg("--dest-dir").arg(&book);
        process::capture(build.env("RUST_LOG", "warn")).map(drop)
    })?;
    problems.extend(links::check(&book)?);
    for (path, text) in pages(&source())? {
        let name = path.strip_prefix(source()).unwrap_or(&path).to_owned();
        // Of the reference each sentence belongs to the product.
        if !name.starts_with("reference") {
            problems.extend(prose::check(&name, &text));
        }
        if name.starts_with("getting-started") {
            problems.extend(console::check(&name, &text));
        }
        problems.extend(links::of_repository(&name, &text, artifacts::workspace()));
    }
    if problems.is_empty() {
        return Ok(book.join("index.html"));
    }
    bail!("{}\n{} problems in docs/", problems.join("\n"), problems.len())
}

fn source() -> PathBuf {
    artifacts::workspace().join("docs/src")
}

/// All pages below a folder, in the order of their paths.
fn pages(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    files(folder, "md")?
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            Ok((path, text))
        })
        .collect()
}

/// All files below a folder whose names end like this, in the order of their paths.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
