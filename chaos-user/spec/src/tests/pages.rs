//! The experiments that stand in the user documentation.

use crate::parse_for_command;
use std::{fs, path::Path};

/// The experiments of a page: blocks of YAML that begin with our API version.
fn experiments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (block.as_mut(), line.strip_prefix("```")) {
            (None, Some(info)) if info.starts_with("yaml") => block = Some(String::new()),
            (Some(text), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (Some(_), Some(_)) => {
                found.extend(block.take().filter(|text| text.starts_with("apiVersion: chaos-ebpf.dev")));
            }
            _ => {}
        }
    }
    found
}

fn visit(folder: &Path, count: &mut usize) {
    for entry in fs::read_dir(folder).expect("the documentation") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, count);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.display().to_string();
            for text in experiments(&fs::read_to_string(&path).expect("a page")) {
                // One without a selector is for a command.
                match parse_for_command(&name, &text) {
                    Ok(parsed) => assert!(parsed[0].warnings.is_empty(), "{name}: {:?}", parsed[0].warnings),
                    Err(problems) => panic!("{name}: {problems:#?}"),
                }
                *count += 1;
            }
        }
    }
}

#[test]
fn each_experiment_of_the_documentation_is_valid() {
    let mut count = 0;
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src")), &mut count);
    assert!(count > 10, "{count} were found");
}
