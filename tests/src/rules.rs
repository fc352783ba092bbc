//! The cases of the rules, as the product's own tests read them: `tests/golden/rules.json`.

use serde::Deserialize;

/// All of them.
#[derive(Deserialize)]
pub struct Cases {
    base: Vec<String>,
    /// Documents with problems, and others beside them that have none.
    pub refused: Vec<Case>,
    /// Valid documents with warnings, and others beside them that have none.
    pub warned: Vec<Case>,
}

/// One text of the document that is replaced by another one.
#[derive(Deserialize)]
pub struct Case {
    /// The rules' group; `never`: values that are never met.
    pub of: String,
    /// What is replaced.
    pub from: String,
    /// By what.
    pub to: String,
    /// What is said.
    pub said: Vec<String>,
}

impl Cases {
    /// # Panics
    /// The file is not there, or holds something else.
    #[must_use]
    pub fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/rules.json");
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The document of a case, with pods in the place of this machine's namespaces.
    #[must_use]
    pub fn for_cluster(&self, case: &Case, namespace: &str) -> String {
        let text = self.base.join("\n").replacen(&case.from, &case.to, 1);
        let text = text.replace("local: [ { netns: web } ]", "pods: { all: true }");
        text.replace("metadata: { name: t }", &format!("metadata: {{ name: t, namespace: {namespace} }}"))
    }
}
