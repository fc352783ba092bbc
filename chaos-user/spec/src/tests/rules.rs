//! Every rule with the exact line, path and message that it gives.

use super::{cases::Cases, problems};
use crate::{parse, rules};

#[test]
fn rules_with_line_path_and_remedy() {
    let cases = Cases::read();
    for case in &cases.refused {
        assert_eq!(problems(&cases.changed(case)), case.said, "with {:?}", case.to);
    }
}

#[test]
fn warnings_leave_the_document_valid() {
    let cases = Cases::read();
    for case in &cases.warned {
        let parsed = parse("f", &cases.changed(case)).unwrap_or_else(|problems| panic!("{:?}: {problems:#?}", case.to));
        assert_eq!(parsed[0].warnings, case.said, "with {:?}", case.to);
    }
}

#[test]
fn every_rule_has_a_case() {
    let cases = Cases::read();
    let texts: Vec<String> = cases.refused.iter().chain(&cases.warned).map(|case| cases.changed(case)).collect();
    let documents: Vec<_> =
        texts.iter().flat_map(|text| super::super::yaml::read(text)).map(|document| document.value).collect();
    for (index, fired) in rules::fired(&documents).into_iter().enumerate() {
        assert!(fired, "rule {index} of the list finds nothing in any case");
    }
}
