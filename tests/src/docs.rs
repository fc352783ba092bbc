//! Pages of the documentation as sessions: their files are written, their commands are typed into one shell, and what it prints is
//! compared with the page.
//!
//! A block ```` ```yaml,file=NAME ```` is a file. A block ```` ```console ```` has commands behind `$ ` and their output. In the output `[..]`
//! stands for any text within a line, `...` alone for any lines, and runs of spaces are alike.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long a whole page may take.
const LIMIT: Duration = Duration::from_secs(240);
/// Printed between the commands; no command of a page prints it.
const MARK: &str = "--8<-- command";

/// A command and what the page says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As it is typed.
    pub command: String,
    /// Its output, line by line.
    pub output: Vec<String>,
    /// Its line in the page, from 1.
    pub line: usize,
}

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    /// Names and contents.
    pub files: Vec<(String, String)>,
    /// In their order.
    pub steps: Vec<Step>,
}

impl Page {
    /// Reads one below `docs/src`.
    #[track_caller]
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src").join(name);
        Self::of(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Of a text in Markdown.
    pub fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut info: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            match (info, line.strip_prefix("```")) {
                (None, Some(words)) => {
                    info = Some(words);
                    if let Some((_, file)) = words.split_once(",file=") {
                        page.files.push((file.to_owned(), String::new()));
                    }
                }
                (Some(_), Some(_)) => info = None,
                (Some("console"), None) => page.add(line, number + 1),
                (Some(words), None) if words.contains(",file=") => {
                    if let Some((_, text)) = page.files.last_mut() {
                        let _infallible = writeln!(text, "{line}");
                    }
                }
                _ => {}
            }
        }
        page
    }

    fn add(&mut self, line: &str, number: usize) {
        match (line.strip_prefix("$ "), self.steps.last_mut()) {
            (Some(command), _) => {
                self.steps.push(Step { command: command.to_owned(), output: Vec::new(), line: number });
            }
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => {}
        }
    }

    /// Types the commands into bash, behind `prelude`, in a folder with the files. `sudo` is nothing there. Network namespaces by name
    /// are the shell's own, so that none is left on the machine.
    ///
    /// # Panics
    /// Where a command prints something else than the page says.
    #[track_caller]
    pub fn replay(&self, prelude: &str) {
        let folder = Folder::new();
        for (name, text) in &self.files {
            fs::write(folder.0.join(name), text).expect("a file of the page");
        }
        let script = folder.0.join(".session");
        fs::write(&script, self.script(prelude)).expect("the session");
        let mut bash = Command::new("timeout");
        bash.arg(LIMIT.as_secs().to_string()).args(["unshare", "--mount", "bash"]).arg(&script);
        let output = bash.current_dir(&folder.0).stdin(Stdio::null()).output().expect("bash starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let problems = self.compared(&said);
        assert!(problems.is_empty(), "{}\nall that was printed:\n{said}", problems.join("\n"));
    }

    fn script(&self, prelude: &str) -> String {
        let mut script = String::from("exec 2>&1\nsudo() { \"$@\"; }\n");
        script += "if [ -d /run/netns ]; then mount -t tmpfs tmpfs /run/netns; fi\n";
        script += prelude;
        script.push('\n');
        for step in &self.steps {
            let _infallible = writeln!(script, "echo '{MARK}'\n{}", step.command);
        }
        script
    }

    /// Where the page is wrong.
    fn compared(&self, said: &str) -> Vec<String> {
        let pieces: Vec<&str> = said.split(&format!("{MARK}\n")).skip(1).collect();
        let mut problems = Vec::new();
        for (place, step) in self.steps.iter().enumerate() {
            let Some(piece) = pieces.get(place) else {
                problems.push(format!("line {}: $ {}: it was not reached", step.line, step.command));
                continue;
            };
            let actual: Vec<&str> = piece.trim_end().lines().collect();
            let length = step.output.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
            let expected: Vec<&str> = step.output[..length].iter().map(String::as_str).collect();
            if !agree(&expected, &actual) {
                problems.push(format!(
                    "line {}: $ {}\nthe page says:\n{}\nit printed:\n{}",
                    step.line,
                    step.command,
                    expected.join("\n"),
                    actual.join("\n")
                ));
            }
        }
        problems
    }
}

/// Do the lines agree, `...` standing for any lines?
fn agree(expected: &[&str], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=actual.len()).any(|skipped| agree(rest, &actual[skipped..])),
        (Some((one, expected)), Some((other, actual))) => line_agrees(one, other) && agree(expected, actual),
        _ => false,
    }
}

/// Does a line agree, `[..]` standing for any text and runs of spaces being alike?
fn line_agrees(expected: &str, actual: &str) -> bool {
    let (expected, actual) = (one_space(expected), one_space(actual));
    let mut pieces: Vec<&str> = expected.split("[..]").collect();
    let last = if pieces.len() > 1 { pieces.pop() } else { None };
    let first = pieces.first().copied().unwrap_or_default();
    let (Some(mut rest), Some(last)) = (actual.strip_prefix(first), last) else { return expected == actual };
    for piece in &pieces[1..] {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

fn one_space(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("chaos-docs-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n```yaml,file=a.yaml\na: 1\n```\n```console\n$ cat a.yaml\na: 1\n$ echo 12  ms; echo; echo x\n[..] ms\n...\n\n```\n\
                        ```text\n$ not this\n```\n";

    #[test]
    fn a_page_that_says_what_is_printed_passes() {
        let page = Page::of(PAGE);
        assert_eq!(page.files, [("a.yaml".to_owned(), "a: 1\n".to_owned())]);
        assert_eq!(page.steps.len(), 2);
        assert_eq!(page.compared(&format!("{MARK}\na: 1\n{MARK}\n12 ms\n\nx\n")), Vec::<String>::new());
    }

    #[test]
    fn another_word_a_line_too_many_and_a_session_that_ends_are_found() {
        let page = Page::of(PAGE);
        for said in [
            format!("{MARK}\na: 2\n{MARK}\n12 ms\n"),
            format!("{MARK}\na: 1\nb: 2\n{MARK}\n12 ms\n"),
            format!("{MARK}\n{MARK}\n12 ms\n"),
            format!("{MARK}\na: 1\n{MARK}\n12 s\n"),
            format!("{MARK}\na: 1\n"),
        ] {
            assert_eq!(page.compared(&said).len(), 1, "{said}");
        }
        assert!(line_agrees("a [..] c", "a  b c") && !line_agrees("a [..] c", "a b d") && !line_agrees("a", "a b"));
    }
}
