//! The probes of experiments, run by the controller, and what they have seen so far.

use super::{
    reach::{Maps, Within},
    world::World,
};
use crate::api::{self, Experiment};
use chaos_outcome::ProbeReport;
use chaos_probe::{Cause, Phase, Place, Places, Probes, Reach, Refused};
use chaos_spec::{Endpoint, Probe, ProbePhase, Url};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// What the probes of an experiment have seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The phase that runs.
    pub running: Option<ProbePhase>,
    /// Phases in which each probe has succeeded once or failed, and that have ended.
    pub done: Vec<ProbePhase>,
    /// The probe that has failed.
    pub failed: Option<String>,
    /// Of the phases that have ended.
    pub reports: Vec<ProbeReport>,
    /// How long this controller has had each order that its node has not looked at, by the Injection's name. By the clock that nobody sets:
    /// the API server's may be another one.
    pub unanswered: HashMap<String, Duration>,
    /// For how long its nodes have been told to end it; None: they have not.
    pub stopping: Option<Duration>,
}

struct Run {
    probes: Probes,
    /// What an earlier controller had seen.
    before: Vec<ProbeReport>,
    phase: Option<(ProbePhase, Phase)>,
    done: Vec<ProbePhase>,
    failed: Option<String>,
}

impl Run {
    /// Books a failure, and ends what has nothing more to say: only during the faults is it asked again and again.
    fn look(&mut self) {
        let Some((when, phase)) = self.phase.take() else { return };
        if let Some(index) = phase.failed() {
            self.failed.get_or_insert_with(|| self.probes.name(index).to_owned());
        }
        if when != ProbePhase::During && phase.decided() {
            self.probes.keep(phase);
            self.done.push(when);
        } else {
            self.phase = Some((when, phase));
        }
    }

    /// Has one phase run, and no other.
    fn turn(&mut self, wanted: Option<ProbePhase>, left: Option<Duration>) -> std::io::Result<()> {
        if self.phase.as_ref().map(|(when, _)| *when) == wanted {
            return Ok(());
        }
        if let Some((_, phase)) = self.phase.take() {
            self.probes.keep(phase);
        }
        if let Some(when) = wanted.filter(|when| !self.done.contains(when)) {
            self.phase = Some((when, self.probes.start(when, left.map(|left| Instant::now() + left))?));
        }
        Ok(())
    }
}

/// The probes of all experiments that this controller leads.
pub struct Prober {
    maps: Arc<Maps>,
    runs: Mutex<HashMap<String, Run>>,
}

impl Prober {
    /// None yet; `maps` says whom they reach.
    #[must_use]
    pub fn new(maps: Maps) -> Self {
        Self { maps: Arc::new(maps), runs: Mutex::default() }
    }

    /// What an experiment's probes have seen.
    #[must_use]
    pub fn seen(&self, experiment: &Experiment) -> Seen {
        let kept = || experiment.status.as_ref().map(|status| status.probes.clone()).unwrap_or_default();
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = runs.get_mut(&experiment.uid().unwrap_or_default()) else {
            return Seen { reports: kept(), ..Seen::default() };
        };
        run.look();
        Seen {
            running: run.phase.as_ref().map(|(when, _)| *when),
            done: run.done.clone(),
            failed: run.failed.clone(),
            reports: joined(&run.before, run.probes.reports()),
            unanswered: HashMap::new(),
            stopping: None,
        }
    }

    /// Has the probes of one phase run, and no others. What answers after `until` is not counted.
    ///
    /// # Errors
    /// A probe that cannot be run from here.
    pub fn run(
        &self,
        experiment: &Experiment,
        wanted: Option<ProbePhase>,
        until: Option<SystemTime>,
        world: &World,
    ) -> Result<(), Refused> {
        let uid = experiment.uid().unwrap_or_default();
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !runs.contains_key(&uid) {
            // Before anything is injected it is known whether all of them can be run.
            let phase = experiment.status.as_ref().map(|status| status.phase).unwrap_or_default();
            if experiment.spec.probes.is_empty() || wanted.is_none() && phase != api::Phase::Pending {
                return Ok(());
            }
            let probes = self.prepare(experiment, world)?;
            let before = experiment.status.as_ref().map(|status| status.probes.clone()).unwrap_or_default();
            runs.insert(uid.clone(), Run { probes, before, phase: None, done: Vec::new(), failed: None });
        }
        let Some(run) = runs.get_mut(&uid) else { return Ok(()) };
        // Only during the faults does their end matter.
        let until = until.filter(|_| wanted == Some(ProbePhase::During));
        let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        run.turn(wanted, left)
            .map_err(|e| Refused { text: format!("start a thread for a probe: {e}"), cause: Cause::Impossible })
    }

    fn prepare(&self, experiment: &Experiment, world: &World) -> Result<Probes, Refused> {
        let only = world.only.as_deref();
        let reach = |host: &str| -> Arc<dyn Reach> { Arc::new(Within::new(experiment, only, host, &self.maps)) };
        let places = Places::of(&experiment.namespace().unwrap_or_default());
        Probes::new(&experiment.spec.probes, &Place { hosts: &hosts(experiment, world), reach: &reach, places })
    }

    /// Forgets an experiment; probes that run end.
    pub fn forget(&self, uid: &str) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets all but these.
    pub fn retain(&self, uids: impl Fn(&str) -> bool) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids(uid));
    }
}

/// What two controllers have seen.
fn joined(before: &[ProbeReport], now: Vec<ProbeReport>) -> Vec<ProbeReport> {
    let mut all = before.to_vec();
    for report in now {
        match all.iter_mut().find(|one| one.name == report.name) {
            Some(one) => one.phases.extend(report.phases),
            None => all.push(report),
        }
    }
    all
}

/// Names as hosts(5): the controller's own, and the Services that the probes name, which a static binary without NSS could not look up.
fn hosts(experiment: &Experiment, world: &World) -> String {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let own = experiment.namespace().unwrap_or_default();
    for host in experiment.spec.probes.iter().filter_map(host) {
        for ip in addresses(&host, &own, world) {
            // Writing to a String does not fail.
            let _written = writeln!(text, "\n{ip} {host}");
        }
    }
    text
}

fn host(probe: &Probe) -> Option<String> {
    let http = probe.http.as_ref().and_then(|http| Some(Url::parse(&http.url).ok()?.endpoint.host));
    let tcp = || probe.tcp.as_ref().and_then(|tcp| Some(Endpoint::parse(&tcp.address).ok()?.host));
    let host = http.or_else(tcp)?;
    Some(host.trim_end_matches('.').to_owned())
}

/// `NAME`, `NAME.NAMESPACE`, `NAME.NAMESPACE.svc` and what follows it, as the cluster's DNS would answer (its specification, 2.3).
fn addresses(host: &str, own: &str, world: &World) -> Vec<String> {
    let mut labels = host.splitn(3, '.');
    let (name, namespace, rest) = (labels.next().unwrap_or_default(), labels.next(), labels.next());
    if rest.is_some_and(|rest| rest != "svc" && !rest.starts_with("svc.")) {
        return Vec::new();
    }
    let namespace = namespace.unwrap_or(own);
    let is_it = |one: &&std::sync::Arc<Service>| {
        one.metadata.name.as_deref() == Some(name) && one.metadata.namespace.as_deref() == Some(namespace)
    };
    let service = world.services.iter().find(is_it);
    let all = service.and_then(|one| one.spec.as_ref()?.cluster_ips.clone()).unwrap_or_default();
    all.into_iter().filter(|ip| ip != "None").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_each_of_their_names() {
        let service = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "db", "namespace": "shop" }, "spec": { "clusterIPs": ["10.96.0.7"] },
        }));
        let world = World { services: vec![Arc::new(service.unwrap())], ..World::default() };
        for known in ["db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local"] {
            assert_eq!(addresses(known, "shop", &world), ["10.96.0.7"], "{known}");
        }
        for unknown in ["db.other", "db.shop.com", "web", "10.0.0.1"] {
            assert!(addresses(unknown, "shop", &world).is_empty(), "{unknown}");
        }
        assert!(addresses("db", "other", &world).is_empty());
    }
}
