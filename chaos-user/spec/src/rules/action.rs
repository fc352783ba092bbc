//! Rules of the actions of network faults.

use super::Found;
use super::node::{Node, enumerated, faults, networks};
use crate::value::Protocol;

/// The fields of `network` that are actions.
pub const ACTIONS: &[&str] = &[
    "latency",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    "bandwidth",
    // new-fault: name
    "partition",
    "reset",
];

/// What ends the message about several.
pub const ONE_ACTION: &str = "an entry takes one: give each an entry of its own";

/// What is said where there is none.
#[must_use]
pub fn no_action() -> String {
    format!("has no action; add one of {}", enumerated(ACTIONS))
}

/// Exactly one action; reorder comes together with latency.
pub(super) fn one_action(spec: &Node<'_>, found: &mut Found) {
    for network in networks(spec).iter().filter(|network| network.is_object()) {
        let actions = network.present(ACTIONS);
        if network.has("partition") && network.text("partition").is_none() && !network.is_true("partition") {
            found.error_at(network, "partition", "only true has a meaning; write partition: true, or remove it");
        }
        match actions.as_slice() {
            // An unknown field was meant to be one, and has its own remedy.
            [] if !network.has_only(&[&["match", "direction", "perPacket"], ACTIONS].concat()) => {}
            [] => found.error(network, no_action()),
            [_] | ["latency", "reorder"] => {}
            several => {
                let message = format!("has the actions {}; {ONE_ACTION}", enumerated(several));
                found.error(network, message);
            }
        }
    }
}

/// Only a packet that is held can be overtaken.
pub(super) fn reorder_needs_latency(spec: &Node<'_>, found: &mut Found) {
    for network in networks(spec) {
        if network.has("reorder") && !network.has("latency") {
            let message =
                "needs latency beside it, which holds the packets that others overtake; add latency: { delay: 50ms }";
            found.error_at(&network, "reorder", message);
        }
    }
}

/// A share of nothing has no effect.
pub(super) fn zero_hits_nothing(spec: &Node<'_>, found: &mut Found) {
    let actions = networks(spec).into_iter().flat_map(|network| {
        ["loss", "duplicate", "corrupt", "reorder", "reset"].into_iter().filter_map(move |action| network.get(action))
    });
    let whens = faults(spec).into_iter().filter_map(|fault| fault.get("when"));
    for share in whens.chain(actions).filter(|share| share.number("percent") == Some(0.0)) {
        found.warn_at(&share, "percent", "0 hits nothing; write a number above 0, up to 100");
    }
}

/// A loss follows one model.
pub(super) fn loss_by_one_model(spec: &Node<'_>, found: &mut Found) {
    for loss in networks(spec).iter().filter_map(|network| network.get("loss")).filter(Node::is_object) {
        match (loss.has("percent"), loss.has("gilbertElliott")) {
            (false, false) => found.error(&loss, "loses nothing; add percent or gilbertElliott"),
            (true, true) => {
                let message = "contradicts gilbertElliott, which has its own probabilities; keep one of them";
                found.error_at(&loss, "percent", message);
            }
            _ => {}
        }
        if loss.has("gilbertElliott") && loss.has("correlation") {
            let message = "contradicts gilbertElliott, which has its own memory; remove correlation";
            found.error_at(&loss, "correlation", message);
        }
    }
}

/// Only TCP knows resets.
pub(super) fn reset_needs_tcp(spec: &Node<'_>, found: &mut Found) {
    for network in networks(spec).iter().filter(|network| network.has("reset")) {
        let Some(matches) = network.get("match") else { continue };
        match matches.parse::<Protocol>("protocol") {
            Some(Protocol::Tcp) => {}
            Some(protocol) => {
                let message = format!("protocol {protocol} knows no reset; write protocol: tcp");
                found.error_at(&matches, "protocol", message);
            }
            None if matches.has("protocol") => {}
            None => found.warn_at(network, "reset", "only TCP packets are reset; protocol: tcp says so"),
        }
    }
}
