//! `chaos wait`: for scripts.

use super::{Until, fail, report};
use chaos_engine::{RunEntry, journal, kept};
use chaos_outcome::EngineError;
use chaos_outcome::ExitCode;
use chaos_sys::datapath::Datapath;
use std::time::{Duration, Instant};

/// How often to look.
const TICK: Duration = Duration::from_millis(5);
/// An experiment may be reverted already, and its report not yet written.
const GRACE: Duration = Duration::from_millis(500);

/// How an experiment stands to what is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is so.
    Reached,
    /// It is active, and it is not so yet.
    Active,
    /// No active experiment has this name.
    Absent,
}

/// Returns as soon as it is so; exit code 1 where it is not so in time, 2 where the end of an experiment is awaited that nobody remembers.
pub fn wait(name: &str, until: Until, timeout: Duration) -> ExitCode {
    let begin = Instant::now();
    let limit = begin + timeout;
    let (mut datapath, mut seen) = (None, false);
    loop {
        let standing = is_so(name, until, &mut datapath);
        seen |= matches!(standing, Ok(Standing::Active | Standing::Reached));
        if until == Until::Ended && matches!(standing, Ok(Standing::Absent)) {
            match kept::find(name) {
                _ if seen => return ExitCode::Pass,
                Ok(Some(_)) => return ExitCode::Pass,
                Ok(None) if begin.elapsed() >= GRACE.min(timeout) => return fail(&report::unknown(name)),
                Ok(None) => {}
                Err(error) => return fail(&error),
            }
        }
        match standing.map(|standing| standing == Standing::Reached) {
            Ok(true) => return ExitCode::Pass,
            Ok(false) if Instant::now() < limit => std::thread::sleep(TICK),
            Ok(false) => {
                let what = match until {
                    Until::Injected => "was not injected",
                    Until::Hit => "has hit nothing",
                    Until::Ended => "has not ended",
                };
                let text = format!("{name} {what} within {}", humantime::format_duration(timeout));
                return fail(&EngineError::Failed(text));
            }
            // A journal that is damaged is set aside by the start that is awaited.
            Err(_) if until != Until::Ended && Instant::now() < limit => std::thread::sleep(TICK),
            Err(error) => return fail(&error),
        }
    }
}

fn is_so(name: &str, until: Until, datapath: &mut Option<Datapath>) -> Result<Standing, EngineError> {
    let journal = journal::peek()?;
    let run = journal.runs.iter().find(|run| run.is_called(name) && run.owner().is_alive());
    let (Some(run), Some(ids)) = (run, &journal.datapath) else { return Ok(Standing::Absent) };
    let reached = match until {
        Until::Ended => false,
        Until::Injected => !run.started_at.is_empty(),
        Until::Hit => {
            if datapath.is_none() {
                *datapath = Some(Datapath::join(ids)?);
            }
            datapath.as_ref().map_or(Ok(false), |datapath| has_hit(datapath, run))?
        }
    };
    Ok(if reached { Standing::Reached } else { Standing::Active })
}

fn has_hit(datapath: &Datapath, run: &RunEntry) -> Result<bool, EngineError> {
    for rule in &run.rules {
        let counters = datapath.count(*rule)?;
        if counters.injected + counters.would_inject > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
