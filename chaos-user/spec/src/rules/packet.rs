//! Rules of `match` and `except` of network faults.

use super::Found;
use super::node::{Node, enumerated, networks, packets, peers};
use crate::value::Protocol;

/// What says which packets are meant.
const SELECTING: [&str; 6] = ["peers", "protocol", "ports", "localPorts", "connections", "interfaces"];

/// A match names packets by a property, or says `all: true`: a mistyped field must not widen a fault to everything.
pub(super) fn selects_something(spec: &Node<'_>, found: &mut Found) {
    for packets in packets(spec).iter().filter(|packets| packets.is_object()) {
        if packets.narrowing(&SELECTING).is_empty() && packets.narrowing(&["all"]).is_empty() {
            let message = "selects by nothing; add peers, protocol, ports, localPorts, connections or interfaces, or write \
                           all: true for all packets";
            found.error(packets, message);
        }
    }
}

/// `all: true` beside a property is a contradiction; except and node may stand there.
pub(super) fn all_stands_alone(spec: &Node<'_>, found: &mut Found) {
    for packets in packets(spec).iter().filter(|packets| packets.is_true("all")) {
        let others = packets.narrowing(&SELECTING);
        if !others.is_empty() {
            let message = format!("contradicts {}; remove all: true, or remove the rest", enumerated(&others));
            found.error_at(packets, "all", message);
        }
    }
}

/// An exception of everything leaves nothing to hit.
pub(super) fn except_leaves_something(spec: &Node<'_>, found: &mut Found) {
    let matches = networks(spec).into_iter().filter_map(|network| network.get("match"));
    for except in matches.flat_map(|matches| matches.items("except")).filter(|except| except.is_true("all")) {
        found.error_at(&except, "all", "leaves no packet to hit; remove it, and say what is to be spared");
    }
}

/// New and established are words of TCP.
pub(super) fn connections_need_tcp(spec: &Node<'_>, found: &mut Found) {
    for packets in packets(spec) {
        let Some(connections @ ("new" | "established")) = packets.text("connections") else { continue };
        match packets.get("protocol").map(|_| packets.parse::<Protocol>("protocol")) {
            Some(Some(Protocol::Tcp) | None) => {}
            Some(Some(protocol)) => {
                let message = format!("connections: {connections} is of TCP only; write protocol: tcp, not {protocol}");
                found.error_at(&packets, "connections", message);
            }
            None => {
                let message = format!("connections: {connections} is of TCP only; add protocol: tcp");
                found.error_at(&packets, "connections", message);
            }
        }
    }
}

/// ICMP and the like have no ports.
pub(super) fn ports_need_protocol_with_ports(spec: &Node<'_>, found: &mut Found) {
    for packets in packets(spec) {
        let Some(protocol) = packets.parse::<Protocol>("protocol").filter(|protocol| !protocol.has_ports()) else {
            continue;
        };
        for ports in packets.present(&["ports", "localPorts"]) {
            let message = format!("protocol {protocol} has no ports; remove them, or write protocol: tcp, udp or sctp");
            found.error_at(&packets, ports, message);
        }
    }
}

/// Who writes ingress and a port mostly means the server's own.
pub(super) fn ports_of_ingress(spec: &Node<'_>, found: &mut Found) {
    for network in networks(spec).iter().filter(|network| network.text("direction") == Some("ingress")) {
        if let Some(matches) = network.get("match").filter(|matches| matches.has("ports")) {
            let message = "on ingress this is the client's source port; the server's own port is localPorts";
            found.warn_at(&matches, "ports", message);
        }
    }
}

/// Every entry of peers says one thing.
pub(super) fn one_property_of_peer(spec: &Node<'_>, found: &mut Found) {
    for peer in peers(spec).iter().filter(|peer| peer.is_object()) {
        match peer.present(&["cidr", "host", "service", "pods"]).as_slice() {
            [] => found.error(peer, "names no peer; write one of cidr, host, service and pods"),
            [_] => {}
            several => {
                found.error(peer, format!("has {}; write each as an entry of its own", enumerated(several)));
            }
        }
    }
}
