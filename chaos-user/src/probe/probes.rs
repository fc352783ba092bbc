//! The probes of an experiment, and what they have seen so far.

use super::{
    address::addresses,
    check::Check,
    http,
    phase::{Phase, Schedule},
};
use crate::{
    observe::ProbeReport,
    spec::{Endpoint, Probe, ProbePhase, Url},
};
use std::{net::SocketAddr, time::Instant};

/// Why a probe cannot be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field and a sentence.
    pub text: String,
    /// The input itself is wrong, whatever the machine.
    pub invalid: bool,
}

struct One {
    report: ProbeReport,
    schedule: Schedule,
    when: Option<ProbePhase>,
}

/// The probes of an experiment.
#[derive(Default)]
pub struct Probes {
    all: Vec<One>,
}

const fn word(phase: ProbePhase) -> &'static str {
    match phase {
        ProbePhase::Before => "before",
        ProbePhase::During => "during",
        ProbePhase::After => "after",
    }
}

impl Probes {
    /// Prepares them: addresses are looked up now. `hosts` is the text of /etc/hosts.
    ///
    /// # Errors
    /// The first that cannot be run.
    pub fn new(probes: &[Probe], hosts: &str) -> Result<Self, Refused> {
        let each = probes.iter().enumerate().map(|(index, probe)| {
            let check = check(probe, hosts).map_err(|(field, text, invalid)| {
                let text = format!("spec.probes[{index}].{field}: {text}");
                Refused { text, invalid }
            })?;
            let schedule = Schedule {
                check,
                every: probe.every.unwrap_or(Probe::DEFAULT_EVERY).get(),
                timeout: probe.timeout.unwrap_or(Probe::DEFAULT_TIMEOUT).get(),
                failures: probe.failures.unwrap_or(Probe::DEFAULT_FAILURES),
            };
            let report = ProbeReport { name: probe.name.clone(), phases: Vec::new() };
            Ok(One { report, schedule, when: probe.when })
        });
        Ok(Self { all: each.collect::<Result<_, _>>()? })
    }

    /// Starts those of a phase: the ones that name it, and the ones that name none. What answers after `until` is not counted.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(&self, phase: ProbePhase, until: Option<Instant>) -> std::io::Result<Phase> {
        let wanted = |one: &One| one.when.is_none_or(|when| when == phase);
        let wanted = self.all.iter().enumerate().filter(|(_, one)| wanted(one));
        Phase::start(word(phase), wanted.map(|(index, one)| (index, one.schedule.clone())).collect(), until)
    }

    /// Ends a phase and keeps what it saw.
    pub fn keep(&mut self, phase: Phase) {
        for (index, report) in phase.end() {
            if let Some(one) = self.all.get_mut(index) {
                one.report.phases.push(report);
            }
        }
    }

    /// A probe's name.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.all.get(index).map_or("", |one| one.report.name.as_str())
    }

    /// What was kept.
    #[must_use]
    pub fn reports(&self) -> Vec<ProbeReport> {
        self.all.iter().map(|one| one.report.clone()).collect()
    }
}

/// The question of a probe; else the field, a sentence, and whether the input is wrong as such.
fn check(probe: &Probe, hosts: &str) -> Result<Check, (&'static str, String, bool)> {
    if let Some(tcp) = &probe.tcp {
        let endpoint = Endpoint::parse(&tcp.address).map_err(|text| ("tcp.address", text, true))?;
        let addresses = known(&endpoint, hosts).map_err(|text| ("tcp.address", text, false))?;
        return Ok(Check::Tcp { addresses });
    }
    let Some(http) = &probe.http else { return Err(("tcp", "neither tcp nor http is given".to_owned(), true)) };
    let url = Url::parse(&http.url).map_err(|text| ("http.url", text, true))?;
    if url.tls {
        let text = "https is not part of this release; ask over http, or use tcp, which proves that the port answers";
        return Err(("http.url", text.to_owned(), false));
    }
    let addresses = known(&url.endpoint, hosts).map_err(|text| ("http.url", text, false))?;
    let request = http::request(&url.authority, &url.target);
    Ok(Check::Http { addresses, request, status: http.status.unwrap_or(200) })
}

fn known(endpoint: &Endpoint, hosts: &str) -> Result<Vec<SocketAddr>, String> {
    let found = addresses(&endpoint.host, hosts);
    if found.is_empty() {
        return Err(format!(
            "{:?} is neither an address nor in /etc/hosts, and names are not asked of a DNS server in this release; write its \
             address, or add it to /etc/hosts",
            endpoint.host
        ));
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect())
}
