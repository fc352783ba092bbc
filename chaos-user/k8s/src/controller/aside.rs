//! Peers behind a Service that also leads elsewhere. A target's packets to them carry the Service's address until they have left its pod,
//! so that nobody there can tell them from packets to the others. Their own side can: the fault is placed there, turned round.

use super::{
    peers::{self, MOST_PEERS, by_uid, fronts, services_of, slices_of},
    select::{Chosen, SPARED, agreeing},
    world::World,
};
use crate::api::{Injection, PeerAddress, PodTarget};
use chaos_spec::{
    Direction, ExperimentSpec, Fault, Network, PacketMatch, Peer, PodSelector,
    value::{Cidr, PortRange},
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most ports of a match, by its schema.
const MOST_PORTS: usize = 64;

/// A fault as it is placed at some of its peers.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Its index in the experiment.
    pub fault: usize,
    /// It, turned round; its one peer stands for the targets.
    pub turned: Fault,
    /// The peers at whose side it is placed, and their addresses.
    pub pods: Vec<(Chosen, BTreeSet<Cidr>)>,
}

/// What is placed at peers, and what should be and cannot.
#[derive(Clone, Debug, Default)]
pub struct Asides {
    /// Placed.
    pub placed: Vec<Aside>,
    /// The targets' addresses: the other end, seen from there.
    pub targets: BTreeSet<PeerAddress>,
    /// What cannot be placed, and why.
    pub left: Vec<String>,
}

impl Asides {
    /// Whether packets of this fault to this address are its peers' own business.
    #[must_use]
    pub fn takes(&self, fault: usize, address: &Cidr) -> bool {
        self.of(fault).is_some_and(|aside| aside.pods.iter().any(|(_, addresses)| addresses.contains(address)))
    }

    /// Whether one of these pods has its part of this fault at its own side.
    #[must_use]
    pub fn has_one_of(&self, fault: usize, uids: &BTreeSet<&str>) -> bool {
        self.of(fault).is_some_and(|aside| aside.pods.iter().any(|(pod, _)| uids.contains(pod.target.uid.as_str())))
    }

    /// Those that `existing` has, for one who cannot find out what is so now.
    #[must_use]
    pub fn of_before(existing: &[Injection]) -> Self {
        let each = existing.iter().filter(|one| one.spec.peers_side).filter_map(|one| {
            let chosen = |target: &PodTarget| Chosen { target: target.clone(), node: one.spec.node_name.clone() };
            let pods = one.spec.targets.iter().map(|target| (chosen(target), BTreeSet::new())).collect();
            // It goes by its name.
            Some(Aside { fault: usize::MAX, turned: one.spec.faults.first()?.clone(), pods })
        });
        Self { placed: each.collect(), ..Self::default() }
    }

    fn of(&self, fault: usize) -> Option<&Aside> {
        self.placed.iter().find(|aside| aside.fault == fault)
    }
}

/// Finds them. `chosen`: the targets. A pod that `existing` has at its own side stays there: one that changed sides while a Service's
/// endpoints come and go would be hit twice, or not at all, in between.
///
/// # Errors
/// As [`agreeing`].
pub fn asides(
    spec: &ExperimentSpec,
    own: &str,
    world: &World,
    chosen: &[Chosen],
    existing: &[Injection],
) -> Result<Asides, String> {
    let mut found = Asides::default();
    let targets: BTreeSet<&str> = chosen.iter().map(|one| one.target.uid.as_str()).collect();
    let targets: Vec<&Pod> = world.pods.iter().map(AsRef::as_ref).filter(|pod| is_of(pod, &targets)).collect();
    for (index, fault) in spec.faults.iter().enumerate() {
        let Some(network) = &fault.network else { continue };
        let mut selected: BTreeMap<String, &Arc<Pod>> = BTreeMap::new();
        for selector in network.matches.packet.peers.iter().filter_map(|peer| peer.pods.as_ref()) {
            let pods = agreeing(selector, own, world)?.into_iter();
            selected.extend(pods.filter_map(|pod| Some((pod.uid()?, pod))));
        }
        let name = fault.display_name(index);
        let there: BTreeSet<&str> = existing
            .iter()
            .filter(|one| one.spec.peers_side && one.spec.faults.iter().any(|fault| fault.name.as_ref() == Some(&name)))
            .flat_map(|one| one.spec.targets.iter().map(|target| target.uid.as_str()))
            .collect();
        let (uids, services) = shared(&selected, &there, world);
        if uids.is_empty() {
            continue;
        }
        let pods: Vec<&Arc<Pod>> = uids.iter().filter_map(|uid| selected.get(uid).copied()).collect();
        let turned = turned(network, &services, world);
        if let Some(why) = cannot(spec, network, &targets, &pods).or_else(|| crowded(&turned)) {
            let names: Vec<String> = services.iter().map(|service| service.name_any()).collect();
            found.left.push(format!(
                "fault {name}: what goes to these peers through Service {} passes: it leads to other pods too, and {why}",
                names.join(", ")
            ));
            continue;
        }
        let turned = Fault { name: Some(name), network: Some(turned), ..fault.clone() };
        let pods = pods.into_iter().filter_map(|pod| Some((Chosen::of(pod)?, addresses(pod).collect()))).collect();
        found.placed.push(Aside { fault: index, turned, pods });
    }
    let of_targets = targets.into_iter().flat_map(addresses);
    found.targets = of_targets.map(|cidr| PeerAddress { cidr, port: None }).collect();
    Ok(found)
}

fn is_of(pod: &Pod, uids: &BTreeSet<&str>) -> bool {
    pod.metadata.uid.as_deref().is_some_and(|uid| uids.contains(uid))
}

/// A pod's addresses.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = Cidr> {
    let status = pod.status.as_ref();
    let more = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|one| one.ip.as_str());
    more.chain(status.and_then(|status| status.pod_ip.as_deref())).filter_map(|ip| Some(Cidr::host(ip.parse().ok()?)))
}

/// The selected pods that can be reached through a Service that leads to others too, or to one that is `there`: at its own side already;
/// and these Services.
fn shared<'a>(
    selected: &BTreeMap<String, &Arc<Pod>>,
    there: &BTreeSet<&str>,
    world: &'a World,
) -> (BTreeSet<String>, Vec<&'a Service>) {
    let mut uids: BTreeSet<String> = there.iter().map(|uid| (*uid).to_owned()).collect();
    uids.retain(|uid| selected.contains_key(uid));
    let pods = by_uid(selected.values().copied());
    let with_address = services_of(&pods, world).filter(|service| !fronts(service).is_empty());
    let mut open: Vec<(&Service, Vec<Option<&str>>)> =
        with_address.map(|service| (service, peers::behind(service, &pods, world))).collect();
    let mut services = Vec::new();
    // A pod that moves takes those along that share another Service with it.
    loop {
        let moves = |behind: &[Option<&str>]| {
            let moved = |uid: &Option<&str>| uid.is_some_and(|uid| uids.contains(uid));
            behind.iter().any(Option::is_some) && (!behind.iter().all(Option::is_some) || behind.iter().any(moved))
        };
        let (now, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, behind)| moves(behind));
        if now.is_empty() {
            return (uids, services);
        }
        for (service, behind) in now {
            services.push(service);
            uids.extend(behind.into_iter().flatten().map(str::to_owned));
        }
        open = later;
    }
}

/// Why a fault cannot be placed at these peers.
fn cannot(spec: &ExperimentSpec, network: &Network, targets: &[&Pod], pods: &[&Arc<Pod>]) -> Option<&'static str> {
    let in_node = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let containers = spec.selector.pods.as_ref().is_some_and(|pods| !pods.containers.is_empty());
    if containers {
        Some("at the peers' own side one container of a target looks like another: leave out selector.pods.containers")
    } else if !network.matches.packet.interfaces.is_empty() {
        Some("at the peers' own side nobody sees the target's devices: leave out match.interfaces")
    } else if network.matches.except.iter().any(|except| !except.peers.is_empty()) {
        Some("an except with peers cannot be placed at the peers' own side: select fewer pods instead")
    } else if targets.iter().any(|pod| in_node(pod)) {
        Some("a target in its node's network looks like all of the node from there")
    } else if targets.len() > MOST_PEERS / 2 {
        Some("so many targets do not fit into the peers' maps")
    } else if pods.iter().any(|pod| SPARED.contains(&pod.metadata.namespace.as_deref().unwrap_or_default())) {
        Some("no fault is placed at pods of a cluster's own namespaces")
    } else if pods.iter().any(|pod| in_node(pod)) {
        Some("a peer is in its node's network, which is never hit as a whole")
    } else {
        None
    }
}

/// Why the fault as it is turned round would be no fault.
fn crowded(network: &Network) -> Option<&'static str> {
    let mut all = network.matches.except.iter().chain([&network.matches.packet]);
    all.any(|packet| packet.local_ports.len() > MOST_PORTS)
        .then_some("the ports behind it are too many with match.ports")
}

/// The same packets, seen from the other end.
fn turned(network: &Network, services: &[&Service], world: &World) -> Network {
    let mut network = network.clone();
    network.direction = match network.direction {
        Direction::Egress => Direction::Ingress,
        Direction::Ingress => Direction::Egress,
        Direction::Both => Direction::Both,
    };
    // Which ones they are stands in a set of addresses.
    let targets = Peer { pods: Some(PodSelector { all: true, ..PodSelector::default() }), ..Peer::default() };
    let turn = |packet: &mut PacketMatch, peers: Vec<Peer>| {
        packet.all = false;
        packet.peers = peers;
        std::mem::swap(&mut packet.ports, &mut packet.local_ports);
        let behind: Vec<u16> = services.iter().flat_map(|one| behind(one, &packet.local_ports, world)).collect();
        for port in behind {
            if !packet.local_ports.iter().any(|range| range.contains(port)) {
                packet.local_ports.push(PortRange::single(port));
            }
        }
    };
    turn(&mut network.matches.packet, vec![targets]);
    network.matches.except.iter_mut().for_each(|except| turn(except, Vec::new()));
    network
}

/// The pods' own ports behind those of a Service's ports that are meant.
fn behind(service: &Service, meant: &[PortRange], world: &World) -> Vec<u16> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    let meant = ports.filter(|one| u16::try_from(one.port).is_ok_and(|port| meant.iter().any(|r| r.contains(port))));
    let names: BTreeSet<&str> = meant.map(|one| one.name.as_deref().unwrap_or_default()).collect();
    let ports = slices_of(service, world).flat_map(|slice| slice.ports.iter().flatten());
    let ports = ports.filter(|port| names.contains(port.name.as_deref().unwrap_or_default()));
    ports.filter_map(|port| u16::try_from(port.port?).ok()).collect()
}
