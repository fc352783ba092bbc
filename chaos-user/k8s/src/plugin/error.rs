//! What the API server refuses, in a user's words and with an exit code.

use chaos_outcome::EngineError;
use kube::core::{Status, response::StatusCause};
use std::{error::Error as _, fmt::Write as _};

/// What was asked of the API server.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `list`.
    pub verb: &'static str,
    /// The plural of the kind: `experiments`.
    pub resource: &'a str,
    /// The namespace; None: the whole cluster.
    pub namespace: Option<&'a str>,
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" of the cluster"),
        }
    }
}

/// The error by its exit code.
#[must_use]
pub fn translated(error: &kube::Error, asked: Asked<'_>, server: &str) -> EngineError {
    match error {
        kube::Error::Api(status) => refused(status, asked),
        kube::Error::Service(_) | kube::Error::HyperError(_) => EngineError::Failed(format!(
            "reach the API server at {server}: {}; see that it runs, and that this is the right --context",
            root(error)
        )),
        kube::Error::Auth(_) => EngineError::Unsupported(format!(
            "get the credentials for {server}: {}; see the user of the kubeconfig",
            chain(error)
        )),
        kube::Error::SerdeError(_) => EngineError::Failed(format!(
            "{asked}: {error}; see that the definitions in the cluster are of this version (chaos crd)"
        )),
        other => EngineError::Failed(format!("{asked}: {}", chain(other))),
    }
}

/// An answer that is an error.
#[must_use]
pub fn refused(status: &Status, asked: Asked<'_>) -> EngineError {
    let message = status.message.trim();
    let of_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    match status.code {
        401 => EngineError::Unsupported(
            "the API server does not know you (401 Unauthorized); see the credentials of the kubeconfig".to_owned(),
        ),
        403 if message.contains("cannot ") => EngineError::Unsupported(format!(
            "you may not {asked}; ask for {}, or for a role with verb {} on {} ({message})",
            binding(asked),
            asked.verb,
            asked.resource
        )),
        403 => EngineError::Refused(format!("{asked}: {message}")),
        404 if !of_object => EngineError::Unsupported(format!(
            "chaos is not installed in this cluster: kubectl apply -k manifests/ (the API server knows no {})",
            asked.resource
        )),
        400 | 404 | 409 => EngineError::Invalid(vec![message.to_owned()]),
        422 if message.contains("denied request") || message.contains("denied the request") => {
            EngineError::Refused(format!("{asked}: {message}"))
        }
        422 => EngineError::Invalid(problems(status).into_iter().map(|(_, line)| line).collect()),
        code => EngineError::Failed(format!("{asked}: {message} ({code})")),
    }
}

/// What gives this right, of the roles that come with the manifests.
fn binding(asked: Asked<'_>) -> String {
    match (asked.resource, asked.namespace) {
        ("halts", _) => "a ClusterRoleBinding of chaos-operator".to_owned(),
        ("nodeagents" | "nodes", _) => "a ClusterRoleBinding of chaos-cluster-reader".to_owned(),
        (_, None) => "a ClusterRoleBinding of chaos-author".to_owned(),
        (_, Some(namespace)) => format!("a RoleBinding of ClusterRole chaos-author in namespace {namespace}"),
    }
}

/// What is wrong with an object: field and text, one entry per problem; the API server says some of them twice.
#[must_use]
pub fn problems(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let mut all: Vec<(String, String)> = Vec::new();
    for StatusCause { field, message, .. } in causes {
        // What follows from another problem, and says nothing of its own.
        if message.contains("some validation rules were not checked") && causes.len() > 1 {
            continue;
        }
        let field = if field == "<nil>" { String::new() } else { field.clone() };
        let text = without_value(message);
        if !all.iter().any(|(known, other)| *known == field && *other == text) {
            all.push((field, text));
        }
    }
    if all.is_empty() {
        all.push((String::new(), status.message.trim().to_owned()));
    }
    all
}

/// `Invalid value: "object": says why` becomes `says why`: the value is in the user's file.
fn without_value(message: &str) -> String {
    let text = message.strip_prefix("Invalid value: ").map(|rest| match rest.split_once("\": ") {
        Some((value, text)) if value.starts_with('"') => text,
        _ => rest,
    });
    text.unwrap_or(message).to_owned()
}

/// The innermost cause: `Connection refused (os error 111)`.
fn root(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// All causes, each said once.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            let _infallible = write!(text, ": {said}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ASKED: Asked<'_> = Asked { verb: "list", resource: "experiments", namespace: Some("shop") };

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_kind_that_is_unknown_is_another_thing_than_an_object_that_is_not_there() {
        let kind = refused(&status(json!({ "code": 404, "message": "404 page not found" })), ASKED);
        let EngineError::Unsupported(text) = kind else { panic!("{kind:?}") };
        assert!(text.contains("kubectl apply -k manifests/"), "{text}");
        let object = json!({
            "code": 404, "message": "experiments.chaos-ebpf.dev \"cut\" not found",
            "details": { "name": "cut", "kind": "experiments" }
        });
        let lines = vec!["experiments.chaos-ebpf.dev \"cut\" not found".to_owned()];
        assert_eq!(refused(&status(object), ASKED), EngineError::Invalid(lines));
    }

    #[test]
    fn missing_rights_name_verb_and_resource_and_a_policy_is_a_refusal() {
        let message = "experiments.chaos-ebpf.dev is forbidden: User \"eve\" cannot list resource \"experiments\"";
        let rights = refused(&status(json!({ "code": 403, "message": message })), ASKED);
        let EngineError::Unsupported(text) = rights else { panic!("{rights:?}") };
        assert!(text.starts_with("you may not list experiments in namespace shop; "), "{text}");
        assert!(text.contains("a RoleBinding of ClusterRole chaos-author in namespace shop"), "{text}");
        assert!(text.contains("verb list on experiments ("), "{text}");
        let policy =
            "experiments \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        for code in [403, 422] {
            let policy = refused(&status(json!({ "code": code, "message": policy })), ASKED);
            assert!(matches!(&policy, EngineError::Refused(text) if text.contains("denied request: no")), "{policy:?}");
        }
    }

    #[test]
    fn one_line_per_problem() {
        let invalid = status(json!({
            "code": 422, "message": "all in one line",
            "details": { "name": "cut", "causes": [
                { "field": "spec.duration", "message": "Invalid value: \"string\": is out of range; write 100ms to 24h" },
                { "field": "spec.duration", "message": "Invalid value: \"string\": is out of range; write 100ms to 24h" },
                { "field": "spec.faults", "message": "Required value" },
                { "field": "<nil>", "message": "Invalid value: null: some validation rules were not checked because" },
            ] }
        }));
        let expected = [("spec.duration", "is out of range; write 100ms to 24h"), ("spec.faults", "Required value")];
        assert_eq!(problems(&invalid), expected.map(|(field, text)| (field.to_owned(), text.to_owned())));
        assert_eq!(problems(&status(json!({ "code": 422, "message": "so" }))), [(String::new(), "so".to_owned())]);
    }
}
