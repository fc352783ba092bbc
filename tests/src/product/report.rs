//! The report of a run, read by field names.

use serde_json::Value;

/// A whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The report as printed.
    pub json: Value,
}

/// One entry of `faults`.
#[derive(Clone, Copy, Debug)]
pub struct Fault<'a> {
    /// The entry as printed.
    pub json: &'a Value,
}

impl Report {
    /// Reads what `chaos run -o json` printed; `None` when that is no report.
    pub fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text.trim()).ok()?;
        json.get("verdict").is_some().then_some(Self { json })
    }

    /// Pass, Error, NoEffect, Aborted, Fail and so on.
    pub fn verdict(&self) -> &str {
        self.json["verdict"].as_str().unwrap_or_default()
    }

    /// Why the verdict is not Pass.
    pub fn reason(&self) -> &str {
        self.json["reason"].as_str().unwrap_or_default()
    }

    /// The seed that repeats the run.
    pub fn seed(&self) -> u64 {
        self.json["seed"].as_u64().unwrap_or_else(|| panic!("no seed in {}", self.json))
    }

    /// The entry of a fault; panics unless there is exactly one of that name.
    #[track_caller]
    pub fn fault(&self, name: &str) -> Fault<'_> {
        let faults = self.json["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut named = faults.iter().filter(|fault| fault["name"] == name);
        match (named.next(), named.next()) {
            (Some(json), None) => Fault { json },
            _ => panic!("not exactly one fault {name} in {}", self.json),
        }
    }

    /// The entry of the only fault.
    #[track_caller]
    pub fn only_fault(&self) -> Fault<'_> {
        match self.json["faults"].as_array().map(Vec::as_slice) {
            Some([json]) => Fault { json },
            _ => panic!("not exactly one fault in {}", self.json),
        }
    }

    /// The states of the targets.
    pub fn target_states(&self) -> Vec<&str> {
        let targets = self.json["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        targets.iter().filter_map(|target| target["state"].as_str()).collect()
    }
}

impl Fault<'_> {
    /// A counter of the entry: `matched`, `actions.lost`, `rejectedBy.peer`; panics when it is not there.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        let value = field.split('.').fold(self.json, |value, step| &value[step]);
        value.as_u64().unwrap_or_else(|| panic!("no number {field} in {}", self.json))
    }

    /// Packets that reached the fault's attach point.
    #[track_caller]
    pub fn seen(&self) -> u64 {
        self.count("seen")
    }

    /// Packets that satisfied `match`.
    #[track_caller]
    pub fn matched(&self) -> u64 {
        self.count("matched")
    }

    /// Packets that were hit.
    #[track_caller]
    pub fn injected(&self) -> u64 {
        self.count("injected")
    }

    /// Packets that matched and were spared.
    #[track_caller]
    pub fn skipped(&self) -> u64 {
        self.count("skipped")
    }

    /// Decisions.
    #[track_caller]
    pub fn skbs(&self) -> u64 {
        self.count("skbs")
    }

    /// A counter of `actions`.
    #[track_caller]
    pub fn action(&self, name: &str) -> u64 {
        self.count(&format!("actions.{name}"))
    }

    /// How it was done.
    pub fn mechanism(&self) -> &str {
        self.json["mechanism"].as_str().unwrap_or_default()
    }

    /// What holds of every entry: `matched = injected + skipped`.
    #[track_caller]
    pub fn assert_adds_up(&self) {
        assert_eq!(self.matched(), self.injected() + self.skipped(), "matched = injected + skipped: {}", self.json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name() {
        let text = r#"{"verdict":"Pass","reason":"","seed":7,"targets":[{"state":"Reverted"}],
            "faults":[{"name":"slow","matched":3,"injected":2,"skipped":1,"actions":{"lost":2}}]}"#;
        let report = Report::parse(text).unwrap();
        report.only_fault().assert_adds_up();
        assert_eq!((report.verdict(), report.seed(), report.target_states()), ("Pass", 7, vec!["Reverted"]));
        assert_eq!((report.fault("slow").matched(), report.fault("slow").action("lost")), (3, 2));
        assert!(Report::parse("nothing").is_none());
    }
}
