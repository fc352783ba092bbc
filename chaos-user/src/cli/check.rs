//! `chaos check`.

use super::fail;
use chaos_engine::check::{self, Bypass, CallRow, Check, Row};
use chaos_outcome::ExitCode;
use std::fmt::Write as _;

/// Prints what this kernel can do. `Unsupported` without the rights to try, or where no fault works at all.
pub fn check(as_json: bool) -> ExitCode {
    let check = match check::check() {
        Ok(check) => check,
        Err(error) => return fail(&error.into()),
    };
    if as_json {
        match serde_json::to_string_pretty(&check) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("print the check: {error}");
                return ExitCode::Error;
            }
        }
    } else {
        print!("{}", table(&check));
    }
    if check.faults.iter().any(|row| row.supported) { ExitCode::Pass } else { ExitCode::Unsupported }
}

fn table(check: &Check) -> String {
    let mut text =
        format!("kernel     {} {}\nmechanism  {}\n", check.kernel, check.arch, check.mechanism.unwrap_or("none"));
    if let Some(note) = &check.note {
        let _infallible = writeln!(text, "note       {note}");
    }
    let _infallible =
        writeln!(text, "\n{:<11}{:<11}{:<11}{:<11}MECHANISM", "FAULT", "VARIANT", "DIRECTION", "SUPPORTED");
    for row in &check.faults {
        let supported = if row.supported { "yes" } else { "no" };
        let (variant, mechanism) = (row.variant.as_deref().unwrap_or("-"), row.mechanism.as_deref().unwrap_or("-"));
        let _infallible =
            writeln!(text, "{:<11}{variant:<11}{:<11}{supported:<11}{mechanism}", row.fault, row.direction);
    }
    for (why, rows) in reasons(check) {
        let names: Vec<String> = rows.iter().map(|row| name(row)).collect();
        let names = if rows.len() == check.faults.len() { "all faults".to_owned() } else { names.join(", ") };
        let _infallible = writeln!(text, "\n{names}: {}", why.trim_end());
        if let Some(remedy) = rows.first().and_then(|row| row.remedy.as_ref()) {
            let _infallible = writeln!(text, "  -> {remedy}");
        }
    }
    calls(check, &mut text);
    text
}

/// Calls by mechanism, then those that cannot be hit by reason; and those in which threads can sleep, or not.
fn calls(check: &Check, text: &mut String) {
    grouped(&check.calls, text, |row| match &row.mechanism {
        Some(by) => (true, format!("system calls by {by}")),
        None => {
            // The reason names the call in front; what follows is the same for many.
            let why = row.why.as_deref().unwrap_or("no");
            (false, format!("system calls {}", why.strip_prefix(&row.call).unwrap_or(why).trim_start()))
        }
    });
    // The reasons differ in the name of a hook alone. What cannot be hit is not delayed either.
    grouped(check.calls.iter().filter(|row| row.supported), text, |row| match row.sleeps {
        true => (true, "delays beyond 200 us".to_owned()),
        false => (false, "delays of 200 us at most (`chaos check -o json` says why)".to_owned()),
    });
    for (bypass, what) in [
        (Bypass::IoUring, "not hit where a program lets io_uring do it"),
        (Bypass::Compat, "not hit in 32-bit programs, whose calls come another way"),
    ] {
        let passed = check.calls.iter().filter(|row| row.bypasses.contains(&bypass));
        grouped(passed, text, |_| (false, what.to_owned()));
    }
}

/// The calls under their headings, of which those that stand for something possible come first.
fn grouped<'a>(
    calls: impl IntoIterator<Item = &'a CallRow>,
    text: &mut String,
    heading: impl Fn(&CallRow) -> (bool, String),
) {
    let mut groups: Vec<((bool, String), Vec<&str>)> = Vec::new();
    for row in calls {
        let key = heading(row);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(&row.call),
            None => groups.push((key, vec![&row.call])),
        }
    }
    groups.sort_by_key(|((possible, _), _)| !possible);
    for ((_, heading), names) in groups {
        let _infallible = writeln!(text, "\n{heading}:\n  {}", names.join(" "));
    }
}

fn name(row: &Row) -> String {
    let variant = row.variant.as_ref().map_or(String::new(), |variant| format!(" ({variant})"));
    format!("{}{variant} {}", row.fault, row.direction)
}

/// What is not supported, by reason: one lack often takes several.
fn reasons(check: &Check) -> Vec<(&str, Vec<&Row>)> {
    let mut reasons: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in &check.faults {
        let Some(why) = row.why.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, rows)) => rows.push(row),
            None => reasons.push((why, vec![row])),
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_past_a_fault_are_named() {
        let row = |call: &str, bypasses: &[Bypass]| CallRow {
            call: call.to_owned(),
            supported: true,
            mechanism: Some("lsm".to_owned()),
            bypasses: bypasses.to_vec(),
            ..CallRow::default()
        };
        let (io_uring, compat) = (Bypass::IoUring, Bypass::Compat);
        let calls = vec![row("read", &[io_uring, compat]), row("mmap", &[compat]), row("bind", &[])];
        let mut text = String::new();
        super::calls(&Check { calls, ..Check::default() }, &mut text);
        assert!(text.contains("lets io_uring do it:\n  read\n"), "{text}");
        assert!(text.ends_with("whose calls come another way:\n  read mmap\n"), "{text}");
    }

    #[test]
    fn a_reason_that_several_share_is_said_once() {
        let row = |fault: &str, why: Option<&str>| Row {
            fault: fault.to_owned(),
            direction: "egress".to_owned(),
            supported: why.is_none(),
            why: why.map(str::to_owned),
            remedy: why.map(|_| "load sch_fq".to_owned()),
            ..Row::default()
        };
        let check = Check {
            kernel: "6.12".to_owned(),
            arch: "x86_64".to_owned(),
            mechanism: Some("tcx"),
            note: None,
            calls: Vec::new(),
            faults: vec![row("loss", None), row("latency", Some("no fq")), row("bandwidth", Some("no fq"))],
        };
        let text = table(&check);
        assert!(text.contains("loss       -          egress     yes"), "{text}");
        assert!(text.ends_with("\nlatency egress, bandwidth egress: no fq\n  -> load sch_fq\n"), "{text}");
    }
}
