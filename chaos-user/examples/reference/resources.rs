//! The custom resources, as `chaos crd` defines them.

use crate::{
    objects::Sections,
    text::{code, columns, head, plain, row},
};
use chaos_k8s::api::{self, crd};
use serde_json::Value;

/// The page.
pub fn page() -> String {
    let mut page = head("Custom resources", "the definitions that `chaos crd` prints");
    page += &format!("The group is `{}`, the version is `{}`.\n\n", api::GROUP, api::VERSION);
    for definition in crd::definitions() {
        page += &section(&definition);
    }
    page += "## Conditions\n\nAn Experiment has these conditions in `status.conditions`.\n\n";
    let conditions = [api::SELECTED, api::INJECTED, api::REVERTED, api::DEGRADED];
    page.extend(conditions.map(|name| format!("- {}\n", code(name))));
    page += "\n## Annotations\n\n";
    let annotations = [api::STARTED_BY, api::REACH, api::STOP];
    page.extend(annotations.map(|name| format!("- {}\n", code(name))));
    page
}

fn section(definition: &Value) -> String {
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = word(&spec["names"]["kind"]);
    let mut text = format!("## {kind}\n\n{}\n\n", plain(&word(&schema["description"])));
    let short: Vec<String> =
        spec["names"]["shortNames"].as_array().into_iter().flatten().map(|name| code(&word(name))).collect();
    text += &columns(&["property", "value"]);
    text += &row(&["name".to_owned(), code(&word(&definition["metadata"]["name"]))]);
    text += &row(&["scope".to_owned(), word(&spec["scope"]).to_lowercase()]);
    if !short.is_empty() {
        text += &row(&["short names".to_owned(), short.join(", ")]);
    }
    text += "\nColumns of `kubectl get`:\n\n";
    text += &columns(&["column", "field", "shown"]);
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let shown = if column["priority"] == 1 { "with `-o wide`" } else { "always" };
        text += &row(&[word(&column["name"]), code(&word(&column["jsonPath"])), shown.to_owned()]);
    }
    text.push('\n');
    let mut sections = Sections::new(3);
    let lower = kind.to_lowercase();
    if kind == "Experiment" {
        text += "[Fields of an experiment](fields.md) describes `spec`.\n\n";
    } else {
        sections.add(&format!("{lower}.spec"), &schema["properties"]["spec"]);
    }
    sections.add(&format!("{lower}.status"), &schema["properties"]["status"]);
    text + &sections.finish() + "\n"
}
