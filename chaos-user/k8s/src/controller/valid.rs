//! What the API server should have refused.

use crate::api::Experiment;
use chaos_spec as spec;
use kube::ResourceExt;

/// Whether this is an experiment that a cluster can carry out.
///
/// # Errors
/// Every problem.
pub fn valid(experiment: &Experiment) -> Result<(), String> {
    let spec = &experiment.spec;
    let whole = spec::Experiment::new(experiment.name_any(), experiment.namespace(), spec.clone());
    let checked = whole.check().map_err(|error| error.to_string())?;
    if !checked.errors.is_empty() {
        let all: Vec<String> = checked.errors.iter().map(ToString::to_string).collect();
        return Err(all.join("; "));
    }
    if spec.selector.pods.is_none() || !spec.selector.local.is_empty() {
        return Err("spec.selector: a cluster selects by pods, and by nothing else".to_owned());
    }
    Ok(())
}
