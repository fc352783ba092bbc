//! Rules of the entries of `faults`.

use std::collections::HashMap;

use super::Found;
use super::node::{Node, faults};

/// Exactly one of network and syscall.
pub(super) fn one_of_network_and_syscall(spec: &Node<'_>, found: &mut Found) {
    for fault in faults(spec).iter().filter(|fault| fault.is_object()) {
        match fault.present(&["network", "syscall"]).as_slice() {
            [] => found.error(fault, "is no fault; add network or syscall"),
            [_] => {}
            _ => found.error(fault, "has network and syscall; write each as an entry of its own"),
        }
    }
}

/// No name is used twice, counting the `fault-<index>` of unnamed ones.
pub(super) fn unique_names(spec: &Node<'_>, found: &mut Found) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, fault) in faults(spec).iter().enumerate() {
        let name = fault.text("name").map_or_else(|| format!("fault-{index}"), str::to_owned);
        if let Some(first) = seen.get(&name) {
            let message = format!("{name:?} is the name of spec.faults[{first}] already; give each fault its own");
            found.error_at(fault, "name", message);
        } else {
            seen.insert(name, index);
        }
    }
}

/// `per` says what the dice are thrown for: without `percent` there are none.
pub(super) fn per_needs_percent(spec: &Node<'_>, found: &mut Found) {
    for when in faults(spec).iter().filter_map(|fault| fault.get("when")) {
        if let Some(per @ ("connection" | "peer")) = when.text("per")
            && !when.has("percent")
        {
            found.error_at(&when, "per", format!("per: {per} needs percent beside it; add percent: 10, or remove per"));
        }
    }
}
