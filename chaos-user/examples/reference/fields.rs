//! The fields of an experiment, from its schema.

use crate::{
    objects::{Sections, forms},
    text::{columns, head, row},
};

/// The page.
pub fn page() -> String {
    let mut page = head("Fields of an experiment", "the schema of Experiment");
    page += "An experiment is one YAML document. Files, the API server and the controller check it against this schema.\n\n";
    page += "A path such as `spec.faults[]` names an entry of the list `spec.faults`.\n\n";
    page += "## Values\n\n";
    page += &columns(&["type", "how it is written"]);
    for (name, _, examples) in forms() {
        page += &row(&[name.to_owned(), examples.to_owned()]);
    }
    page += "\n## Objects\n\n";
    let mut sections = Sections::new(3);
    let mut schema = chaos_spec::schema();
    let fields = schema["properties"].take();
    page += "An experiment has `apiVersion: chaos-ebpf.dev/v1alpha1`, `kind: Experiment`, `metadata` and `spec`.\n\n";
    for name in ["metadata", "spec"] {
        sections.add(name, &fields[name]);
    }
    page + &sections.finish()
}
