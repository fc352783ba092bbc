//! From text to validated experiments.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::yaml::{self, Document};
use super::{Experiment, Finding, Path, Problem, generated, rules, schema, walk};

/// An experiment that passed every check, and where it came from.
#[derive(Debug)]
pub struct Parsed {
    /// The experiment.
    pub experiment: Experiment,
    /// What is allowed but probably not meant, each with its path. Warnings do not change a verdict.
    pub warnings: Vec<String>,
    file: String,
    document: Document,
}

impl Parsed {
    /// The file, as it was given to [`parse`].
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The problem that a later step found, with the line of its field: an absent target, for example.
    pub fn problem(&self, finding: Finding) -> Problem {
        located(&self.file, &self.document, finding)
    }
}

/// What [`check`] says to a document.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong; the experiment must not be run.
    pub errors: Vec<Finding>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Finding>,
}

/// Reads the experiments of a YAML text; `file` is only for the messages. Empty documents are passed over.
///
/// # Errors
/// Every problem of every document at once, in the order of the lines: what is no YAML, doubled keys, anchors, aliases
/// and tags, unknown fields, wrong types, values out of range, broken rules, names that two documents share. A text
/// without any experiment is a problem too. Nothing panics, whatever the text.
pub fn parse(file: &str, text: &str) -> Result<Vec<Parsed>, Vec<Problem>> {
    read(file, yaml::read(text))
}

/// The same where a command is to be started: an experiment without a selector means that command.
///
/// # Errors
/// As [`parse`].
pub fn parse_for_command(file: &str, text: &str) -> Result<Vec<Parsed>, Vec<Problem>> {
    let mut documents = yaml::read(text);
    for document in &mut documents {
        if let Some(spec) = document.value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.entry("selector").or_insert_with(|| json!({ "local": [{ "command": true }] }));
        }
    }
    read(file, documents)
}

fn read(file: &str, documents: Vec<Document>) -> Result<Vec<Parsed>, Vec<Problem>> {
    let mut documents: Vec<Document> = documents.into_iter().filter(|document| !document.is_empty()).collect();
    documents.iter_mut().for_each(|document| generated::name(&mut document.value));
    if documents.is_empty() {
        let message = "holds no experiment; see the samples".to_owned();
        return Err(vec![Problem { file: file.to_owned(), line: 1, experiment: None, path: String::new(), message }]);
    }
    let mut problems = shared_names(file, &documents);
    let mut parsed = Vec::new();
    for document in documents {
        match experiment(file, document) {
            Ok(experiment) => parsed.push(experiment),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        return Ok(parsed);
    }
    // Stable: within a line they stay in the order of their columns.
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// Checks an experiment that did not come from a file: a custom resource, or one that was changed after parsing.
///
/// `document` is the whole object with apiVersion, kind, metadata and spec, with the metadata that a file may hold.
pub fn check(document: &Value) -> Checked {
    let mut found = rules::apply(document);
    let mut errors = walk::walk(schema::cached(), document);
    errors.append(&mut found.errors);
    Checked { errors, warnings: found.warnings }
}

/// Refuses what `chaos run` cannot serve: pods need a cluster.
///
/// # Errors
/// Where the experiment selects pods.
pub fn require_local(experiment: &Experiment) -> Result<(), Finding> {
    if experiment.spec.selector.pods.is_none() {
        return Ok(());
    }
    let message =
        "pods are of a cluster, and this command acts on this machine alone; use kubectl chaos run, or select by local";
    Err(Finding::new(Path::root().field("spec.selector.pods"), message))
}

/// Refuses what a cluster cannot serve: local targets are for `chaos run` alone.
///
/// # Errors
/// Where the experiment selects local targets.
pub fn require_pods(experiment: &Experiment) -> Result<(), Finding> {
    if experiment.spec.selector.local.is_empty() {
        return Ok(());
    }
    let message =
        "local targets are of one machine, and this is a cluster; use chaos run on that machine, or select by pods";
    Err(Finding::new(Path::root().field("spec.selector.local"), message))
}

fn experiment(file: &str, document: Document) -> Result<Parsed, Vec<Problem>> {
    let name = name(&document.value);
    let of_yaml = document.faults.iter().map(|fault| Problem {
        file: file.to_owned(),
        line: fault.line,
        experiment: name.clone(),
        path: fault.path.to_string(),
        message: fault.message.clone(),
    });
    let mut problems: Vec<Problem> = of_yaml.collect();
    // A text that stops in the middle lacks fields for that reason alone.
    let mut checked = if document.broken { Checked::default() } else { check(&document.value) };
    checked.errors.sort_by_key(|finding| document.place(&finding.path));
    checked.warnings.sort_by_key(|finding| document.place(&finding.path));
    problems.extend(checked.errors.into_iter().map(|finding| located(file, &document, finding)));
    if !problems.is_empty() {
        return Err(problems);
    }
    let warnings = checked.warnings.iter().map(ToString::to_string).collect();
    match serde_json::from_value(document.value.clone()) {
        Ok(experiment) => Ok(Parsed { experiment, warnings, file: file.to_owned(), document }),
        // Only where the schema and the types disagree, which a test over every field excludes.
        Err(error) => Err(vec![located(file, &document, Finding::new(Path::root(), error.to_string()))]),
    }
}

fn located(file: &str, document: &Document, finding: Finding) -> Problem {
    Problem {
        file: file.to_owned(),
        line: document.line(&finding.path),
        experiment: name(&document.value),
        path: finding.path.to_string(),
        message: finding.message,
    }
}

/// The experiment's name, if the document gives one that can be printed.
fn name(document: &Value) -> Option<String> {
    let name = document["metadata"]["name"].as_str()?;
    (!name.is_empty() && name.len() <= 253 && !name.contains(char::is_control)).then(|| name.to_owned())
}

/// Two active experiments never share a name, so two of a file must not.
fn shared_names(file: &str, documents: &[Document]) -> Vec<Problem> {
    let mut seen: HashMap<(String, Option<&str>), usize> = HashMap::new();
    let mut problems = Vec::new();
    for document in documents {
        let path = Path::root().field("metadata.name");
        let namespace = document.value["metadata"]["namespace"].as_str();
        let Some(name) = name(&document.value) else { continue };
        if let Some(line) = seen.get(&(name.clone(), namespace)) {
            let message = format!("{name:?} is the name of the experiment at line {line} already; give each its own");
            problems.push(located(file, document, Finding::new(path, message)));
        } else {
            seen.insert((name, namespace), document.line(&path));
        }
    }
    problems
}
