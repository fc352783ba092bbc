//! `cargo xtask structure`: the rules for the shape of the code. No file has more than [`MOST_LINES`] lines, modules beside
//! each other do not import in a circle, no crate of user space but one has `unsafe`, the plugin of kubectl needs no loader of programs, and
//! each network fault has all its parts. clippy checks the length of functions (`clippy.toml`).

mod faults;
mod imports;
mod layers;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

use self::standing::STANDING;
use crate::{artifacts, process};

const MOST_LINES: usize = 400;
/// Where the crates of user space are.
const USER_SPACE: &str = "chaos-user";
/// The only one of them with `unsafe`.
const UNSAFE: &str = "chaos-user/sys/src/lib.rs";
const FORBID: &str = "#![forbid(unsafe_code)]";
/// A module, by its path below the root of its crate.
type Module = Vec<String>;

/// Checks all source files that git lists.
///
/// # Errors
/// Each rule that is broken, with the file.
pub fn check() -> Result<()> {
    let root = artifacts::workspace();
    let files = sources(root)?;
    let mut broken = long(&files);
    broken.extend(unguarded(&files));
    broken.extend(layers::broken()?);
    broken.extend(faults::incomplete(root)?);
    let mut crates: BTreeMap<PathBuf, Vec<(Module, String)>> = BTreeMap::new();
    for (path, text) in &files {
        let Some((home, module)) = module_of(path) else { continue };
        crates.entry(home).or_default().push((module, text.clone()));
    }
    let mut standing: BTreeSet<(String, Vec<String>)> = STANDING
        .iter()
        .map(|(folder, modules)| ((*folder).to_owned(), modules.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    for (home, modules) in &crates {
        for (folder, circle) in circles(modules).with_context(|| format!("read {}", home.display()))? {
            let folder = home.join(folder.join("/")).display().to_string();
            if !standing.remove(&(folder.clone(), circle.clone())) {
                broken.push(format!("{folder}: {} import each other in a circle", circle.join(", ")));
            }
        }
    }
    broken.extend(standing.into_iter().map(|(folder, circle)| {
        format!("{folder}: {} form no circle any more; remove the entry from STANDING", circle.join(", "))
    }));
    if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("\n")) }
}

/// Their paths below the workspace, and what they hold.
fn sources(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let list = process::capture(Command::new("git").args(["ls-files", "-z", "*.rs"]).current_dir(root))?;
    let paths = list.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    // One that was deleted and not committed yet is still listed.
    paths
        .filter(|path| root.join(path).exists())
        .map(|path| {
            let text = fs::read_to_string(root.join(&path)).with_context(|| format!("read {}", path.display()))?;
            Ok((path, text))
        })
        .collect()
}

/// Those that are too long.
fn long(files: &[(PathBuf, String)]) -> Vec<String> {
    let lines = files.iter().map(|(path, text)| (path, text.lines().count()));
    let long = lines.filter(|(_, lines)| *lines > MOST_LINES);
    long.map(|(path, lines)| format!("{}: {lines} lines; at most {MOST_LINES}", path.display())).collect()
}

/// Roots of crates of user space, and build scripts, that do not forbid `unsafe`.
fn unguarded(files: &[(PathBuf, String)]) -> Vec<String> {
    let roots = files.iter().filter(|(path, _)| {
        let root = ["src/lib.rs", "src/main.rs", "build.rs"].iter().any(|name| path.ends_with(name));
        root && path.starts_with(USER_SPACE) && path != Path::new(UNSAFE)
    });
    let open = roots.filter(|(_, text)| !text.contains(FORBID));
    open.map(|(path, _)| format!("{}: add {FORBID}; {UNSAFE} alone may go without", path.display())).collect()
}

/// The folder of its crate's sources, and its path there. Programs, test suites of one file and unit tests are no modules.
fn module_of(path: &Path) -> Option<(PathBuf, Module)> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let source = parts.iter().position(|part| *part == "src")?;
    let mut module: Module =
        parts[source + 1..].iter().map(|part| (*part).trim_end_matches(".rs").to_owned()).collect();
    if module.first().is_some_and(|first| first == "bin") || module.iter().any(|part| part == "tests") {
        return None;
    }
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    Some((parts[..=source].iter().collect(), module))
}

/// For each folder, the modules directly below it that import each other in a circle.
fn circles(modules: &[(Module, String)]) -> Result<Vec<(Module, Vec<String>)>> {
    let known: BTreeSet<&[String]> =
        modules.iter().flat_map(|(module, _)| (1..=module.len()).map(|end| &module[..end])).collect();
    let mut folders: BTreeMap<&[String], DiGraphMap<&str, ()>> = BTreeMap::new();
    let mut arrows: Vec<(Module, Module)> = Vec::new();
    for (module, text) in modules {
        let imported = imports::of(module, text).with_context(|| format!("parse {}", module.join("::")))?;
        arrows.extend(imported.into_iter().map(|target| (module.clone(), target)));
    }
    for (from, to) in &arrows {
        let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        let (Some(one), Some(other)) = (from.get(shared), to.get(shared)) else { continue };
        // What stands there may be an item of the folder itself.
        if let Some(module) = known.get(&to[..=shared]) {
            folders.entry(&module[..shared]).or_default().add_edge(one, other, ());
        }
    }
    let mut found = Vec::new();
    for (folder, graph) in folders {
        for mut circle in tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > 1) {
            circle.sort_unstable();
            found.push((folder.to_vec(), circle.into_iter().map(str::to_owned).collect()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Module, circles, long, module_of, unguarded};

    fn module(path: &str, text: &str) -> (Module, String) {
        (path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(), text.to_owned())
    }

    #[test]
    fn a_crate_of_user_space_without_the_ban_of_unsafe_is_found() {
        let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let files = [
            file("chaos-user/host/src/lib.rs", "//! It.\n\n#![forbid(unsafe_code)]\n"),
            file("chaos-user/probe/src/lib.rs", "//! It.\n"),
            file("chaos-user/objects/build.rs", "fn main() {}\n"),
            file("chaos-user/sys/src/lib.rs", "//! It.\n"),
            file("chaos-user/sys/src/bpf.rs", "//! It.\n"),
            file("xtask/src/main.rs", "//! It.\n"),
        ];
        let found: Vec<String> =
            unguarded(&files).into_iter().map(|line| line.split_once(':').unwrap().0.to_owned()).collect();
        assert_eq!(found, ["chaos-user/probe/src/lib.rs", "chaos-user/objects/build.rs"]);
    }

    #[test]
    fn a_circle_of_modules_is_found_with_its_folder() {
        let broken = [
            module("", "mod engine; mod plan;"),
            module("engine", "mod a; mod b;"),
            module("engine::a", "use super::b::{self, thing};"),
            module("engine::b", "fn f() { crate::engine::a::g() }"),
            module("plan", "use crate::engine::a;"),
        ];
        let found = circles(&broken).unwrap();
        assert_eq!(found, [(vec!["engine".to_owned()], vec!["a".to_owned(), "b".to_owned()])]);
    }

    #[test]
    fn items_of_the_folder_and_tests_make_no_circle() {
        let fine = [
            module("engine", "mod a; mod b; pub struct Engine;"),
            module("engine::a", "use super::{Engine, b};"),
            module("engine::b", "use super::Engine; #[cfg(test)] mod tests { use crate::engine::a; }"),
        ];
        assert_eq!(circles(&fine).unwrap(), []);
    }

    #[test]
    fn folders_that_import_each_other_through_their_files_are_a_circle() {
        let broken = [
            module("one::deep", "use crate::two::other::Thing;"),
            module("two::other", "pub fn f(_: crate::one::deep::Kind) {}"),
        ];
        assert_eq!(circles(&broken).unwrap(), [(vec![], vec!["one".to_owned(), "two".to_owned()])]);
    }

    #[test]
    fn a_file_of_401_lines_is_too_long() {
        let files = [400, 401].map(|lines| (PathBuf::from(format!("{lines}.rs")), "\n".repeat(lines)));
        assert_eq!(long(&files), ["401.rs: 401 lines; at most 400"]);
    }

    #[test]
    fn modules_are_those_of_their_paths() {
        let of = |path: &str| {
            module_of(&PathBuf::from(path)).map(|(home, module)| format!("{} {}", home.display(), module.join("::")))
        };
        assert_eq!(of("chaos-user/src/engine/mod.rs").as_deref(), Some("chaos-user/src engine"));
        assert_eq!(of("chaos-user/src/engine/attach.rs").as_deref(), Some("chaos-user/src engine::attach"));
        assert_eq!(of("chaos-user/src/lib.rs").as_deref(), Some("chaos-user/src "));
        assert_eq!(of("chaos-user/src/bin/fuzz.rs"), None);
        assert_eq!(of("tests/tests/cli.rs"), None);
        assert_eq!(of("chaos-user/src/engine/marks/tests.rs"), None);
        assert_eq!(of("chaos-user/src/engine/hosts/tests/asked.rs"), None);
    }
}
