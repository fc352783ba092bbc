//! What probes reach from the controller, which stands past every NetworkPolicy: Services and pods of the experiment's namespace,
//! what the operator allows, and for who may create experiments in all namespaces what is not the cluster's own.

use super::world::World;
use crate::api::{Experiment, REACH, REACH_CLUSTER, STARTED_BY};
use chaos_probe::{Cause, Reach};
use chaos_spec::value::Cidr;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use std::{
    collections::{HashMap, HashSet},
    env,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So old may the picture of the cluster be by which an address is judged.
const FRESH: Duration = Duration::from_secs(1);

/// One value of `--probe-allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A network, or one address.
    Net(Cidr),
    /// A host as probes write it, in lower case.
    Host(String),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Net(Cidr::host(address)));
        }
        if text.contains('/') {
            return text.parse::<Cidr>().map(Self::Net).map_err(|error| format!("{error}"));
        }
        let is_name = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let host = text.trim_end_matches('.');
        if host.len() > 253 || !host.split('.').all(is_name) {
            return Err(format!("{text:?} is neither a network nor a host; write 10.0.0.0/8 or prometheus.monitoring"));
        }
        Ok(Self::Host(host.to_ascii_lowercase()))
    }
}

/// The address that is meant: IPv4 within IPv6 is IPv4 (RFC 4291, sections 2.5.5.1 and 2.5.5.2; RFC 6052, section 2.1).
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let bits = v6.to_bits();
    let inner = || IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
    match bits >> 32 {
        0xffff | 0x0064_ff9b_0000_0000_0000_0000 => inner(),
        // Not :: and ::1.
        0 if bits > 1 => inner(),
        _ => address,
    }
}

/// Nobody's probes go there.
fn forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let this_network = v4.octets()[0] == 0;
            this_network || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

/// Whose address is whose.
#[derive(Debug, Default)]
struct Atlas {
    /// Of nodes and of the API server.
    own: HashSet<IpAddr>,
    /// Networks whose addresses are of pods, or of a node's bridge.
    pods: Vec<Cidr>,
    /// Of pods and Services: the namespace; None where it is not of one alone.
    owners: HashMap<IpAddr, Option<String>>,
}

fn read(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(meant)
}

fn lives(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

impl Atlas {
    fn new(world: &World) -> Self {
        let mut atlas = Self::default();
        atlas.own.extend(env::var("KUBERNETES_SERVICE_HOST").ok().as_deref().and_then(read));
        atlas.nodes(world);
        for pod in world.pods.iter().filter(|pod| lives(pod)) {
            let status = pod.status.as_ref();
            let listed =
                status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.as_str());
            let first = status.and_then(|status| status.pod_ip.as_deref());
            let addresses: HashSet<IpAddr> = listed.chain(first).filter_map(read).collect();
            if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
                atlas.own.extend(addresses);
            } else {
                let namespace = pod.namespace().unwrap_or_default();
                addresses.into_iter().for_each(|address| atlas.owned(address, Some(&namespace)));
            }
        }
        atlas.services(world);
        atlas
    }

    fn nodes(&mut self, world: &World) {
        for node in &world.nodes {
            let addresses = node.status.iter().filter_map(|status| status.addresses.as_ref()).flatten();
            self.own.extend(addresses.filter_map(|one| read(&one.address)));
            let networks = node.spec.iter().filter_map(|spec| spec.pod_cidrs.as_ref()).flatten();
            self.pods.extend(networks.filter_map(|network| network.parse::<Cidr>().ok()));
        }
        for status in world.pods.iter().filter_map(|pod| pod.status.as_ref()) {
            let listed = status.host_ips.iter().flatten().map(|ip| ip.ip.as_str());
            self.own.extend(listed.chain(status.host_ip.as_deref()).filter_map(read));
        }
    }

    /// A Service is of its namespace only while all of its endpoints are pods of it: endpoints can be written by hand.
    fn services(&mut self, world: &World) {
        let mut slices: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
        for slice in &world.slices {
            let labels = slice.metadata.labels.as_ref();
            let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
            if let (Some(service), Some(namespace)) = (service, slice.metadata.namespace.as_deref()) {
                slices.entry((namespace, service)).or_default().push(slice);
            }
        }
        let mut found = Vec::new();
        for service in &world.services {
            let key = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
            let (Some(namespace), Some(name)) = key else { continue };
            let mut addresses = cluster_ips(service);
            let endpoints: Vec<IpAddr> =
                slices.get(&(namespace, name)).into_iter().flatten().flat_map(|one| at(one)).collect();
            if (namespace, name) == ("default", "kubernetes") {
                addresses.extend(endpoints);
                self.own.extend(addresses);
                continue;
            }
            let is_own = |ip: &IpAddr| {
                self.owners.get(ip).and_then(Option::as_deref) == Some(namespace) && !self.own.contains(ip)
            };
            let owner = endpoints.iter().all(is_own).then_some(namespace);
            found.extend(addresses.into_iter().map(|address| (address, owner)));
        }
        found.into_iter().for_each(|(address, owner)| self.owned(address, owner));
    }

    fn owned(&mut self, address: IpAddr, namespace: Option<&str>) {
        let owner = self.owners.entry(address).or_insert_with(|| namespace.map(str::to_owned));
        if owner.as_deref() != namespace {
            *owner = None;
        }
    }

    /// Nodes, the API server, a node's end of a pod network, and what is of every machine.
    fn is_of_the_cluster(&self, address: IpAddr) -> bool {
        let of_a_bridge =
            || !self.owners.contains_key(&address) && self.pods.iter().any(|network| network.contains(address));
        forbidden(address) || self.own.contains(&address) || of_a_bridge()
    }
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let listed = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten().map(String::as_str);
    listed.chain(spec.and_then(|spec| spec.cluster_ip.as_deref())).filter_map(read).collect()
}

/// Where a Service's packets go.
fn at(slice: &EndpointSlice) -> Vec<IpAddr> {
    let used = slice.endpoints.iter().filter(|one| {
        let conditions = one.conditions.as_ref();
        let is = |value: Option<bool>| value.unwrap_or(true);
        conditions.is_none_or(|conditions| is(conditions.ready) || is(conditions.serving))
    });
    used.flat_map(|one| one.addresses.iter().filter_map(|text| read(text))).collect()
}

/// The cluster's addresses, as of a moment ago.
pub struct Maps {
    world: Box<dyn Fn() -> World + Send + Sync>,
    allow: Vec<Allowed>,
    kept: Mutex<Option<(Instant, Arc<Atlas>)>>,
}

impl Maps {
    /// By what `world` says, and what the operator allows.
    #[must_use]
    pub fn new(world: impl Fn() -> World + Send + Sync + 'static, allow: Vec<Allowed>) -> Self {
        Self { world: Box::new(world), allow, kept: Mutex::new(None) }
    }

    fn now(&self) -> Arc<Atlas> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, atlas)) = &*kept
            && at.elapsed() < FRESH
        {
            return Arc::clone(atlas);
        }
        let atlas = Arc::new(Atlas::new(&(self.world)()));
        *kept = Some((Instant::now(), Arc::clone(&atlas)));
        atlas
    }
}

/// What the probes of one experiment may dial for one host.
pub struct Within {
    maps: Arc<Maps>,
    namespace: String,
    everywhere: bool,
    /// The operator named this host.
    named: bool,
}

impl Within {
    /// Of an experiment. That its author may in all namespaces is said by an annotation that admission guards.
    #[must_use]
    pub fn new(experiment: &Experiment, only: Option<&str>, host: &str, maps: &Arc<Maps>) -> Self {
        let note = |key: &str| experiment.annotations().get(key).map_or("", String::as_str);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        Self {
            maps: Arc::clone(maps),
            namespace: experiment.namespace().unwrap_or_default(),
            everywhere: only.is_none() && note(REACH) == REACH_CLUSTER && !note(STARTED_BY).is_empty(),
            named: maps.allow.iter().any(|one| matches!(one, Allowed::Host(name) if *name == host)),
        }
    }
}

impl Reach for Within {
    fn allows(&self, address: IpAddr) -> bool {
        let (address, atlas) = (meant(address), self.maps.now());
        if atlas.is_of_the_cluster(address) {
            return false;
        }
        let owner = atlas.owners.get(&address).and_then(Option::as_deref);
        let allowed = |one: &Allowed| matches!(one, Allowed::Net(network) if network.contains(address));
        self.everywhere || self.named || owner == Some(&self.namespace) || self.maps.allow.iter().any(allowed)
    }

    fn why(&self, host: &str) -> String {
        if self.everywhere {
            return format!(
                "{host:?} is not reached by probes: no such Service, or an address of a node, the API server, loopback or \
                 link-local; name a pod, a Service or an address outside the cluster"
            );
        }
        format!(
            "{host:?} is not reached by probes: they reach pods and Services of namespace {}; the operator allows others by \
             --probe-allow",
            self.namespace
        )
    }

    fn cause(&self) -> Cause {
        Cause::Forbidden
    }
}

#[cfg(test)]
mod tests;
