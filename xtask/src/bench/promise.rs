//! What is promised.

use super::figure::Figure;

/// On which side of its bound a figure must stay.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// From the one to the other.
    Within(f64, f64),
}

/// Which number of a figure the bound is for.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// The value.
    Value,
    /// Ours by the pair's.
    Ratio,
}

/// A promise.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// In words.
    pub what: &'static str,
    /// The figure that keeps or breaks it.
    pub figure: &'static str,
    /// Of the value or of the ratio.
    pub of: Of,
    /// The bound.
    pub bound: Bound,
    /// Where it has been missed: why, as far as known.
    pub reason: &'static str,
}

const fn at_most(bound: f64, figure: &'static str, what: &'static str) -> Promise {
    Promise { what, figure, of: Of::Value, bound: Bound::AtMost(bound), reason: "" }
}

const fn ratio(bound: Bound, figure: &'static str, what: &'static str) -> Promise {
    Promise { what, figure, of: Of::Ratio, bound, reason: "" }
}

impl Promise {
    /// Why it is missed, or was.
    const fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }
}

/// All of them.
pub const PROMISES: &[Promise] = &[
    at_most(10.0, "verdicts/idle", "a packet at an attach point with no active rule"),
    at_most(30.0, "verdicts/no-match/1-rules", "a packet that the active rule does not match"),
    at_most(60.0, "verdicts/matched/1-rules", "a packet that the rule matches and leaves"),
    at_most(60.0, "verdicts/no-match/16-rules", "a packet that none of 16 rules matches").because(
        "Each rule takes about 45 instructions, of which the look-up of its counters on this processor is a fifth. Not counting \
         what was seen, which is the sum of other counters, gave 2 of 65 ns and was left",
    ),
    at_most(80.0, "verdicts/no-match/10000-peers", "a packet whose peer is none of 10,000 single addresses"),
    at_most(120.0, "verdicts/no-match/10000-prefixes", "a packet whose peer is in none of 10,000 prefixes"),
    at_most(10.0, "verdicts/no-match/per-rule", "each further rule"),
    at_most(10.0, "verdicts/no-match/per-experiment", "each further experiment"),
    at_most(0.001, "verdicts/no-match/per-peer", "each further single address: it does not count"),
    at_most(0.001, "verdicts/no-match/per-prefix", "each further prefix: it does not count"),
    at_most(
        0.01,
        "verdicts/no-match/per-target",
        "each further target, for the packets of the others: it does not count",
    ),
    at_most(
        10.0,
        "lifecycle/first-packet",
        "from asking for a target to its first packet that is hit, with the programs loaded",
    ),
    at_most(10.0, "lifecycle/attach/20-targets", "20 targets attached in both directions").because(
        "Each of the 40 attach points needs a stub (loaded in 0.1 ms) and a link (0.1 ms), and each namespace is entered twice on a \
         thread of its own, for which a busy machine lets it wait: entering all of them on one thread is what is to be tried next",
    ),
    at_most(10.0, "lifecycle/stop-all", "from the kill switch to the first packet that passes, with 250 targets"),
    at_most(20.0, "lifecycle/engine/rss/250-targets", "resident memory of a process that holds 250 targets"),
    at_most(25.0, "agent/rss/110-pods", "resident memory of a node's agent with a list of 110 pods"),
    at_most(30.0, "agent/rss/20-targets", "the same with 20 of them under a fault"),
    at_most(1000.0, "agent/gap/update", "faults are off in an update of the agent, whose next process stands by beside the first"),
    at_most(1000.0, "agent/gap/killed", "faults are off from the start of the process that follows one that was killed"),
    at_most(25.0, "calls/out-of-scope/connect", "a connect of a thread that is no target, over an empty hook").because(
        "The kernel's helper is asked for the thread's cgroup at the depth of the targets, and what is known of the call is written \
         down before; clearing that by memset took 22 ns, and looking up a cgroup that there is not 32 ns, before they were left out",
    ),
    at_most(25.0, "calls/out-of-scope/openat", "an openat of such a thread"),
    at_most(25.0, "calls/out-of-scope/pread64", "a pread of such a thread"),
    ratio(Bound::AtMost(1.15), "calls/error/openat", "an openat that fails, by one that is left alone"),
    ratio(Bound::AtMost(1.15), "calls/error/pread64", "a pread that fails, by one that is left alone"),
    ratio(Bound::AtMost(1.15), "calls/delay-1ms/p50", "how late an openat is that is delayed by 1 ms, by one that strace delays"),
    ratio(Bound::AtMost(1.15), "calls/delay-100ms/p50", "the same with 100 ms"),
    ratio(Bound::AtLeast(0.95), "wire/latency-10ms/egress", "TCP throughput under 10 ms on what is sent, by netem's"),
    ratio(Bound::AtLeast(0.95), "wire/latency-50ms/egress", "TCP throughput under 50 ms on what is sent, by netem's"),
    ratio(Bound::AtLeast(0.85), "wire/latency-10ms/ingress", "the same on what arrives, by netem's at the other end"),
    ratio(Bound::AtLeast(0.85), "wire/latency-50ms/ingress", "the same on what arrives, by netem's at the other end"),
    ratio(
        Bound::Within(0.9, 1.1),
        "wire/loss-2/retransmits",
        "retransmitted segments per byte under 2 % loss, by netem's",
    ),
];

impl Promise {
    /// What the figure says.
    pub fn measured(&self, figure: &Figure) -> Option<f64> {
        match self.of {
            Of::Value => Some(figure.value),
            Of::Ratio => figure.ratio,
        }
    }

    /// Whether it is kept.
    pub fn kept(&self, measured: f64) -> bool {
        match self.bound {
            Bound::AtMost(bound) => measured <= bound,
            Bound::AtLeast(bound) => measured >= bound,
            Bound::Within(low, high) => (low..=high).contains(&measured),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_bound_twice() {
        let mut names: Vec<String> = PROMISES.iter().map(|one| format!("{} {:?}", one.figure, one.bound)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), PROMISES.len());
    }

    #[test]
    fn a_bound_is_kept_on_its_own_side() {
        let promise = at_most(10.0, "x", "");
        assert!(promise.kept(10.0) && !promise.kept(10.1));
        let promise = Promise { bound: Bound::AtLeast(0.95), ..promise };
        assert!(promise.kept(0.95) && !promise.kept(0.94));
    }
}
