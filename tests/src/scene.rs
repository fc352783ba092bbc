//! The scene that is played again and again: a fault on host `a` in one direction, and a flow that meets it.

use std::fmt;

use crate::lab::Lab;
use crate::net::{Family, Host};
use crate::product::{Report, Running};
use crate::traffic::{Flow, Outcome};

/// The port of the flows that faults are aimed at.
pub const PORT: u16 = 7000;

/// A direction as seen from host `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What `a` sends.
    Egress,
    /// What `a` receives.
    Ingress,
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if *self == Self::Egress { "egress" } else { "ingress" })
    }
}

impl Direction {
    /// Both, to loop over.
    pub const BOTH: [Self; 2] = [Self::Egress, Self::Ingress];

    /// A fault of this direction on the flow to `PORT`, named `f`: `loss: { percent: 2 }` is an action.
    pub fn fault(self, action: &str) -> String {
        self.fault_on("udp", action)
    }

    /// The same for another protocol.
    pub fn fault_on(self, protocol: &str, action: &str) -> String {
        // The server's port is the peer's where `a` is the client, and its own where it is the server.
        let ports = if self == Self::Egress { "ports" } else { "localPorts" };
        format!(
            "name: f, network: {{ direction: {self}, match: {{ protocol: {protocol}, {ports}: [{PORT}] }}, {action} }}"
        )
    }

    /// Who sends and who receives.
    pub fn ends(self, lab: &Lab) -> (&Host, &Host) {
        let (a, b) = (&lab.hosts.a, &lab.hosts.b);
        if self == Self::Egress { (a, b) } else { (b, a) }
    }

    /// Sends a flow to `PORT` in this direction.
    pub fn send(self, lab: &Lab, family: Family, describe: impl Fn(Flow) -> Flow) -> Outcome {
        let (from, to) = self.ends(lab);
        describe(Flow::to(to.at(family, PORT))).run(&from.ns, &to.ns)
    }

    /// Injects one fault `f` in this direction and waits until it acts.
    #[track_caller]
    pub fn inject(self, lab: &Lab, action: &str) -> Running {
        lab.inject(&self.fault(action))
    }

    /// A whole play: inject, send one flow of each family, end the run.
    #[track_caller]
    pub fn play(self, lab: &Lab, action: &str, describe: impl Fn(Flow) -> Flow) -> Play {
        let running = self.inject(lab, action);
        let outcomes = Family::BOTH.map(|family| self.send(lab, family, &describe));
        Play { outcomes, report: running.finish() }
    }
}

/// What came of a play.
#[derive(Clone, Debug)]
pub struct Play {
    /// The flows, IPv4 and IPv6.
    pub outcomes: [Outcome; 2],
    /// The report.
    pub report: Report,
}

impl Play {
    /// A sum over both flows.
    pub fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.outcomes.iter().map(of).sum()
    }

    /// Panics unless the report's counts of matched and hit packets are exactly what the application saw.
    #[track_caller]
    pub fn assert_counts(&self, hit: u64) {
        let fault = self.report.only_fault();
        fault.assert_adds_up();
        assert_eq!(fault.matched(), self.sum(|outcome| outcome.sent), "matched packets: {}", fault.json);
        assert_eq!(fault.injected(), hit, "hit packets: {}", fault.json);
    }
}
