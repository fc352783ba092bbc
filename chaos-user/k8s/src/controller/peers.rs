//! Pods and Services as the other end: the addresses that they have now.

use super::{
    aside::{Asides, addresses},
    select::agreeing,
    world::World,
};
use crate::api::PeerAddress;
use chaos_spec::{ExperimentSpec, PacketMatch, PeerService, PodSelector, value::Cidr};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Index of the fault, and of the entry of its `except`; None: its match.
pub type Place = (usize, Option<usize>);

/// Most addresses that the peers of one place stand for: what a node's maps have room for.
pub const MOST_PEERS: usize = 10_000;
/// Label of a slice: the Service it is of.
const SERVICE: &str = "kubernetes.io/service-name";

/// The addresses of every place that has pods or Services as peers; empty ones included. What `asides` places elsewhere is left out.
///
/// # Errors
/// A Service that does not exist.
pub fn peers(
    spec: &ExperimentSpec,
    own: &str,
    world: &World,
    asides: &Asides,
) -> Result<BTreeMap<Place, BTreeSet<PeerAddress>>, String> {
    let mut all = BTreeMap::new();
    for (index, fault) in spec.faults.iter().enumerate() {
        if let Some(call) = &fault.syscall {
            let matches = PacketMatch { peers: call.matches.peers.clone(), ..PacketMatch::default() };
            if let Some(addresses) = of_match(&matches, own, world, asides, None)? {
                all.insert((index, None), addresses);
            }
        }
        let Some(network) = &fault.network else { continue };
        let excepts = network.matches.except.iter().enumerate().map(|(entry, matches)| (Some(entry), matches));
        for (entry, matches) in std::iter::once((None, &network.matches.packet)).chain(excepts) {
            if let Some(addresses) = of_match(matches, own, world, asides, entry.is_none().then_some(index))? {
                all.insert((index, entry), addresses);
            }
        }
    }
    Ok(all)
}

/// `fault`: its index, where this is its match itself.
fn of_match(
    matches: &PacketMatch,
    own: &str,
    world: &World,
    asides: &Asides,
    fault: Option<usize>,
) -> Result<Option<BTreeSet<PeerAddress>>, String> {
    let mut found = None;
    for peer in &matches.peers {
        if let Some(service) = &peer.service {
            found.get_or_insert_with(BTreeSet::new).extend(of_service(service, own, world)?);
        }
        if let Some(pods) = &peer.pods {
            found.get_or_insert_with(BTreeSet::new).extend(of_pods(pods, own, world, asides, fault)?);
        }
    }
    Ok(found)
}

fn address(text: &str, port: Option<u16>) -> Option<PeerAddress> {
    Some(PeerAddress { cidr: Cidr::host(text.parse::<IpAddr>().ok()?), port })
}

/// Where the Service itself is reached, without its endpoints.
pub(super) fn fronts(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let cluster = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    let external = spec.and_then(|spec| spec.external_ips.clone()).unwrap_or_default();
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balancer = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let outside = balancer.filter_map(|ingress| ingress.ip.clone());
    cluster.into_iter().chain(external).chain(outside).filter(|ip| ip != "None").collect()
}

fn of_service(peer: &PeerService, own: &str, world: &World) -> Result<BTreeSet<PeerAddress>, String> {
    let namespace = peer.namespace.as_deref().unwrap_or(own);
    if let Some(only) = world.only.as_ref().filter(|only| *only != namespace) {
        return Err(format!(
            "Service {namespace}/{}: this installation has rights over namespace {only} alone",
            peer.name
        ));
    }
    let service =
        world.services.iter().find(|one| one.name_any() == peer.name && one.namespace().as_deref() == Some(namespace));
    let service = service.ok_or_else(|| format!("there is no Service {} in namespace {namespace}", peer.name))?;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    let wanted: Vec<_> = ports.filter(|port| peer.port.is_none_or(|wanted| i32::from(wanted) == port.port)).collect();
    if let (Some(port), true) = (peer.port, wanted.is_empty()) {
        return Err(format!("Service {namespace}/{} has no port {port}", peer.name));
    }
    let mut found: BTreeSet<PeerAddress> = fronts(service).iter().filter_map(|ip| address(ip, peer.port)).collect();
    for slice in slices_of(service, world) {
        for port in slice.ports.iter().flatten() {
            let name = port.name.as_deref().unwrap_or_default();
            if !wanted.iter().any(|one| one.name.as_deref().unwrap_or_default() == name) {
                continue;
            }
            let number = port.port.and_then(|port| u16::try_from(port).ok());
            found.extend(ready(slice).filter_map(|(ip, _)| address(ip, number)));
        }
    }
    Ok(found)
}

pub(super) fn slices_of<'w>(service: &Service, world: &'w World) -> impl Iterator<Item = &'w EndpointSlice> {
    let (name, namespace) = (service.metadata.name.clone(), service.metadata.namespace.clone());
    let of = move |slice: &&'w std::sync::Arc<EndpointSlice>| {
        slice.metadata.namespace == namespace
            && slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE)) == name.as_ref()
    };
    world.slices.iter().filter(of).map(AsRef::as_ref)
}

/// Addresses of ready endpoints, and the UID of the pod that each claims to be.
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (&String, Option<&str>)> {
    let ready = slice.endpoints.iter().filter(|endpoint| {
        // Absent means ready (EndpointConditions of discovery.k8s.io/v1).
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready.flat_map(|endpoint| {
        let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
        endpoint.addresses.iter().map(move |ip| (ip, uid))
    })
}

/// Pods by their UIDs.
pub(super) type ByUid<'w> = BTreeMap<&'w str, &'w Pod>;

/// Those of `pods`, which have UIDs.
pub(super) fn by_uid<'w>(pods: impl IntoIterator<Item = &'w Arc<Pod>>) -> ByUid<'w> {
    pods.into_iter().filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod.as_ref()))).collect()
}

/// The Services that may lead to these pods: those of their own namespaces. Who may write Services elsewhere has no say in what a fault
/// on them does.
pub(super) fn services_of<'w>(pods: &ByUid<'_>, world: &'w World) -> impl Iterator<Item = &'w Service> {
    let namespaces: BTreeSet<String> = pods.values().filter_map(|pod| pod.namespace()).collect();
    let own = move |service: &&Service| service.namespace().is_some_and(|one| namespaces.contains(&one));
    world.services.iter().map(AsRef::as_ref).filter(own)
}

/// What stands behind a Service: each ready endpoint, as the UID of the one of `pods` that it is. A slice can be written by hand: an
/// endpoint is a pod where its address is that pod's, and both are of the Service's namespace; any other is a stranger.
pub(super) fn behind<'w>(service: &Service, pods: &ByUid<'w>, world: &World) -> Vec<Option<&'w str>> {
    let is = |pod: &Pod, ip: &str| {
        let ip = ip.parse::<IpAddr>().map(Cidr::host);
        pod.metadata.namespace == service.metadata.namespace && ip.is_ok_and(|ip| addresses(pod).any(|own| own == ip))
    };
    let known = |(ip, uid): (&String, Option<&str>)| {
        let (uid, pod) = pods.get_key_value(uid?)?;
        is(pod, ip).then_some(*uid)
    };
    slices_of(service, world).flat_map(ready).map(known).collect()
}

fn of_pods(
    selector: &PodSelector,
    own: &str,
    world: &World,
    asides: &Asides,
    fault: Option<usize>,
) -> Result<BTreeSet<PeerAddress>, String> {
    let pods = agreeing(selector, own, world)?;
    let elsewhere = |cidr: &Cidr| fault.is_some_and(|fault| asides.takes(fault, cidr));
    let cidrs = pods.iter().flat_map(|pod| addresses(pod)).filter(|cidr| !elsewhere(cidr));
    let mut found: BTreeSet<PeerAddress> = cidrs.map(|cidr| PeerAddress { cidr, port: None }).collect();
    let pods = by_uid(pods);
    // A Service is cut off as a whole only where nothing behind it stays reachable.
    for service in services_of(&pods, world) {
        let behind = behind(service, &pods, world);
        let all = !behind.is_empty() && behind.iter().all(Option::is_some);
        let behind: BTreeSet<&str> = behind.into_iter().flatten().collect();
        if all && !fault.is_some_and(|fault| asides.has_one_of(fault, &behind)) {
            found.extend(fronts(service).iter().filter_map(|ip| address(ip, None)));
        }
    }
    Ok(found)
}
