//! The report in JSON or YAML, from its type.

use crate::{objects::Sections, text::head};
use chaos_outcome::Report;
use chaos_spec::schema_of;

/// The page.
pub fn page() -> String {
    let mut page = head("Report", "the type Report");
    page += "`-o json` and `-o yaml` print one object for each experiment.\n";
    page += "Fields may be added in later versions. They are never renamed.\n";
    page += "[Exit codes](exit-codes.md) lists the verdicts.\n\n";
    let mut sections = Sections::new(2);
    sections.add("report", &schema_of::<Report>());
    page + &sections.finish()
}
