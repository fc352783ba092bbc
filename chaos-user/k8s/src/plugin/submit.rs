//! Experiments of files become objects.

use super::{
    cluster::{Cluster, MANAGER},
    error::{Asked, problems},
};
use crate::api::Experiment;
use chaos_outcome::EngineError;
use chaos_spec::{Finding, Parsed, Path};
use kube::{Api, ResourceExt, api::PostParams};
use std::collections::BTreeSet;

/// The objects, not in the cluster yet.
///
/// # Errors
/// A namespace that contradicts the one that was asked for; two of one name.
pub fn objects(cluster: &Cluster, parsed: &[Parsed], dry_run: bool) -> Result<Vec<Experiment>, EngineError> {
    let (mut all, mut wrong, mut places) = (Vec::new(), Vec::new(), BTreeSet::new());
    for one in parsed {
        let metadata = &one.experiment.metadata;
        let mut spec = one.experiment.spec.clone();
        spec.dry_run |= dry_run;
        let mut object = Experiment::new(&metadata.name, spec);
        object.metadata.namespace = Some(metadata.namespace.clone().unwrap_or_else(|| cluster.namespace.clone()));
        object.metadata.labels = (!metadata.labels.is_empty()).then(|| metadata.labels.clone());
        object.metadata.annotations = (!metadata.annotations.is_empty()).then(|| metadata.annotations.clone());
        let namespace = object.namespace().unwrap_or_default();
        let finding =
            |field: &str, text: String| one.problem(Finding::new(Path::root().field(field), text)).to_string();
        if cluster.named && namespace != cluster.namespace {
            let text =
                format!("{namespace:?} is not {:?}, which -n asks for; leave out one of them", cluster.namespace);
            wrong.push(finding("metadata.namespace", text));
        }
        if !places.insert((namespace, metadata.name.clone())) {
            let text =
                format!("{:?} is the name of another experiment of these files; give each its own", metadata.name);
            wrong.push(finding("metadata.name", text));
        }
        all.push(object);
    }
    if wrong.is_empty() { Ok(all) } else { Err(EngineError::Invalid(wrong)) }
}

/// Asks the API server what it would say, admission included; nothing is made. The objects as it would make them.
///
/// # Errors
/// Every problem of every experiment, with file and line; anything else at once.
pub async fn try_all(
    cluster: &Cluster,
    parsed: &[Parsed],
    objects: &[Experiment],
) -> Result<Vec<Experiment>, EngineError> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (parsed, object) in parsed.iter().zip(objects) {
        match create(cluster, parsed, object, true).await {
            Ok(made) => all.push(made),
            Err(EngineError::Invalid(lines)) => wrong.extend(lines),
            Err(error) => return Err(error),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(EngineError::Invalid(wrong)) }
}

/// As [`try_all`]; of one whose name is taken already it is asked what would be said of it under another name. Which ones these are.
///
/// # Errors
/// As [`try_all`].
pub async fn try_anew(
    cluster: &Cluster,
    parsed: &[Parsed],
    objects: &[Experiment],
) -> Result<(Vec<Experiment>, Vec<bool>), EngineError> {
    let (mut tried, mut existing) = (objects.to_vec(), Vec::new());
    for object in &mut tried {
        let namespace = object.namespace();
        let api: Api<Experiment> = cluster.api(namespace.as_deref());
        let asked = Asked { verb: "get", resource: "experiments", namespace: namespace.as_deref() };
        // Where that may not be asked it is taken for new: what the API server says next has file and line.
        let found = cluster.call(asked, api.get_metadata_opt(&object.name_any())).await.ok().flatten();
        existing.push(found.is_some());
        if found.is_some() {
            (object.metadata.name, object.metadata.generate_name) = (None, Some("kubectl-chaos-plan-".to_owned()));
        }
    }
    let mut made = try_all(cluster, parsed, &tried).await?;
    made.iter_mut().zip(objects).for_each(|(made, object)| made.metadata.name.clone_from(&object.metadata.name));
    Ok((made, existing))
}

/// Makes one, or asks whether it could be made.
///
/// # Errors
/// What the API server says to it.
pub async fn create(
    cluster: &Cluster,
    parsed: &Parsed,
    object: &Experiment,
    dry_run: bool,
) -> Result<Experiment, EngineError> {
    let namespace = object.namespace();
    let api: Api<Experiment> = cluster.api(namespace.as_deref());
    let asked = Asked { verb: "create", resource: "experiments", namespace: namespace.as_deref() };
    let parameters = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
    let result = cluster.call(asked, async { Ok(api.create(&parameters, object).await) }).await?;
    let error = match result {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    let translated = cluster.translate(&error, asked);
    let (kube::Error::Api(status), EngineError::Invalid(_)) = (&error, &translated) else { return Err(translated) };
    let located = |(field, text): (String, String)| parsed.problem(Finding::new(path(&field), text)).to_string();
    let lines = if status.code == 409 {
        let text = format!(
            "{name} exists already in namespace {space}; an experiment runs once: kubectl delete experiment {name} -n {space}, write \
             another name, or generateName in its place",
            name = object.name_any(),
            space = namespace.unwrap_or_default()
        );
        vec![located(("metadata.name".to_owned(), text))]
    } else if status.code == 404 {
        // What is not found when something is made is what it would be in.
        vec![located(("metadata.namespace".to_owned(), status.message.clone()))]
    } else {
        problems(status).into_iter().map(located).collect()
    };
    Err(EngineError::Invalid(lines))
}

/// A field as the API server writes it: `spec.faults[0].network`. What cannot be read ends it: the line is then of what it stands in.
fn path(field: &str) -> Path {
    let mut path = Path::root();
    for part in field.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        if !name.is_empty() {
            path = path.key(name);
        }
        for index in indices.into_iter().flat_map(|rest| rest.split('[')) {
            match index.trim_end_matches(']').parse() {
                Ok(index) => path = path.index(index),
                Err(_) => return path,
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_api_server_writes_them() {
        for field in ["spec.faults[0].network.match", "spec.faults[12]", "metadata.name", ""] {
            assert_eq!(path(field).to_string(), field);
        }
        assert_eq!(path("spec.selector[app.kubernetes.io/name].x").to_string(), "spec.selector");
    }
}
