//! What a benchmark prints: one JSON object per line.

use serde::{Deserialize, Serialize};

/// A measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The benchmark and the case, as in `verdicts/idle`.
    pub name: String,
    /// Of value, min, max and pair.
    pub unit: String,
    /// The median of all rounds.
    pub value: f64,
    /// The pair's median in the same run.
    pub pair: Option<f64>,
    /// Ours by the pair's.
    pub ratio: Option<f64>,
    /// The least value of a round.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Rounds.
    pub samples: u32,
    /// Its release.
    pub kernel: String,
    /// Measured on an emulated processor: ratios say something, times do not.
    #[serde(default)]
    pub emulated: bool,
}

/// What could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// As [`Figure::name`].
    pub name: String,
    /// Why.
    pub absent: String,
    /// The kernel's release.
    pub kernel: String,
}

/// A line of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Measured.
    Figure(Figure),
    /// Not measured.
    Absent(Absent),
}

impl Line {
    /// None for what is not of ours: programs and kernels print other things, too.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

impl Figure {
    /// The benchmark that it is of.
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

/// The part of a kernel's release that is not the builder's.
pub fn version(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

/// A number with as many digits as say something.
pub fn shown(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_kinds_are_told_from_others() {
        let figure = r#"{"kernel":"6.1","max":6.0,"min":4.0,"name":"a/b","pair":26.0,"ratio":1.2,"samples":7,"unit":"ns","value":6.0}"#;
        assert!(matches!(Line::parse(figure), Some(Line::Figure(one)) if one.group() == "a" && one.pair == Some(26.0)));
        let absent = r#"{"name":"a/c","absent":"no fq","kernel":"6.1"}"#;
        assert!(matches!(Line::parse(absent), Some(Line::Absent(one)) if one.absent == "no fq"));
        assert_eq!(Line::parse("SKIPPED: needs root"), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1234.5, 12.34, 1.234, 0.00123, 0.0].map(shown), ["1234", "12.3", "1.23", "0.0012", "0"]);
    }
}
