//! Rules of `selector`.

use super::Found;
use super::node::{Node, enumerated};

/// Exactly one of pods and local.
pub(super) fn one_of_pods_and_local(spec: &Node<'_>, found: &mut Found) {
    let Some(selector) = spec.get("selector").filter(Node::is_object) else { return };
    match selector.present(&["pods", "local"]).as_slice() {
        [] if !selector.has_only(&["pods", "local"]) => {}
        [] => found.error(&selector, "selects nobody; add pods (in a cluster) or local (on this machine)"),
        [_] => {}
        _ => found.error(&selector, "has pods and local; keep one of them"),
    }
}

/// Every entry of local says one thing.
pub(super) fn one_property_of_local(spec: &Node<'_>, found: &mut Found) {
    const KINDS: [&str; 6] = ["cgroup", "netns", "pid", "unit", "container", "command"];
    let Some(selector) = spec.get("selector") else { return };
    for entry in selector.items("local").iter().filter(|entry| entry.is_object()) {
        if entry.has("command") && entry.text("command").is_none() && !entry.is_true("command") {
            found.error_at(entry, "command", "only true has a meaning; write command: true, or remove it");
        }
        match entry.present(&KINDS).as_slice() {
            [] => found.error(entry, "names no target; write one of cgroup, netns, pid, unit, container and command"),
            [_] => {}
            several => {
                let message = format!("has {}; write each as an entry of its own", enumerated(several));
                found.error(entry, message);
            }
        }
    }
}
