//! Blocks of commands in the pages that a test replays.

use std::path::Path;

/// What a reader types there must be in a block that is replayed (`tests/tests/docs.rs` for the page of one machine).
pub fn check(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut block: Option<&str> = None;
    for (number, line) in text.lines().enumerate() {
        match (block, line.strip_prefix("```")) {
            (None, Some(info)) => block = Some(info.split(',').next().unwrap_or_default().trim()),
            (Some(_), Some(_)) => block = None,
            (Some(info), None) if line.starts_with("$ ") && info != "console" => {
                problems.push(format!(
                    "{}:{}: a command in a block that no test replays; tag it ```console",
                    name.display(),
                    number + 1
                ));
            }
            _ => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_outside_of_a_tagged_block_is_found() {
        let good = "```console\n$ ls\n```\n\n```yaml,file=a.yaml\na: $ b\n```\n";
        assert_eq!(check(Path::new("a.md"), good), Vec::<String>::new());
        let bad = "```\n$ ls\n```\n```text\n$ ps\n```\n";
        assert_eq!(check(Path::new("a.md"), bad).len(), 2);
    }
}
