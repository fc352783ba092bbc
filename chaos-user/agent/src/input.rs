//! What the worker hears, and what it says.

use super::pods::PodFacts;
use chaos_k8s::api::{Injection, InjectionStatus};
use chaos_spec::plan::PeerAddress;
use chaos_sys::births::Event;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of objects that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Injections of this node.
    Injection,
    /// Pods of this node.
    Pod,
    /// PeerSets.
    PeerSet,
    /// Halts.
    Halt,
}

/// What the worker hears.
#[derive(Debug)]
pub enum Input {
    /// An Injection is so.
    Injection(Box<Injection>),
    /// A pod is so.
    Pod(Box<PodFacts>),
    /// A PeerSet, by namespace and name, is so; or why it cannot be read.
    PeerSet((String, String), Result<BTreeSet<PeerAddress>, String>),
    /// A Halt, by name, with its reason.
    Halt(String, String),
    /// An object is gone: its UID, or namespace and name of a PeerSet, or the name of a Halt.
    Gone(Kind, String),
    /// A list that succeeded has these, named as in `Gone`, and no others.
    All(Kind, BTreeSet<String>),
    /// Something began on this node.
    Birth(Event),
    /// SIGTERM: write down what is, and end.
    End,
}

/// What the worker says.
#[derive(Debug)]
pub enum Output {
    /// The status of an Injection, by namespace and name.
    Status {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What it is.
        status: Box<InjectionStatus>,
    },
    /// How the node stands.
    Node(NodeState),
}

/// How the node stands, for metrics and the NodeAgent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// Everything was listed once.
    pub listed: bool,
    /// This process owns the node's experiments.
    pub owns: bool,
    /// Experiments that act, as namespace/name.
    pub active: Vec<String>,
    /// Their faults.
    pub faults: usize,
    /// Pods and containers under them.
    pub targets: usize,
    /// Why nothing starts here.
    pub locked: Option<String>,
    /// Counts by experiment and fault: matched, injected, skipped.
    pub counts: BTreeMap<(String, String), (u64, u64, u64)>,
    /// Errors by category since the begin.
    pub errors: BTreeMap<&'static str, u64>,
}
