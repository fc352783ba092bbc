//! Writes reports as one text, in each of the formats.

use std::str::FromStr;

use anyhow::Result;

use super::Report;
use super::{junit, table};

/// A format of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// JSON: one object per report, one after another.
    Json,
    /// YAML: one document per report.
    Yaml,
    /// JUnit's XML: one suite per experiment, one case per fault.
    Junit,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "junit" => Ok(Self::Junit),
            _ => Err(format!("{text:?} is no format; write table, json, yaml or junit")),
        }
    }
}

/// The reports in this format, ending with an end of line.
///
/// # Errors
/// Where a report cannot be written as JSON or YAML, which holds for none that this program makes.
pub fn render(reports: &[Report], format: Format) -> Result<String> {
    match format {
        Format::Table => Ok(table::render(reports)),
        Format::Junit => junit::render(reports),
        Format::Json => {
            let objects: Result<Vec<String>, _> = reports.iter().map(serde_json::to_string_pretty).collect();
            Ok(objects?.iter().map(|object| format!("{object}\n")).collect())
        }
        Format::Yaml => {
            let documents: Result<Vec<String>, _> = reports.iter().map(yaml_serde::to_string).collect();
            Ok(documents?.join("---\n"))
        }
    }
}
