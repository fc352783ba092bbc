//! A place in a document: its value and its path.

use std::str::FromStr;

use serde_json::Value;

use crate::Path;

/// A place in a document. All accessors answer "absent" for what has the wrong type.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: Path,
}

impl<'a> Node<'a> {
    pub(super) const fn root(value: &'a Value) -> Self {
        Self { value, path: Path::root() }
    }

    pub(super) const fn path(&self) -> &Path {
        &self.path
    }

    /// The field of this name, if it is there and has a value.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self { value, path: self.path.key(name) })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The entries of the list of this name.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        let Some(list) = self.get(name) else { return Vec::new() };
        let items = list.value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().enumerate().map(|(index, value)| Self { value, path: list.path.index(index) }).collect()
    }

    /// Whether the field of this name is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.value.get(name) == Some(&Value::Bool(true))
    }

    /// Whether this is an object; what is not was reported by the schema walk.
    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// Whether an object has no other fields than these.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        self.value.as_object().is_none_or(|fields| fields.keys().all(|name| names.contains(&name.as_str())))
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The field of this name as a string.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name)?.as_str()
    }

    /// The field of this name as a number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.value.get(name)?.as_f64()
    }

    /// The field of this name, a string or a whole number, as a small value.
    pub(super) fn parse<T: FromStr>(&self, name: &str) -> Option<T> {
        match self.value.get(name)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) if !number.is_f64() => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Those of the names that are there.
    pub(super) fn present<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| self.has(name)).collect()
    }

    /// Those of the names that narrow what is selected: `false` and `connections: any` do not.
    pub(super) fn narrowing<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let narrows = |name: &&str| {
            self.get(name).is_some_and(|node| {
                !(node.value == &Value::Bool(false) || (*name == "connections" && node.value == "any"))
            })
        };
        names.iter().copied().filter(narrows).collect()
    }
}

/// The entries of `spec.faults`.
pub(super) fn faults<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    spec.items("faults")
}

/// Every `network` of the faults.
pub(super) fn networks<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    faults(spec).iter().filter_map(|fault| fault.get("network")).collect()
}

/// Every `syscall` of the faults.
pub(super) fn syscalls<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    faults(spec).iter().filter_map(|fault| fault.get("syscall")).collect()
}

/// Every `match` of the network faults and every entry of their `except`.
pub(super) fn packets<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    let matches = networks(spec).into_iter().filter_map(|network| network.get("match"));
    matches.flat_map(|matches| [vec![matches.clone()], matches.items("except")].concat()).collect()
}

/// Every entry of every `peers`.
pub(super) fn peers<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    let of_syscalls = syscalls(spec).into_iter().filter_map(|syscall| syscall.get("match"));
    packets(spec).into_iter().chain(of_syscalls).flat_map(|matches| matches.items("peers")).collect()
}

/// Every selector of pods: the experiment's own and those of the peers.
pub(super) fn pod_selectors<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    let own = spec.get("selector").and_then(|selector| selector.get("pods"));
    own.into_iter().chain(peers(spec).into_iter().filter_map(|peer| peer.get("pods"))).collect()
}

/// Every `latency`, of packets and of calls.
pub(super) fn latencies<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    networks(spec).into_iter().chain(syscalls(spec)).filter_map(|action| action.get("latency")).collect()
}

/// "a, b and c".
pub(super) fn enumerated(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
