//! Dice that are cast once for a connection or a peer: each is wholly hit or wholly clean.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::scene::PORT;
use chaos_tests::stats::binomial::assert_percent;
use chaos_tests::traffic::payload::{Payload, Reading};
use chaos_tests::traffic::swarm;
use chaos_tests::traffic::udp_receiver::Receiver;

const CONNECTIONS: u16 = 1_000;
const FIRST_PORT: u16 = 20_000;

fn fault(per: &str, protocol: &str) -> String {
    format!(
        "name: f, when: {{ percent: 10, per: {per} }}, \
         network: {{ match: {{ protocol: {protocol}, ports: [{PORT}] }}, partition: true }}"
    )
}

/// Which of a thousand UDP flows are hit under a seed; half a flow is a failure.
fn udp_victims(lab: &Lab, family: Family, seed: u64) -> Vec<usize> {
    let running = lab.chaos.run(&lab.experiment().setting(&format!("seed: {seed}")).fault(&fault("connection", "udp")));
    let to = (&lab.hosts.b.ns, lab.hosts.b.at(family, PORT));
    let counts = swarm::udp_flows((&lab.hosts.a.ns, FIRST_PORT), to, CONNECTIONS, 10);
    let report = running.finish();
    let half_hit = counts.iter().filter(|count| !matches!(count, 0 | 10)).count();
    assert_eq!(half_hit, 0, "{family}: {counts:?}");
    let victims: Vec<usize> = (0..counts.len()).filter(|flow| counts[*flow] == 0).collect();
    assert_eq!(report.only_fault().injected(), victims.len() as u64 * 10, "{family}");
    victims
}

#[test]
fn a_tenth_of_a_thousand_udp_flows_is_hit_wholly_and_repeatably() {
    let Some(lab) = Lab::open() else { return };
    for family in Family::BOTH {
        let victims = udp_victims(&lab, family, 42);
        assert_percent(&format!("{family}"), victims.len() as u64, u64::from(CONNECTIONS), 10.0);
        assert_eq!(victims, udp_victims(&lab, family, 42), "{family}: the same seed");
        assert_ne!(victims, udp_victims(&lab, family, 43), "{family}: another seed");
    }
}

#[test]
fn a_tenth_of_a_thousand_tcp_connections_is_hit_wholly() {
    let Some(lab) = Lab::open() else { return };
    for family in Family::BOTH {
        let running = lab.inject(&fault("connection", "tcp"));
        let to = (&lab.hosts.b.ns, lab.hosts.b.at(family, PORT));
        let results = swarm::tcp_echo((&lab.hosts.a.ns, FIRST_PORT), to, CONNECTIONS, 5, Duration::from_secs(5));
        running.finish();
        let hit = results.iter().filter(|result| !result.connected).count() as u64;
        assert_percent(&format!("{family}"), hit, u64::from(CONNECTIONS), 10.0);
        let half_hit =
            results.iter().filter(|result| result.connected && (result.rounds != 5 || result.retransmits > 0));
        assert_eq!(half_hit.count(), 0, "{family}: connections that came about and then lost something");
    }
}

#[test]
fn both_directions_of_a_connection_share_its_fate() {
    let Some(lab) = Lab::open() else { return };
    let faults = fault("connection", "tcp").replace("network: {", "network: { direction: both,");
    let running = lab.inject(&faults);
    let to = (&lab.hosts.b.ns, lab.hosts.b.at(Family::V4, PORT));
    let results = swarm::tcp_echo((&lab.hosts.a.ns, FIRST_PORT), to, CONNECTIONS, 5, Duration::from_secs(5));
    running.finish();
    let hit = results.iter().filter(|result| !result.connected).count() as u64;
    // If each direction cast dice of its own, 19 % would be hit.
    assert_percent("connections", hit, u64::from(CONNECTIONS), 10.0);
}

/// One sender, 250 peers, ten packets to each.
#[test]
fn a_share_of_the_peers_is_hit_wholly() {
    const PEERS: u8 = 250;
    let Some(lab) = Lab::open() else { return };
    lab.hosts.b.ns.ip("route add local 10.79.0.0/24 dev lo");
    lab.hosts.a.ns.ip("route add 10.79.0.0/24 via 10.77.0.2");
    let running = lab.inject(&fault("peer", "udp").replace("percent: 10", "percent: 30"));
    let receiver = Receiver::start(&lab.hosts.b.ns, PORT);
    // Two ports: the dice are of the peer, not of the connection.
    let sockets = [6000, 6001].map(|port| lab.hosts.a.ns.run(|| UdpSocket::bind(("0.0.0.0", port)).unwrap()));
    let mut packet = [0u8; 64];
    for sequence in 0..10u64 {
        for peer in 0..PEERS {
            Payload { flow: peer.into(), sequence, sent_ns: 0 }.write(&mut packet);
            let to = SocketAddr::from(([10, 79, 0, peer], PORT));
            sockets[sequence as usize % 2].send_to(&packet, to).unwrap();
        }
    }
    let mut counts = [0u64; PEERS as usize];
    for arrival in receiver.finish(&lab.hosts.b.ns, Duration::from_millis(400)) {
        let Reading::Intact(payload) = arrival.reading else { panic!("a damaged packet") };
        counts[payload.flow as usize] += 1;
    }
    running.finish();
    assert!(counts.iter().all(|count| matches!(count, 0 | 10)), "half a peer was hit: {counts:?}");
    let hit = counts.iter().filter(|count| **count == 0).count() as u64;
    assert_percent("peers", hit, PEERS.into(), 30.0);
}
