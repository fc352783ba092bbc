//! Reports as JUnit's XML, for build servers.
//!
//! Build servers agree on little more than what is used here: suites, cases, failure, error, skipped and system-out
//! (<https://github.com/testmoapp/junitxml>).

use anyhow::Result;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::figure::printable;
use super::progress::FaultProgress;
use super::report::{Report, Verdict};

type Xml = Writer<Vec<u8>>;

/// One suite per experiment, with a case for the verdict, one per fault and one per probe.
pub(super) fn render(reports: &[Report]) -> Result<String> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites").write_inner_content(|xml| {
        for report in reports {
            suite(xml, report)?;
        }
        Ok(())
    })?;
    Ok(String::from_utf8(xml.into_inner())? + "\n")
}

fn suite(xml: &mut Xml, report: &Report) -> std::io::Result<()> {
    let faults = FaultProgress::sums(&report.faults);
    let (failure, error) = match report.verdict {
        Verdict::Pass => (false, false),
        Verdict::NoEffect | Verdict::Fail | Verdict::Aborted => (true, false),
        Verdict::Error | Verdict::Invalid | Verdict::Unsupported | Verdict::Refused => (false, true),
    };
    let failed_probes = report.probes.iter().filter(|probe| probe.phases.iter().any(|phase| phase.failed)).count();
    let name = printable(&report.experiment);
    let attributes = [
        ("name", name.clone()),
        ("tests", (1 + faults.len() + report.probes.len()).to_string()),
        ("failures", (usize::from(failure) + failed_probes).to_string()),
        ("errors", usize::from(error).to_string()),
        ("skipped", faults.iter().filter(|fault| is_idle(fault)).count().to_string()),
        ("timestamp", printable(&report.started_at)),
    ];
    let suite = xml.create_element("testsuite");
    suite.with_attributes(borrowed(&attributes)).write_inner_content(|xml| {
        verdict_case(xml, report, &name, (failure, error))?;
        for fault in &faults {
            fault_case(xml, fault, &name)?;
        }
        for probe in &report.probes {
            let failed = probe.phases.iter().find(|phase| phase.failed);
            let problem = failed.map(|phase| ("failure", format!("failed {} the faults", phase.phase)));
            case(xml, &name, &format!("probe {}", printable(&probe.name)), problem, "")?;
        }
        Ok(())
    })?;
    Ok(())
}

fn verdict_case(xml: &mut Xml, report: &Report, suite: &str, (failure, error): (bool, bool)) -> std::io::Result<()> {
    let kind = if error { Some("error") } else { failure.then_some("failure") };
    let problem = kind.map(|kind| (kind, format!("{:?}: {}", report.verdict, report.reason)));
    case(xml, suite, "verdict", problem, &report.warnings.join("\n"))
}

fn fault_case(xml: &mut Xml, fault: &FaultProgress, suite: &str) -> std::io::Result<()> {
    let problem = is_idle(fault).then(|| ("skipped", "injected nothing".to_owned()));
    let counts = format!("matched {} injected {} skipped {}", fault.matched, fault.injected, fault.skipped);
    case(xml, suite, &printable(&fault.name), problem, &counts)
}

const fn is_idle(fault: &FaultProgress) -> bool {
    fault.injected == 0 && fault.would_inject == 0
}

fn case(xml: &mut Xml, suite: &str, name: &str, problem: Option<(&str, String)>, output: &str) -> std::io::Result<()> {
    let case = xml.create_element("testcase").with_attribute(("classname", suite)).with_attribute(("name", name));
    if problem.is_none() && output.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|xml| {
        if let Some((kind, message)) = &problem {
            xml.create_element(*kind).with_attribute(("message", printable(message).as_str())).write_empty()?;
        }
        if !output.is_empty() {
            // XML 1.0 has no way to write most control characters; line ends are the exception.
            let output: Vec<String> = output.lines().map(printable).collect();
            xml.create_element("system-out").write_text_content(BytesText::new(&output.join("\n")))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn borrowed<'a>(attributes: &'a [(&'a str, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    attributes.iter().map(|(name, value)| (*name, value.as_str()))
}
