//! The probes of an experiment, and what they have seen so far.

use super::{
    address::addresses,
    check::{Check, Http},
    http,
    phase::{Phase, Schedule},
    places::Places,
    reach::Reach,
    tls::Tls,
};
use chaos_outcome::ProbeReport;
use chaos_spec::{Endpoint, HttpProbe, Probe, ProbePhase, Url};
use std::{net::SocketAddr, sync::Arc, time::Instant};

/// Why a probe cannot be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field and a sentence.
    pub text: String,
    /// Whose fault it is.
    pub cause: Cause,
}

/// Whose fault it is that a probe cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The input itself is wrong, whatever the machine.
    Invalid,
    /// It cannot be asked from here.
    Impossible,
    /// Its author may not ask there.
    Forbidden,
}

/// What probes need of where they run.
pub struct Place<'a> {
    /// The text of /etc/hosts, or of what stands for it.
    pub hosts: &'a str,
    /// What a probe of this host may dial.
    pub reach: &'a dyn Fn(&str) -> Arc<dyn Reach>,
    /// Where they wait for their turns.
    pub places: Places,
}

struct One {
    report: ProbeReport,
    schedule: Schedule,
    when: Option<ProbePhase>,
}

/// The probes of an experiment.
pub struct Probes {
    all: Vec<One>,
    places: Places,
}

const fn word(phase: ProbePhase) -> &'static str {
    match phase {
        ProbePhase::Before => "before",
        ProbePhase::During => "during",
        ProbePhase::After => "after",
    }
}

impl Probes {
    /// Prepares them: addresses are looked up now, and what may not be dialled is refused now.
    ///
    /// # Errors
    /// The first that cannot be run.
    pub fn new(probes: &[Probe], place: &Place<'_>) -> Result<Self, Refused> {
        let each = probes.iter().enumerate().map(|(index, probe)| {
            let check = check(probe, place).map_err(|(field, text, cause)| {
                let text = format!("spec.probes[{index}].{field}: {text}");
                Refused { text, cause }
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
        Ok(Self { all: each.collect::<Result<_, _>>()?, places: place.places.clone() })
    }

    /// Starts those of a phase: the ones that name it, and the ones that name none. What answers after `until` is not counted.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(&self, phase: ProbePhase, until: Option<Instant>) -> std::io::Result<Phase> {
        let wanted = |one: &One| one.when.is_none_or(|when| when == phase);
        let wanted = self.all.iter().enumerate().filter(|(_, one)| wanted(one));
        Phase::start(
            word(phase),
            wanted.map(|(index, one)| (index, one.schedule.clone())).collect(),
            until,
            &self.places,
        )
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

/// The question of a probe; else the field, a sentence, and whose fault it is.
fn check(probe: &Probe, place: &Place<'_>) -> Result<Check, (&'static str, String, Cause)> {
    if let Some(tcp) = &probe.tcp {
        let endpoint = Endpoint::parse(&tcp.address).map_err(|text| ("tcp.address", text, Cause::Invalid))?;
        let (addresses, reach) = known(&endpoint, place).map_err(|(text, cause)| ("tcp.address", text, cause))?;
        return Ok(Check { addresses, reach, http: None });
    }
    let Some(http) = &probe.http else {
        return Err(("tcp", "neither tcp nor http is given".to_owned(), Cause::Invalid));
    };
    let url = Url::parse(&http.url).map_err(|text| ("http.url", text, Cause::Invalid))?;
    let (addresses, reach) = known(&url.endpoint, place).map_err(|(text, cause)| ("http.url", text, cause))?;
    Ok(Check { addresses, reach, http: Some(question(http, &url)?) })
}

fn question(http: &HttpProbe, url: &Url) -> Result<Http, (&'static str, String, Cause)> {
    let tls = url.tls.then(|| Tls::new(&url.endpoint.host, http.ca_bundle.as_deref(), http.insecure_skip_verify));
    let tls = tls.transpose().map_err(|(field, text)| {
        let cause = if field == "http.caBundle" { Cause::Invalid } else { Cause::Impossible };
        (field, text, cause)
    })?;
    Ok(Http { request: http::request(&url.authority, &url.target), status: http.status.unwrap_or(200), tls })
}

type Known = (Vec<SocketAddr>, Arc<dyn Reach>);

fn known(endpoint: &Endpoint, place: &Place<'_>) -> Result<Known, (String, Cause)> {
    let reach = (place.reach)(&endpoint.host);
    let found = addresses(&endpoint.host, place.hosts);
    // One text for what is not there and for what is forbidden: it is not told which names and addresses there are.
    if !found.iter().any(|ip| reach.allows(*ip)) {
        return Err((reach.why(&endpoint.host), reach.cause()));
    }
    Ok((found.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect(), reach))
}
