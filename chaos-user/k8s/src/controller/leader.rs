//! One controller at a time: a Lease of coordination.k8s.io.

use super::health::Health;
use crate::time::time;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

const NAME: &str = "chaos-controller";
/// How long a leader that says nothing stays one.
const HOLD: Duration = Duration::from_secs(15);
/// How often it says something.
const RENEW: Duration = Duration::from_secs(5);

/// A candidate.
#[derive(Clone)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    health: Arc<Health>,
}

impl Candidate {
    /// In the controller's own namespace, under a name that no other has.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String, health: Arc<Health>) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, health }
    }

    /// Waits until it leads.
    pub async fn lead(&self) {
        let mut seen = None;
        loop {
            match self.claim(&mut seen).await {
                Ok(true) => return self.health.leads.store(true, Ordering::Relaxed),
                Ok(false) => {}
                Err(error) => tracing::warn!("lease {NAME}: {error}"),
            }
            tokio::time::sleep(RENEW / 2).await;
        }
    }

    /// Goes on to lead; returns when it no longer does.
    pub async fn keep(&self) {
        let mut renewed = Instant::now();
        let mut seen = None;
        while renewed.elapsed() < HOLD {
            tokio::time::sleep(RENEW).await;
            match self.claim(&mut seen).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return,
                Err(error) => tracing::warn!("lease {NAME}: {error}"),
            }
        }
    }

    /// Lets another lead at once.
    pub async fn resign(&self) {
        if let Ok(Some(mut lease)) = self.api.get_opt(NAME).await
            && let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        {
            spec.holder_identity = None;
            let _another_will_wait = self.api.replace(NAME, &PostParams::default(), &lease).await;
        }
    }

    /// Takes or renews the Lease; false: another has it. The resource version decides between two that try at one moment.
    ///
    /// `seen`: what the holder wrote last, and when that was first seen here: clocks differ, so only that something changed counts.
    async fn claim(&self, seen: &mut Option<(LeaseSpec, Instant)>) -> Result<bool, kube::Error> {
        let now = time(SystemTime::now()).map(|time| MicroTime(time.0));
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(HOLD.as_secs()).ok(),
            renew_time: now.clone(),
            acquire_time: now,
            ..LeaseSpec::default()
        };
        self.health.beat.now();
        let found = self.api.get_opt(NAME).await?;
        self.health.reached.store(true, Ordering::Relaxed);
        let written = match found {
            None => {
                let mut lease = Lease { spec: Some(spec), ..Lease::default() };
                lease.metadata.name = Some(NAME.to_owned());
                self.api.create(&PostParams::default(), &lease).await
            }
            Some(mut lease) => {
                let old = lease.spec.clone().unwrap_or_default();
                let mine = old.holder_identity.as_deref() == Some(&self.identity);
                let free = old.holder_identity.as_deref().unwrap_or_default().is_empty();
                if !mine && !free {
                    let (_, since) = match seen.take() {
                        Some((last, since)) if last == old => seen.insert((last, since)),
                        _ => seen.insert((old.clone(), Instant::now())),
                    };
                    if since.elapsed() < HOLD {
                        return Ok(false);
                    }
                }
                let acquire_time = if mine { old.acquire_time } else { spec.acquire_time.clone() };
                lease.spec = Some(LeaseSpec { acquire_time, ..spec });
                self.api.replace(NAME, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}
