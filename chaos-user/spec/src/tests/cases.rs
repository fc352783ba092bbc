//! The cases of the rules, which the suite on a cluster reads as well.

use serde::Deserialize;

use super::file;

/// `tests/golden/rules.json`.
#[derive(Deserialize)]
pub(super) struct Cases {
    base: Vec<String>,
    /// Documents with problems, and others beside them that have none.
    pub refused: Vec<Case>,
    /// Valid documents with warnings, and others beside them that have none.
    pub warned: Vec<Case>,
}

/// One text of the document that is replaced by another one.
#[derive(Deserialize)]
pub(super) struct Case {
    from: String,
    /// By what.
    pub to: String,
    /// The problems as `LINE PATH: MESSAGE`; the warnings as `PATH: MESSAGE`.
    pub said: Vec<String>,
}

impl Cases {
    pub fn read() -> Self {
        serde_json::from_str(&file("tests/golden/rules.json")).expect("tests/golden/rules.json holds cases")
    }

    /// The document in which every case changes one text; its lines are counted in the expectations.
    pub fn base(&self) -> String {
        self.base.join("\n") + "\n"
    }

    /// The document of a case.
    pub fn changed(&self, case: &Case) -> String {
        let base = self.base();
        assert!(base.contains(&case.from), "{:?} is not in the document", case.from);
        base.replacen(&case.from, &case.to, 1)
    }
}
