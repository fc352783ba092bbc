//! What this kernel lacks is refused before anything is attached.

use super::{EngineError, arrivals, calls::without_cgroup, limit, queue, trial::Trial};
use chaos_host::Target;
use chaos_spec::{OnUnsupported, plan::Plan};
use chaos_sys::{error::KernelError, probe};
use std::sync::OnceLock;

/// Can the kernel do what the plan asks of these targets?
///
/// # Errors
/// The first fault that it cannot, by exit code.
pub fn possible(plan: &Plan, targets: &[Target]) -> Result<(), EngineError> {
    probe::realtime()?;
    if let Some(rule) = plan.rules.iter().find(|rule| rule.queue.is_some()) {
        // Once for all experiments of this process.
        static QUEUE: OnceLock<Result<(), KernelError>> = OnceLock::new();
        if let Err(error) = QUEUE.get_or_init(probe::queue) {
            let text = format!("spec.faults[{}].network.{}: {error}", rule.fault, rule.kind);
            return Err(match EngineError::from(error.clone()) {
                EngineError::Unsupported(_) => EngineError::Unsupported(text),
                _ => EngineError::Failed(text),
            });
        }
    }
    for rule in &plan.rules {
        let Some(call) = &rule.call else { continue };
        let path = format!("spec.faults[{}].syscall", rule.fault);
        if let Some(target) = targets.iter().find(|target| target.cgroup.is_none()) {
            return Err(EngineError::Unsupported(format!("{path}: {}", without_cgroup(&target.name))));
        }
        Trial::get().choose(call).map_err(|why| EngineError::Unsupported(format!("{path}: {why}")))?;
    }
    for target in targets {
        arrivals::possible(plan, target)
            .and_then(|()| limit::possible(plan, target))
            .and_then(|()| queue::possible(plan, target))
            .map_err(EngineError::Unsupported)?;
    }
    Ok(())
}

/// The same where faults that the kernel cannot do may be left out: takes them from the plan, and says which.
///
/// # Errors
/// What it cannot for another reason than a fault; where faults may not be left out, as [`possible`].
pub fn reduce(plan: &mut Plan, targets: &[Target]) -> Result<Vec<String>, EngineError> {
    let error = match possible(plan, targets) {
        Ok(()) => return Ok(Vec::new()),
        Err(EngineError::Unsupported(text)) if plan.on_unsupported == OnUnsupported::Skip => text,
        Err(error) => return Err(error),
    };
    let rules = std::mem::take(&mut plan.rules);
    let mut left_out = Vec::new();
    for rule in rules {
        let alone = Plan { rules: vec![rule.clone()], ..plan.clone() };
        match possible(&alone, targets) {
            Ok(()) => plan.rules.push(rule),
            Err(EngineError::Unsupported(text)) => {
                left_out.push(format!("left out: {text}"));
                // What was left out by permission has not failed to act.
                if let Some(fault) = plan.faults.get_mut(rule.fault) {
                    fault.optional = true;
                }
            }
            Err(error) => return Err(error),
        }
    }
    if plan.rules.is_empty() { Err(EngineError::Unsupported(error)) } else { Ok(left_out) }
}
