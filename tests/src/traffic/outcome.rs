//! What became of a UDP flow.

use std::collections::{BTreeMap, BTreeSet};

use super::payload::{Payload, Reading};
use super::udp::Sent;
use super::udp_receiver::Arrival;

/// The packets of one flow as sent and as received.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Packets that the socket took.
    pub sent: u64,
    /// Packets that the socket refused.
    pub send_errors: u64,
    /// Packets that arrived intact, in order of arrival, duplicates too: what they carried and when they came.
    pub arrivals: Vec<(Payload, u64)>,
    /// Packets that arrived with a payload other than sent.
    pub damaged: u64,
    /// Packets whose number had arrived before.
    pub duplicates: u64,
    /// Packets, not duplicates, that came after one with a higher number.
    pub reordered: u64,
}

impl Outcome {
    /// How many different packets arrived intact.
    pub fn received(&self) -> u64 {
        self.arrivals.len() as u64 - self.duplicates
    }

    /// How many never arrived, neither intact nor damaged.
    pub fn lost(&self) -> u64 {
        self.sent - self.received() - self.damaged
    }

    /// The numbers that arrived intact.
    pub fn sequences(&self) -> BTreeSet<u64> {
        self.arrivals.iter().map(|(payload, _)| payload.sequence).collect()
    }

    /// The numbers that did not arrive intact, in order.
    pub fn missing(&self) -> Vec<u64> {
        let arrived = self.sequences();
        (0..self.sent).filter(|sequence| !arrived.contains(sequence)).collect()
    }

    /// How many copies beyond the first each number had, for those that had any.
    pub fn extra_copies(&self) -> BTreeMap<u64, u64> {
        let mut copies = BTreeMap::new();
        for (payload, _) in &self.arrivals {
            *copies.entry(payload.sequence).or_insert(0) += 1;
        }
        copies.into_iter().filter(|(_, count)| *count > 1).map(|(sequence, count)| (sequence, count - 1)).collect()
    }

    /// One-way delays in milliseconds, in order of arrival.
    pub fn delays_ms(&self) -> Vec<f64> {
        self.arrivals.iter().map(|(payload, at)| at.saturating_sub(payload.sent_ns) as f64 / 1e6).collect()
    }

    /// For each packet in the order of sending: did it arrive intact?
    pub fn fates(&self) -> Vec<bool> {
        let arrived = self.sequences();
        (0..self.sent).map(|sequence| arrived.contains(&sequence)).collect()
    }

    /// When the first packet that was sent after an instant was sent and came through, if any did.
    pub fn first_sent_after(&self, instant_ns: u64) -> Option<u64> {
        self.arrivals.iter().map(|(payload, _)| payload.sent_ns).filter(|sent| *sent >= instant_ns).min()
    }
}

/// Gives every arrival to its flow; what is damaged beyond recognition counts for the first.
pub(crate) fn sort(ids: &[u32], sent: &[Sent], arrivals: &[Arrival]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = sent
        .iter()
        .map(|sent| Outcome { sent: sent.packets, send_errors: sent.errors, ..Outcome::default() })
        .collect();
    let place = |flow: u32| ids.iter().position(|id| *id == flow);
    let mut seen: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); ids.len()];
    for arrival in arrivals {
        match arrival.reading {
            Reading::Damaged(flow) => outcomes[place(flow).unwrap_or(0)].damaged += 1,
            Reading::Intact(payload) => {
                let Some(index) = place(payload.flow) else { continue };
                note(&mut outcomes[index], &mut seen[index], payload, arrival.received_ns);
            }
        }
    }
    outcomes
}

fn note(outcome: &mut Outcome, seen: &mut BTreeSet<u64>, payload: Payload, received_ns: u64) {
    let highest = seen.last().copied();
    if !seen.insert(payload.sequence) {
        outcome.duplicates += 1;
    } else if highest.is_some_and(|highest| payload.sequence < highest) {
        outcome.reordered += 1;
    }
    outcome.arrivals.push((payload, received_ns));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(flow: u32, sequence: u64) -> Arrival {
        Arrival { reading: Reading::Intact(Payload { flow, sequence, sent_ns: 1_000_000 }), received_ns: 3_500_000 }
    }

    #[test]
    fn losses_duplicates_and_reordering_are_told_apart() {
        let arrivals = [
            arrival(1, 0),
            arrival(1, 2),
            arrival(1, 1),
            arrival(1, 2),
            Arrival { reading: Reading::Damaged(1), received_ns: 0 },
            arrival(9, 0),
        ];
        let outcome = sort(&[1], &[Sent { packets: 6, errors: 0 }], &arrivals).remove(0);
        assert_eq!((outcome.received(), outcome.damaged, outcome.lost()), (3, 1, 2));
        assert_eq!((outcome.duplicates, outcome.reordered), (1, 1));
        assert_eq!(outcome.missing(), [3, 4, 5]);
        assert_eq!(outcome.extra_copies(), BTreeMap::from([(2, 1)]));
        assert_eq!(outcome.fates(), [true, true, true, false, false, false]);
        assert!(outcome.delays_ms().iter().all(|delay| (delay - 2.5).abs() < 1e-9));
    }
}
