//! Ten thousand peers: those that are named are hit wherever they stand in the lists, and nobody else is.

use std::net::IpAddr;

use chaos_tests::lab::Lab;
use chaos_tests::net::Family;
use chaos_tests::product::Experiment;
use chaos_tests::scene::PORT;
use chaos_tests::traffic::Flow;

/// As many as one fault may have, and faults enough for ten thousand.
const PEERS: u32 = 1_000;
const FAULTS: u32 = 10;
const COUNT: u64 = 50;

/// The number-th of many addresses and networks that nobody in these tests has.
fn stranger(number: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    match number % 4 {
        0 => format!("198.18.{high}.{low}/32"),
        1 => format!("\"2001:db8::{number:x}/128\""),
        2 => format!("172.{}.{low}.0/28", 16 + high % 16),
        _ => format!("\"2001:db8:{number:x}::/48\""),
    }
}

/// Faults `f0` to `f9`, each with a thousand peers: one place of each list may be taken by an address.
fn experiment(lab: &Lab, placed: &[(u32, u32, IpAddr)]) -> Experiment {
    (0..FAULTS).fold(lab.experiment(), |experiment, fault| {
        let peer = |place: u32| {
            let here = placed.iter().find(|(in_fault, at, _)| (*in_fault, *at) == (fault, place));
            let address =
                here.map(|(_, _, address)| format!("\"{address}/{}\"", if address.is_ipv4() { 32 } else { 128 }));
            format!("{{ cidr: {} }}", address.unwrap_or_else(|| stranger(fault * PEERS + place)))
        };
        let peers: Vec<String> = (0..PEERS).map(peer).collect();
        experiment.fault(&format!(
            "name: f{fault}, optional: true, network: {{ match: {{ protocol: udp, peers: [ {} ] }}, partition: true }}",
            peers.join(", ")
        ))
    })
}

#[test]
fn the_named_among_ten_thousand_are_hit_and_nobody_else() {
    let Some(lab) = Lab::open() else { return };
    let b = |family, number| lab.hosts.b_number(family, number);
    // First, last and in the middle, of the first fault, the last, and one between.
    let placed = [
        (0, 0, b(Family::V4, 2)),
        (FAULTS - 1, PEERS - 1, b(Family::V4, 3)),
        (5, 500, b(Family::V6, 2)),
        (FAULTS - 1, 0, b(Family::V6, 4)),
    ];
    let running = lab.chaos.run(&experiment(&lab, &placed));
    for family in Family::BOTH {
        for number in 2..=4 {
            let address = b(family, number);
            let flow = Flow::to((address, PORT).into()).count(COUNT);
            let lost = flow.run(&lab.hosts.a.ns, &lab.hosts.b.ns).lost();
            let named = placed.iter().any(|(_, _, named)| *named == address);
            assert_eq!(lost, if named { COUNT } else { 0 }, "{address}");
        }
    }
    let report = running.finish();
    for fault in 0..FAULTS {
        let hits = placed.iter().filter(|(in_fault, _, _)| *in_fault == fault).count() as u64 * COUNT;
        assert_eq!(report.fault(&format!("f{fault}")).injected(), hits, "f{fault}: {}", report.json);
    }
}
