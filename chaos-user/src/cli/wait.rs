//! `chaos wait`: for scripts.

use super::{Until, fail};
use crate::{
    engine::{EngineError, RunEntry, journal},
    kernel::datapath::Datapath,
    observe::ExitCode,
};
use std::time::{Duration, Instant};

/// How often to look.
const TICK: Duration = Duration::from_millis(5);

/// Returns as soon as it is so; exit code 1 where it is not so in time.
pub fn wait(name: &str, until: Until, timeout: Duration) -> ExitCode {
    let limit = Instant::now() + timeout;
    let mut datapath = None;
    loop {
        match is_so(name, until, &mut datapath) {
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
            Err(error) => return fail(&error),
        }
    }
}

fn is_so(name: &str, until: Until, datapath: &mut Option<Datapath>) -> Result<bool, EngineError> {
    let journal = journal::peek()?;
    let run = journal.runs.iter().find(|run| run.is_called(name) && run.owner().is_alive());
    let (Some(run), Some(ids)) = (run, &journal.datapath) else { return Ok(until == Until::Ended) };
    match until {
        Until::Ended => Ok(false),
        Until::Injected => Ok(!run.started_at.is_empty()),
        Until::Hit => {
            if datapath.is_none() {
                *datapath = Some(Datapath::join(ids)?);
            }
            datapath.as_ref().map_or(Ok(false), |datapath| has_hit(datapath, run))
        }
    }
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
