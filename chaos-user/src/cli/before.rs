//! The probes before the faults: where one fails, nothing is attached.

use super::watch::{TICK, not_injected, signal_name};
use chaos_engine::Request;
use chaos_outcome::EngineError;
use chaos_outcome::{Ending, Report};
use chaos_probe::{Anywhere, Cause, Phase, Place, Places, Probes, Reach};
use chaos_spec::ProbePhase;
use std::{
    fs, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Prepares the probes of all experiments.
///
/// # Errors
/// What cannot be asked from here, with its field.
pub fn prepare(requests: &mut [Request]) -> Result<Vec<Probes>, EngineError> {
    // Absent in a small container: then no name is known, which the error says.
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let anywhere: Arc<dyn Reach> = Arc::new(Anywhere);
    let reach = |_: &str| Arc::clone(&anywhere);
    let place = Place { hosts: &hosts, reach: &reach, places: Places::unbounded() };
    let each = requests.iter_mut().map(|request| {
        Probes::new(&mem::take(&mut request.probes), &place).map_err(|refused| {
            let text = format!("Experiment/{}: {}", request.plan.name, refused.text);
            match refused.cause {
                Cause::Invalid => EngineError::Invalid(vec![text]),
                Cause::Impossible => EngineError::Unsupported(text),
                Cause::Forbidden => EngineError::Refused(text),
            }
        })
    });
    each.collect()
}

/// Runs them until each has succeeded or failed. The reports of all where nothing may be injected; else none.
///
/// # Errors
/// Where no thread can be made.
pub fn before(
    requests: &[Request],
    probes: &mut [Probes],
    signal: &AtomicUsize,
) -> Result<Option<Vec<Report>>, EngineError> {
    let phases = probes.iter().map(|probes| probes.start(ProbePhase::Before, None)).collect::<Result<Vec<_>, _>>();
    let phases = phases.map_err(|error| EngineError::Failed(format!("start a thread for a probe: {error}")))?;
    while signal.load(Ordering::Relaxed) == 0 && !phases.iter().all(Phase::decided) {
        std::thread::sleep(TICK);
    }
    let failed: Vec<bool> = phases.iter().map(|phase| phase.failed().is_some()).collect();
    for (probes, phase) in probes.iter_mut().zip(phases) {
        probes.keep(phase);
    }
    let stopped = signal_name(signal.load(Ordering::Relaxed));
    let first = failed.iter().position(|failed| *failed).and_then(|index| requests.get(index));
    let why = match (stopped, first) {
        (Some(name), _) => format!("stopped by {name} before the faults: nothing was injected"),
        (None, Some(request)) => {
            format!("a probe of {} failed before the faults: nothing was injected", request.plan.name)
        }
        (None, None) => return Ok(None),
    };
    // The verdict of those whose probe failed comes from the probe.
    let each = requests.iter().zip(probes.iter());
    Ok(Some(each.map(|(request, probes)| not_injected(request, probes, Ending::Aborted(why.clone()))).collect()))
}
