//! Can a node do a fault? From what its agent has found out.

use crate::api::Capability;
use chaos_spec::{CorruptMode, Fault, faults};

/// What a fault needs of a node: pairs of fault and scope as agents name them, and how the fault is called.
fn needs(fault: &Fault) -> Vec<(&'static str, String)> {
    let Some(network) = &fault.network else {
        let calls = fault.syscall.as_ref().map(|_| ("syscall", String::new()));
        return calls.into_iter().collect();
    };
    let Some(compiled) = faults::compile(network) else { return Vec::new() };
    let directions = [("egress", network.direction.egress()), ("ingress", network.direction.ingress())];
    let mut all = Vec::new();
    for (direction, wanted) in directions {
        if !wanted {
            continue;
        }
        let variant = network.corrupt.as_ref().map(|corrupt| match corrupt.mode {
            CorruptMode::Detected => "detected ",
            CorruptMode::Delivered => "delivered ",
        });
        all.push((compiled.name, format!("{}{direction}", variant.unwrap_or_default())));
        if network.reorder.is_some() {
            all.push(("reorder", direction.to_owned()));
        }
    }
    all
}

/// The mechanisms by which a node would do a fault, joined.
///
/// # Errors
/// Why it cannot.
pub fn serves(capabilities: &[Capability], fault: &Fault) -> Result<String, String> {
    if capabilities.is_empty() {
        return Err("its agent has not said yet what its kernel can do".to_owned());
    }
    let mut mechanisms: Vec<&str> = Vec::new();
    for (name, scope) in needs(fault) {
        let found = capabilities.iter().find(|one| one.fault == name && one.scope == scope);
        match found {
            Some(one) if one.supported => {
                if !one.mechanism.is_empty() && !mechanisms.contains(&one.mechanism.as_str()) {
                    mechanisms.push(&one.mechanism);
                }
            }
            Some(one) => return Err(format!("{name} {scope}: {}", one.reason)),
            None => return Err(format!("{name} {scope}: its agent does not know this fault").replace(" :", ":")),
        }
    }
    Ok(mechanisms.join(", "))
}

/// What a fault does, in short: `latency, reorder egress`.
#[must_use]
pub fn named(fault: &Fault) -> String {
    let needs = needs(fault);
    let all: Vec<String> = needs.iter().map(|(name, scope)| format!("{name} {scope}").trim_end().to_owned()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault(network: Value) -> Fault {
        let mut network = network;
        network["match"] = json!({ "all": true });
        serde_json::from_value(json!({ "network": network })).unwrap()
    }

    fn capability(fault: &str, scope: &str, supported: bool) -> Capability {
        Capability {
            fault: fault.to_owned(),
            scope: scope.to_owned(),
            supported,
            mechanism: if supported { "tcx" } else { "" }.to_owned(),
            reason: if supported { "" } else { "no fq" }.to_owned(),
        }
    }

    #[test]
    fn every_direction_and_variant_must_be_there() {
        let node = [
            capability("partition", "egress", true),
            capability("partition", "ingress", true),
            capability("corrupt", "detected egress", true),
            capability("latency", "egress", true),
            capability("reorder", "egress", false),
        ];
        assert_eq!(serves(&node, &fault(json!({ "direction": "both", "partition": true }))), Ok("tcx".to_owned()));
        assert_eq!(serves(&node, &fault(json!({ "corrupt": { "percent": 1 } }))), Ok("tcx".to_owned()));
        let delivered = serves(&node, &fault(json!({ "corrupt": { "percent": 1, "mode": "delivered" } })));
        assert_eq!(delivered, Err("corrupt delivered egress: its agent does not know this fault".to_owned()));
        let latency = json!({ "latency": { "delay": "50ms" } });
        assert_eq!(serves(&node, &fault(latency)), Ok("tcx".to_owned()));
        let reorder = json!({ "latency": { "delay": "50ms" }, "reorder": { "percent": 5 } });
        assert_eq!(serves(&node, &fault(reorder)), Err("reorder egress: no fq".to_owned()));
        assert!(serves(&[], &fault(json!({ "partition": true }))).unwrap_err().contains("not said yet"));
        let calls: Fault = serde_json::from_value(
            json!({ "syscall": { "calls": ["read"], "errno": "EIO", "match": { "all": true } } }),
        )
        .unwrap();
        assert_eq!(serves(&node, &calls), Err("syscall: its agent does not know this fault".to_owned()));
    }

    /// What the agents publish is what `chaos check` tries: a name that differs would make every fault unknown.
    #[test]
    fn names_are_those_of_the_trials() {
        let one = |network: Value| named(&fault(network));
        assert_eq!(one(json!({ "direction": "both", "partition": true })), "partition egress, partition ingress");
        assert_eq!(one(json!({ "bandwidth": { "rate": "1mbit" } })), "bandwidth egress");
        assert_eq!(one(json!({ "duplicate": { "percent": 1 } })), "duplicate egress");
        assert_eq!(one(json!({ "reset": { "percent": 1 } })), "reset egress");
        assert_eq!(one(json!({ "loss": { "percent": 1 } })), "loss egress");
    }
}
