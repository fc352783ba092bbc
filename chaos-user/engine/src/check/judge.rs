//! Did the fault do what it promises? From the outside alone; pure.

use super::case::{DELAY, Kind};
use std::time::Duration;

/// What of [`DELAY`] must be seen beyond the time that a packet takes without a fault; the rest is for clocks.
const LEAST_DELAY: Duration = Duration::from_millis(50);
/// From the first to the last of three packets of 50 ms each it should be 100 ms.
const LEAST_SPREAD: Duration = Duration::from_millis(60);

/// A datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which one, by its payload; None: none like it was sent.
    pub index: Option<usize>,
    /// The checksum of its IPv4 header is right.
    pub header_ok: bool,
    /// When it was read, from the start of the trial.
    pub at: Duration,
    /// The control packet, which was sent behind it, was there before it: on a cable only a queue does that, while a sender or
    /// reader that was kept from running shifts times alone.
    pub overtaken: bool,
}

/// What became of the packets of one case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// When each was sent, from the start of the trial.
    pub sent: Vec<Duration>,
    /// In order of arrival.
    pub arrivals: Vec<Arrival>,
    /// What a packet that no fault means took in this direction; None: it did not arrive.
    pub control: Option<Duration>,
    /// Packets that the receiving stack discarded for their header's checksum, of all cases together.
    pub discarded: u64,
    /// The connection broke at the near end, at the far end.
    pub reset: [bool; 2],
}

/// Whether a case's packets show the fault.
///
/// # Errors
/// What was seen instead.
pub fn judge(kind: Kind, ingress: bool, trace: &Trace) -> Result<(), String> {
    let Some(control) = trace.control else {
        return Err("a packet that no fault meant did not arrive either".to_owned());
    };
    let (sent, arrived) = (trace.sent.len(), trace.arrivals.len());
    let proven = match kind {
        Kind::Partition | Kind::Loss => arrived == 0,
        Kind::Duplicate => (0..sent).all(|index| count(trace, Some(index)) == 2) && arrived == 2 * sent,
        Kind::CorruptDetected if ingress => arrived == 0 && trace.discarded >= sent as u64,
        Kind::CorruptDetected => arrived == sent && trace.arrivals.iter().all(|one| !one.header_ok),
        Kind::CorruptDelivered => {
            count(trace, None) == sent && arrived == sent && trace.arrivals.iter().all(|one| one.header_ok)
        }
        Kind::Reset => trace.reset == [true, true],
        // new-fault: proof
        Kind::Latency => arrived == sent && delayed(trace, control),
        Kind::Reorder => {
            let order = trace.arrivals.iter().map(|one| (one.index, one.overtaken));
            order.eq([(Some(1), false), (Some(0), true)])
        }
        Kind::Bandwidth => {
            let waited = trace.arrivals.iter().filter(|one| one.overtaken).count();
            arrived == sent && waited + 1 >= sent && spread(trace) >= LEAST_SPREAD
        }
    };
    if proven { Ok(()) } else { Err(seen(kind, trace, control)) }
}

fn count(trace: &Trace, index: Option<usize>) -> usize {
    trace.arrivals.iter().filter(|one| one.index == index).count()
}

fn delayed(trace: &Trace, control: Duration) -> bool {
    trace
        .arrivals
        .iter()
        .all(|one| one.overtaken && transit(trace, one).is_some_and(|took| took >= control + LEAST_DELAY))
}

fn transit(trace: &Trace, arrival: &Arrival) -> Option<Duration> {
    arrival.at.checked_sub(*trace.sent.get(arrival.index?)?)
}

fn spread(trace: &Trace) -> Duration {
    let (first, last) = (trace.arrivals.first(), trace.arrivals.last());
    first.zip(last).map_or(Duration::ZERO, |(first, last)| last.at.saturating_sub(first.at))
}

/// What was seen of a fault without the promised effect.
fn seen(kind: Kind, trace: &Trace, control: Duration) -> String {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    if kind == Kind::Reset {
        let end = |broke: bool| if broke { "broke" } else { "held" };
        return format!("the connection {} at the target and {} at its peer", end(trace.reset[0]), end(trace.reset[1]));
    }
    let mut text = format!("{} packets sent, {} arrived", trace.sent.len(), trace.arrivals.len());
    match kind {
        Kind::CorruptDetected | Kind::CorruptDelivered => {
            let wrong = trace.arrivals.iter().filter(|one| !one.header_ok).count();
            text += &format!(
                ", {wrong} with a wrong header checksum, {} with another payload, {} discarded",
                count(trace, None),
                trace.discarded
            );
        }
        Kind::Latency => {
            let took: Vec<_> = trace.arrivals.iter().filter_map(|one| transit(trace, one)).map(millis).collect();
            text += &format!(
                " after {} with a delay of {}, one without after {}",
                took.join(", "),
                millis(DELAY),
                millis(control)
            );
        }
        Kind::Reorder => {
            let order: Vec<_> =
                trace.arrivals.iter().map(|one| one.index.map_or(0, |index| index + 1).to_string()).collect();
            text += &format!(" in the order {}", order.join(", "));
        }
        Kind::Bandwidth => text += &format!(" within {}, where 200 kbit/s takes 100 ms", millis(spread(trace))),
        _ => {}
    }
    if kind.queues() {
        let overtaken = trace.arrivals.iter().filter(|one| one.overtaken).count();
        text += &format!("; a packet sent behind them overtook {overtaken}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Packets sent at 0 ms that arrived so: (index, header ok, ms); the control arrives at 1 ms.
    fn trace(sent: usize, arrivals: &[(Option<usize>, bool, u64)]) -> Trace {
        let arrivals = arrivals.iter().map(|(index, header_ok, at)| Arrival {
            index: *index,
            header_ok: *header_ok,
            at: ms(*at),
            overtaken: *at > 1,
        });
        Trace { sent: vec![ms(0); sent], arrivals: arrivals.collect(), control: Some(ms(1)), ..Trace::default() }
    }

    fn untouched(sent: usize) -> Trace {
        let arrivals: Vec<_> = (0..sent).map(|index| (Some(index), true, 1)).collect();
        trace(sent, &arrivals)
    }

    const ALL: [Kind; 9] = [
        Kind::Partition,
        Kind::Loss,
        Kind::Reset,
        Kind::Duplicate,
        Kind::CorruptDetected,
        Kind::CorruptDelivered,
        Kind::Latency,
        Kind::Reorder,
        Kind::Bandwidth,
    ];

    #[test]
    fn packets_that_nothing_touched_prove_nothing() {
        for kind in ALL {
            for ingress in [false, true] {
                judge(kind, ingress, &untouched(kind.datagrams().0)).unwrap_err();
            }
        }
    }

    #[test]
    fn silence_proves_only_loss_and_only_beside_a_control() {
        for kind in ALL {
            let silent = trace(3, &[]);
            let proven = judge(kind, false, &silent).is_ok();
            assert_eq!(proven, matches!(kind, Kind::Partition | Kind::Loss), "{kind:?}");
            judge(kind, true, &Trace { control: None, ..silent }).unwrap_err();
        }
    }

    #[test]
    fn corruption_is_told_from_loss_by_where_it_shows() {
        let damaged = trace(1, &[(Some(0), false, 1)]);
        assert_eq!(judge(Kind::CorruptDetected, false, &damaged), Ok(()));
        judge(Kind::CorruptDelivered, false, &damaged).unwrap_err();
        let discarded = Trace { discarded: 1, ..trace(1, &[]) };
        assert_eq!(judge(Kind::CorruptDetected, true, &discarded), Ok(()));
        judge(Kind::CorruptDetected, true, &trace(1, &[])).unwrap_err();
        let other = trace(1, &[(None, true, 1)]);
        assert_eq!(judge(Kind::CorruptDelivered, true, &other), Ok(()));
        judge(Kind::CorruptDelivered, true, &trace(2, &[(None, true, 1)])).unwrap_err();
    }

    #[test]
    fn duplicates_are_two_of_each() {
        let twice = trace(2, &[(Some(0), true, 1), (Some(0), true, 1), (Some(1), true, 1), (Some(1), true, 1)]);
        assert_eq!(judge(Kind::Duplicate, true, &twice), Ok(()));
        let thrice = trace(2, &[(Some(0), true, 1), (Some(0), true, 1), (Some(0), true, 1), (Some(1), true, 1)]);
        judge(Kind::Duplicate, true, &thrice).unwrap_err();
    }

    #[test]
    fn delay_is_measured_beyond_the_control() {
        assert_eq!(judge(Kind::Latency, false, &trace(1, &[(Some(0), true, 61)])), Ok(()));
        // A slow machine is no delay.
        let slow = Trace { control: Some(ms(40)), ..trace(1, &[(Some(0), true, 61)]) };
        let text = judge(Kind::Latency, false, &slow).unwrap_err();
        assert!(text.contains("after 61.0 ms") && text.contains("without after 40.0 ms"), "{text}");
    }

    /// A sender that stood still for 100 ms: all is late, and in the order in which it was sent.
    #[test]
    fn a_stalled_sender_is_no_queue() {
        for kind in ALL.into_iter().filter(|kind| kind.queues()) {
            let late = |index| Arrival {
                index: Some(index),
                header_ok: true,
                at: ms(50 * index as u64 + 100),
                overtaken: false,
            };
            let count = kind.datagrams().0;
            let stalled = Trace { arrivals: (0..count).map(late).collect(), ..trace(count, &[]) };
            let text = judge(kind, false, &stalled).unwrap_err();
            assert!(text.ends_with("overtook 0"), "{text}");
        }
    }

    #[test]
    fn order_and_spacing() {
        assert_eq!(judge(Kind::Reorder, true, &trace(2, &[(Some(1), true, 1), (Some(0), true, 60)])), Ok(()));
        let spaced = trace(3, &[(Some(0), true, 10), (Some(1), true, 60), (Some(2), true, 110)]);
        assert_eq!(judge(Kind::Bandwidth, false, &spaced), Ok(()));
        let text = judge(Kind::Bandwidth, false, &untouched(3)).unwrap_err();
        assert!(text.contains("within 0.0 ms"), "{text}");
    }

    #[test]
    fn a_reset_breaks_both_ends() {
        let both = Trace { reset: [true, true], ..untouched(1) };
        assert_eq!(judge(Kind::Reset, false, &both), Ok(()));
        let text = judge(Kind::Reset, false, &Trace { reset: [true, false], ..both }).unwrap_err();
        assert_eq!(text, "the connection broke at the target and held at its peer");
    }
}
