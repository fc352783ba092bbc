//! One look at the wire from outside, IPv4 and IPv6 together.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::net::{Family, Hosts};
use crate::scene::Direction;
use crate::stats::quantile::quantile;
use crate::traffic::Flow;
use crate::traffic::swarm::tcp_echo;
use crate::traffic::tcp::{Until, transfer_over};

use super::round_trip::{open, round_trips};

/// PostgreSQL's, which the samples are about.
const PORT: u16 = 5432;

/// How much traffic each family gets.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Datagrams.
    pub datagrams: u64,
    /// Connections that are tried.
    pub connections: u16,
    /// Messages on each of ten connections.
    pub messages: usize,
    /// How long data flow.
    pub transfer: Duration,
}

impl Effort {
    /// On a real machine.
    pub const FULL: Self =
        Self { datagrams: 5_000, connections: 200, messages: 20, transfer: Duration::from_millis(700) };
    /// Where the processor is emulated.
    pub const SMALL: Self =
        Self { datagrams: 300, connections: 20, messages: 10, transfer: Duration::from_millis(1500) };
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// UDP packets lost, percent.
    pub lost: f64,
    /// Round trip of a message over TCP, median, ms; None: no connection.
    pub rtt_p50: Option<f64>,
    /// The same, 99th percentile.
    pub rtt_p99: Option<f64>,
    /// TCP connections that failed, percent.
    pub failed: f64,
    /// Payload over TCP, Mbit/s; None: no connection.
    pub mbit: Option<f64>,
    /// Segments that TCP sent again meanwhile.
    pub retransmits: Option<u32>,
}

/// No two attempts share a client's port: what an earlier one left in TIME_WAIT must not count as a failure.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

impl Measured {
    /// Measures between both hosts; data flow in a direction, seen from host `a`. Connections are always opened by `a`,
    /// because the samples' port is that of the other end; data of a transfer flow as asked.
    pub fn now(hosts: &Hosts, direction: Direction, effort: Effort) -> Self {
        let (a, b) = (&hosts.a, &hosts.b);
        let (from, to) = if direction == Direction::Egress { (a, b) } else { (b, a) };
        let (mut sent, mut lost, mut tried, mut failed) = (0, 0, 0, 0);
        let (mut times, mut rates, mut retransmits) = (Vec::new(), Vec::new(), 0);
        for family in Family::BOTH {
            let flow = Flow::to(to.at(family, 7000)).count(effort.datagrams).rate(5_000).run(&from.ns, &to.ns);
            sent += flow.sent;
            lost += flow.lost();
            let port = NEXT_PORT.fetch_add(effort.connections, Ordering::Relaxed);
            let patience = Duration::from_millis(2500);
            let echoed = tcp_echo((&a.ns, port), (&b.ns, b.at(family, PORT)), effort.connections, 1, patience);
            tried += echoed.len();
            failed += echoed.iter().filter(|echoed| echoed.rounds == 0).count();
            times.extend(round_trips(&a.ns, &b.ns, b.at(family, PORT), 10, effort.messages));
            if let Some(pair) = open(&from.ns, &to.ns, to.at(family, PORT)) {
                let transfer = transfer_over(&pair, Until::Time(effort.transfer));
                rates.push(transfer.mbit_per_s());
                retransmits += transfer.sender.retransmits;
            }
        }
        let rtt = |share| (!times.is_empty()).then(|| quantile(&times, share));
        Self {
            lost: lost as f64 * 100.0 / sent as f64,
            rtt_p50: rtt(0.5),
            rtt_p99: rtt(0.99),
            failed: failed as f64 * 100.0 / tried as f64,
            mbit: (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64),
            retransmits: (!rates.is_empty()).then_some(retransmits),
        }
    }
}
