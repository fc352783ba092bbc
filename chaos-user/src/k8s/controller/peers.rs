//! Pods and Services as the other end: the addresses that they have now.

use super::{select::agreeing, world::World};
use crate::{
    k8s::api::PeerAddress,
    spec::{ExperimentSpec, PacketMatch, PeerService, PodSelector, value::Cidr},
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Index of the fault, and of the entry of its `except`; None: its match.
pub type Place = (usize, Option<usize>);

/// Label of a slice: the Service it is of.
const SERVICE: &str = "kubernetes.io/service-name";

/// The addresses of every place that has pods or Services as peers; empty ones included.
///
/// # Errors
/// A Service that does not exist.
pub fn peers(
    spec: &ExperimentSpec,
    own: &str,
    world: &World,
) -> Result<BTreeMap<Place, BTreeSet<PeerAddress>>, String> {
    let mut all = BTreeMap::new();
    for (index, fault) in spec.faults.iter().enumerate() {
        let Some(network) = &fault.network else { continue };
        let excepts = network.matches.except.iter().enumerate().map(|(entry, matches)| (Some(entry), matches));
        for (entry, matches) in std::iter::once((None, &network.matches.packet)).chain(excepts) {
            if let Some(addresses) = of_match(matches, own, world)? {
                all.insert((index, entry), addresses);
            }
        }
    }
    Ok(all)
}

fn of_match(matches: &PacketMatch, own: &str, world: &World) -> Result<Option<BTreeSet<PeerAddress>>, String> {
    let mut found = None;
    for peer in &matches.peers {
        if let Some(service) = &peer.service {
            found.get_or_insert_with(BTreeSet::new).extend(of_service(service, own, world)?);
        }
        if let Some(pods) = &peer.pods {
            found.get_or_insert_with(BTreeSet::new).extend(of_pods(pods, own, world)?);
        }
    }
    Ok(found)
}

fn address(text: &str, port: Option<u16>) -> Option<PeerAddress> {
    Some(PeerAddress { cidr: Cidr::host(text.parse::<IpAddr>().ok()?), port })
}

/// Where the Service itself is reached, without its endpoints.
fn fronts(service: &Service) -> Vec<String> {
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
    for slice in slices_of(&peer.name, namespace, world) {
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

fn slices_of<'a>(service: &'a str, namespace: &'a str, world: &'a World) -> impl Iterator<Item = &'a EndpointSlice> {
    let of = move |slice: &&'a std::sync::Arc<EndpointSlice>| {
        slice.namespace().as_deref() == Some(namespace)
            && slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE)).is_some_and(|name| name == service)
    };
    world.slices.iter().filter(of).map(AsRef::as_ref)
}

/// Addresses of ready endpoints, and the UID of the pod behind each.
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

fn of_pods(selector: &PodSelector, own: &str, world: &World) -> Result<BTreeSet<PeerAddress>, String> {
    let pods = agreeing(selector, own, world)?;
    let uids: BTreeSet<&str> = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    let ips = pods.iter().filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
        let more = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
        more.chain(status.pod_ip.as_deref())
    });
    let mut found: BTreeSet<PeerAddress> = ips.filter_map(|ip| address(ip, None)).collect();
    // A Service is cut off as a whole only where nothing behind it stays reachable.
    for service in &world.services {
        let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
        let mut behind = slices_of(&name, &namespace, world).flat_map(ready).peekable();
        if behind.peek().is_some() && behind.all(|(_, uid)| uid.is_some_and(|uid| uids.contains(uid))) {
            found.extend(fronts(service).iter().filter_map(|ip| address(ip, None)));
        }
    }
    Ok(found)
}
