//! `chaos cleanup`.

use super::fail;
use chaos_engine::{journal, marks, reap};
use chaos_outcome::EngineError;
use chaos_outcome::ExitCode;
use chaos_sys::search;

/// Removes what dead processes left, also what no journal names any more.
pub fn cleanup() -> ExitCode {
    match clean() {
        Ok(removed) if removed.is_empty() => println!("nothing was left"),
        Ok(removed) => removed.iter().for_each(|line| println!("{line}")),
        Err(error) => return fail(&error),
    }
    match search::lost_tables() {
        Ok(tables) if !tables.is_empty() => eprintln!(
            "the kernel keeps {} empty tables of ended runs, about 1 KiB each, until the next boot: it loses count of a table that \
             somebody looks at while its run ends",
            tables.len()
        ),
        // To look is all that could fail: nothing hangs on it.
        _ => {}
    }
    ExitCode::Pass
}

fn clean() -> Result<Vec<String>, EngineError> {
    let (mut locked, damage) = journal::lock_any()?;
    let mut removed = Vec::new();
    if let Some(damage) = damage {
        // Its owners would not find it again.
        marks::nobody_is_unnamed(&locked.journal)?;
        removed.push(format!("{damage}\nset aside as {}", locked.set_aside()?));
    }
    let reaped = reap::reap(&mut locked)?;
    removed.extend(reaped.runs.iter().map(|name| format!("removed experiment {name}, whose process is gone")));
    removed.extend(reaped.points.iter().map(|point| format!("removed what was attached to {point}")));
    removed.extend(reaped.cgroups.iter().map(|directory| format!("removed cgroup {}", directory.display())));
    removed.extend(marks::sweep(&locked.journal)?.iter().map(|mark| format!("removed {mark}")));
    let foreign = locked.journal.foreign.entries();
    if foreign > 0 {
        removed
            .push(format!("kept {foreign} entries of a later version of chaos; run `chaos cleanup` of that version"));
    }
    Ok(removed)
}
