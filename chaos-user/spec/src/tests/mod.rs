//! Tests of reading as a whole: text in, experiment or problems out.

mod cases;
mod every_field;
mod golden;
mod habits;
mod mutations;
mod pages;
mod rules;
mod yaml;

use super::parse;

/// The problems of a text, as `LINE PATH: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let problems = parse("f", text).err().unwrap_or_default();
    problems
        .iter()
        .map(|p| {
            if p.path.is_empty() {
                format!("{} {}", p.line, p.message)
            } else {
                format!("{} {}: {}", p.line, p.path, p.message)
            }
        })
        .collect()
}

/// A file of the repository.
fn file(name: &str) -> String {
    let path = format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
