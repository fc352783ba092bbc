//! Running a command of the system (`ip`, `tc`) to its end.

use std::process::Command;

/// The output of a command line that must succeed; the panic quotes what it said.
pub fn run(line: &str) -> String {
    try_run(line).unwrap_or_else(|error| panic!("{error}"))
}

/// The output of a command line, or what it complained about. Words are split at spaces: no quoting.
pub fn try_run(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command line");
    let output = Command::new(program).args(words).output().map_err(|error| format!("{line}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{line}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
