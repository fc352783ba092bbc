//! `cargo xtask kernels`: what `chaos check` finds on the running kernel and in each virtual machine, as the tables of KERNELS.md.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    artifacts, build, process, report, setup,
    vm::{self, Kept, Machine, built},
};

const PAGE: &str = "KERNELS.md";

/// Asks all kernels, then writes the tables between their marks.
pub fn run() -> Result<()> {
    setup::for_tests()?;
    let product = build::build(&build::Arguments::default())?;
    let mut checks = Vec::new();
    for series in series()? {
        eprintln!("==> chaos check on Linux {series}");
        let words = [product.as_os_str(), "check".as_ref(), "-o".as_ref(), "json".as_ref()];
        // Emulated, there is more that a kernel can do with one processor.
        let machine = Machine { processors: 1, ..Machine::new(series, words.map(Into::into).into()) };
        let text = vm::persistently(|| {
            let stdout = Kept::default();
            machine.run(stdout.clone(), io::stderr())?;
            Ok(stdout.text())
        })?;
        checks.push(parsed(&text, series)?);
    }
    eprintln!("==> chaos check on this kernel");
    let mut here: Command = process::as_root(&product, &[]);
    let output = here.args(["check", "-o", "json"]).output().context("start chaos check")?;
    checks.push(parsed(&String::from_utf8_lossy(&output.stdout), "this kernel")?);
    rewrite(&[("faults", &faults(&checks)), ("calls", &calls(&checks))])?;
    write_tests()
}

/// Debian's kernels, and behind the one of its version that which is built, where it is there: building it takes longer than all that
/// is done here.
fn series() -> Result<Vec<&'static str>> {
    let mut all: Vec<&str> = vm::kernel::SERIES.iter().map(|(series, _)| *series).collect();
    if built::cached()?.is_some() {
        let version = all.iter().position(|series| *series == built::SERIES);
        all.insert(version.map_or(all.len(), |place| place + 1), built::NAME);
    } else {
        eprintln!("==> the tables will lack {}: `cargo xtask kernel` builds it", built::NAME);
    }
    Ok(all)
}

/// Writes what the tests said when their suites last ran whole, if they ever did.
///
/// # Errors
/// Where the results cannot be read or the page cannot be written.
pub fn write_tests() -> Result<()> {
    let kernels = report::kept()?;
    if kernels.is_empty() {
        eprintln!(
            "==> the table of tests stays: no kernel's suites have run here; `cargo xtask test --kernel running` runs some"
        );
        return Ok(());
    }
    rewrite(&[("tests", &report::page(&kernels))])
}

fn rewrite(tables: &[(&str, &str)]) -> Result<()> {
    let path = artifacts::workspace().join(PAGE);
    let mut page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    for (table, by) in tables {
        page = replaced(&page, table, by)?;
    }
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    println!("{PAGE}");
    Ok(())
}

fn parsed(text: &str, place: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("read what chaos check says on {place}: {text:.300}"))
}

/// The page with what stands between the marks of a table replaced.
fn replaced(page: &str, table: &str, by: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {table}: begin -->\n"), format!("<!-- {table}: end -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    ensure!(parts.is_some(), "{PAGE} has lost its marks {begin:?} and {end:?}: put them back around the table");
    let (before, after) = parts.unwrap_or_default();
    Ok(format!("{before}{begin}{by}{end}{after}"))
}

fn head(first: &str, columns: usize, checks: &[Value]) -> String {
    let kernels: Vec<&str> = checks.iter().map(|check| word(&check["kernel"])).collect();
    format!("| {first} | {} |\n|{}\n", kernels.join(" | "), "---|".repeat(columns + kernels.len()))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn rows<'a>(check: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    check[list].as_array().into_iter().flatten()
}

fn name(row: &Value) -> String {
    format!("{} | {} | {}", word(&row["fault"]), word(&row["variant"]), word(&row["direction"]))
}

/// A line for each fault.
fn faults(checks: &[Value]) -> String {
    let mut text = head("fault | variant | direction", 3, checks);
    for row in checks.first().into_iter().flat_map(|check| rows(check, "faults")) {
        let name = name(row);
        let cell = |check: &Value| {
            let same = rows(check, "faults").find(|row| self::name(row) == name);
            same.filter(|row| row["supported"] == true).map_or("no", |row| word(&row["mechanism"])).to_owned()
        };
        let cells: Vec<String> = checks.iter().map(cell).collect();
        let _infallible = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

/// A line for all calls of which the kernels say the same.
fn calls(checks: &[Value]) -> String {
    let cell = |check: &Value, call: &str| {
        let row = rows(check, "calls").find(|row| row["call"] == call);
        let by = row.and_then(|row| row["mechanism"].as_str()).unwrap_or("no").to_owned();
        if row.is_some_and(|row| row["sleeps"] == true) { format!("{by}, sleeps") } else { by }
    };
    let mut groups: BTreeMap<usize, (Vec<String>, Vec<&str>)> = BTreeMap::new();
    for call in checks.first().into_iter().flat_map(|check| rows(check, "calls")).map(|row| word(&row["call"])) {
        let cells: Vec<String> = checks.iter().map(|check| cell(check, call)).collect();
        match groups.values_mut().find(|(known, _)| *known == cells) {
            Some((_, names)) => names.push(call),
            None => _ = groups.insert(groups.len(), (cells, vec![call])),
        }
    }
    let mut text = head("calls", 1, checks);
    for (cells, names) in groups.values() {
        let _infallible = writeln!(text, "| {} | {} |", names.join(", "), cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{calls, faults, replaced};
    use serde_json::json;

    #[test]
    fn tables_stand_between_their_marks() {
        let row =
            |call: &str, by: Option<&str>, sleeps: bool| json!({ "call": call, "mechanism": by, "sleeps": sleeps });
        let fault = |yes: bool| json!({ "fault": "loss", "direction": "egress", "supported": yes, "mechanism": "tcx" });
        let old = json!({ "kernel": "5.10", "faults": [fault(true)], "calls": [row("open", None, false), row("stat", None, false)] });
        let new = json!({ "kernel": "7.2", "faults": [fault(false)],
            "calls": [row("open", Some("lsm"), true), row("stat", Some("lsm"), true)] });
        let checks = [old, new];
        assert!(
            faults(&checks).ends_with("|---|---|---|---|---|\n| loss | - | egress | tcx | no |\n"),
            "{}",
            faults(&checks)
        );
        assert!(calls(&checks).ends_with("| open, stat | no | lsm, sleeps |\n"), "{}", calls(&checks));
        let page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb";
        assert_eq!(replaced(page, "x", "new\n").unwrap(), page.replace("old", "new"));
        assert!(replaced("a", "x", "new").is_err());
    }
}
