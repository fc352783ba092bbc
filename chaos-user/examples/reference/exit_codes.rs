//! Verdicts and exit codes, from their types.

use crate::text::{columns, head, plain, row};
use chaos_outcome::{ExitCode, Verdict, combined};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

/// The page.
pub fn page() -> String {
    let mut page = head("Exit codes", "the types Verdict and ExitCode");
    page += "Each verdict has one exit code. Commands without a verdict use the same codes.\n\n";
    page += &columns(&["code", "verdict", "of an experiment", "of any command"]);
    let meanings = variants::<ExitCode>();
    let mut rows: Vec<(u8, String)> = variants::<Verdict>()
        .into_iter()
        .filter_map(|(name, meaning)| {
            let verdict: Verdict = serde_json::from_value(Value::String(name.clone())).ok()?;
            let number = ExitCode::from(verdict).number();
            let general = meanings.iter().find(|(code, _)| *code == name)?;
            let cells = [number.to_string(), format!("`{name}`"), plain(&meaning), plain(&general.1)];
            Some((number, row(&cells)))
        })
        .collect();
    rows.sort();
    page.extend(rows.into_iter().map(|(_, row)| row));
    page += "\nWith several files the exit code is that of the gravest verdict.\n";
    page += &format!("From the gravest on: {}.\n", by_gravity().join(", "));
    page
}

/// The codes from the gravest on, as `combined` chooses them.
fn by_gravity() -> Vec<String> {
    let names = variants::<Verdict>().into_iter();
    let verdicts = names.filter_map(|(name, _)| serde_json::from_value::<Verdict>(Value::String(name)).ok());
    let mut codes: Vec<ExitCode> = verdicts.map(ExitCode::from).collect();
    let mut ordered = Vec::new();
    while !codes.is_empty() {
        let gravest = combined(codes.iter().copied());
        codes.retain(|code| *code != gravest);
        ordered.push(format!("`{gravest:?}`"));
    }
    ordered
}

/// The names and the documentation of an enum's variants.
fn variants<T: JsonSchema>() -> Vec<(String, String)> {
    let schema: Value = SchemaGenerator::default().into_root_schema_for::<T>().into();
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    variants.iter().map(|one| (text(&one["const"]), text(&one["description"]))).collect()
}
