//! Links of the built book: each that stays in it must lead to a page, and each anchor to a heading.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::files;

/// Where files of the repository are shown, which the book cannot contain.
const REPOSITORY: &str = "https://github.com/chaos-ebpf/chaos/blob/main/";

/// The broken links of a folder of HTML pages.
pub fn check(book: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for path in files(book, "html")? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.strip_prefix(book).unwrap_or(&path).to_owned();
        // All pages in one, which has the anchors of all, and the page of a server's error.
        if name != Path::new("print.html") && name != Path::new("404.html") {
            pages.insert(name, text);
        }
    }
    Ok(broken(&pages, |path| book.join(path).is_file()))
}

/// The links of some pages to what is not there.
fn broken(pages: &BTreeMap<PathBuf, String>, is_file: impl Fn(&Path) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&PathBuf, BTreeSet<&str>> =
        pages.iter().map(|(name, text)| (name, attributes(text, "id").collect())).collect();
    let mut problems = BTreeSet::new();
    for (name, text) in pages {
        for link in attributes(text, "href") {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { name.clone() } else { joined(name, path) };
            match anchors.get(&target) {
                Some(ids) if anchor.is_empty() || ids.contains(anchor) => {}
                Some(_) => {
                    problems.insert(format!("{}: {link}: no such heading", name.display()));
                }
                None if target == Path::new("print.html") || is_file(&target) => {}
                None => {
                    problems.insert(format!("{}: {link}: no such page", name.display()));
                }
            }
        }
    }
    problems.into_iter().collect()
}

/// Links of a page to files of the repository that are not there.
pub fn of_repository(name: &Path, text: &str, root: &Path) -> Vec<String> {
    let links = text.split(REPOSITORY).skip(1).map(|rest| rest.split([')', '>', ' ', '\n', '#']).next().unwrap_or(""));
    let missing = links.filter(|path| !root.join(path).exists());
    missing.map(|path| format!("{}: {path}: no such file in the repository", name.display())).collect()
}

/// The values of an attribute, wherever it stands.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let mut rest = html;
    std::iter::from_fn(move || {
        let at = rest.find(&start)?;
        rest = &rest[at + start.len()..];
        let end = rest.find('"')?;
        let value = &rest[..end];
        rest = &rest[end..];
        Some(value)
    })
}

/// A link of a page, from the book's root.
fn joined(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_page_or_a_heading_that_is_not_there_is_found() {
        let page = |text: &str| format!("<h1 id=\"top\">x</h1>{text}");
        let pages = BTreeMap::from([
            (PathBuf::from("index.html"), page(r##"<a href="faults/loss.html#top">a</a> <a href="#top">b</a>"##)),
            (
                PathBuf::from("faults/loss.html"),
                page(
                    r##"<a class="x" href="../index.html#gone">c</a> <a href="delay.html">d</a> <a href="#no">e</a>"##,
                ),
            ),
        ]);
        let found = broken(&pages, |_| false);
        assert_eq!(
            found,
            [
                "faults/loss.html: #no: no such heading",
                "faults/loss.html: ../index.html#gone: no such heading",
                "faults/loss.html: delay.html: no such page",
            ]
        );
    }

    #[test]
    fn a_link_to_a_file_that_the_repository_lacks_is_found() {
        let text = format!("[a]({REPOSITORY}Cargo.toml) [b]({REPOSITORY}docs/nothing.md#x)");
        let found = of_repository(Path::new("a.md"), &text, crate::artifacts::workspace());
        assert_eq!(found, ["a.md: docs/nothing.md: no such file in the repository"]);
    }
}
