//! Every rule with the exact line, path and message that it gives.

use super::never_cases::{OF_NEVER, WIDE};
use super::problems;
use super::rule_cases::{
    BASE, Case, OF_ACTIONS, OF_FAULTS, OF_MATCHES, OF_SELECTORS, PODS_BY_NOTHING, SELECTS_BY_NOTHING,
};
use super::warning_cases::WARNINGS;
use crate::spec::{parse, rules};

fn cases() -> impl Iterator<Item = &'static Case> {
    [OF_SELECTORS, OF_FAULTS, OF_MATCHES, OF_ACTIONS, OF_NEVER].into_iter().flatten()
}

fn changed((from, to, _): &Case) -> String {
    assert!(BASE.contains(from), "{from:?} is not in the document");
    BASE.replacen(from, to, 1)
}

#[test]
fn rules_with_line_path_and_remedy() {
    for case in cases() {
        let texts = [("SELECTS_BY_NOTHING", SELECTS_BY_NOTHING), ("PODS_BY_NOTHING", PODS_BY_NOTHING)];
        let full = |text: &&str| texts.iter().fold((*text).to_owned(), |text, (short, long)| text.replace(short, long));
        let expected: Vec<String> = case.2.iter().map(full).collect();
        assert_eq!(problems(&changed(case)), expected, "with {:?}", case.1);
    }
}

#[test]
fn warnings_leave_the_document_valid() {
    for case in WARNINGS.iter().chain(WIDE) {
        let parsed = parse("f", &changed(case)).unwrap_or_else(|problems| panic!("{:?}: {problems:#?}", case.1));
        assert_eq!(parsed[0].warnings, case.2, "with {:?}", case.1);
    }
}

#[test]
fn every_rule_has_a_case() {
    let texts: Vec<String> = cases().chain(WARNINGS).chain(WIDE).map(changed).collect();
    let documents: Vec<_> =
        texts.iter().flat_map(|text| super::super::yaml::read(text)).map(|document| document.value).collect();
    for (index, fired) in rules::fired(&documents).into_iter().enumerate() {
        assert!(fired, "rule {index} of the list finds nothing in any case");
    }
}
