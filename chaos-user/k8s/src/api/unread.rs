//! Objects that this version cannot read. The API server takes what our types refuse, and other versions of chaos write what this one
//! does not have: such an object harms itself alone, and never the list or the watch in which it stands.

use super::{halt::HaltSpec, injection::InjectionSpec, node_agent::NodeAgentSpec, peer_set::PeerSetSpec};
use crate::text::cut;
use chaos_spec::{self as spec, ExperimentSpec, Finding, OnUnsupported, Selector, schema_of, value::Duration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, sync::LazyLock};

/// Findings that are named; one is enough to mend the object, all would fill a status.
const NAMED: usize = 4;
/// Bytes of the text: a status has room for a few.
const LONGEST: usize = 1024;

/// Why an object could not be read: the fields, each with what is wrong and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    text: String,
    narrows: bool,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Unread {
    /// With this text.
    #[must_use]
    pub fn new(text: impl fmt::Display) -> Self {
        Self { text: cut(&text.to_string(), LONGEST), narrows: false }
    }

    /// Whether a part of it stands below a field of the spec, where it may say whom a fault hits, or when. A new field of the spec itself
    /// may have a default, which the API server adds to every object once the definitions have it.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.narrows
    }

    fn of(findings: &[Finding]) -> Self {
        let named: Vec<String> = findings.iter().take(NAMED).map(ToString::to_string).collect();
        let more = findings.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let is_below = |one: &Finding| one.path.to_string().trim_start_matches("spec.").contains(['.', '[']);
        Self { narrows: findings.iter().any(is_below), ..Self::new(format_args!("{}{more}", named.join("; "))) }
    }
}

/// What is asked of a kind.
pub trait Asked: DeserializeOwned {
    /// The schema whose fields are all that there are; None: what is unknown changes nothing.
    fn schema() -> Option<&'static Value>;

    /// What stands for a spec that cannot be read: what is harmless of it, and no fault.
    fn harmless(raw: &Value) -> Self;
}

impl Asked for ExperimentSpec {
    fn schema() -> Option<&'static Value> {
        static SCHEMA: LazyLock<Value> = LazyLock::new(schema_of::<ExperimentSpec>);
        Some(&SCHEMA)
    }

    fn harmless(raw: &Value) -> Self {
        Self {
            duration: field(raw, "duration").unwrap_or_else(nothing),
            seed: None,
            start_deadline: None,
            paused: false,
            dry_run: field(raw, "dryRun").unwrap_or_default(),
            on_unsupported: OnUnsupported::Fail,
            selector: Selector::default(),
            faults: Vec::new(),
            probes: Vec::new(),
            ttl_seconds_after_finished: field(raw, "ttlSecondsAfterFinished"),
        }
    }
}

impl Asked for InjectionSpec {
    fn schema() -> Option<&'static Value> {
        static SCHEMA: LazyLock<Value> = LazyLock::new(schema_of::<InjectionSpec>);
        Some(&SCHEMA)
    }

    fn harmless(raw: &Value) -> Self {
        Self {
            node_name: field(raw, "nodeName").unwrap_or_default(),
            experiment: field(raw, "experiment").unwrap_or_default(),
            started_by: field(raw, "startedBy"),
            remaining: field(raw, "remaining").unwrap_or_else(nothing),
            ends_at: field(raw, "endsAt"),
            seed: 0,
            dry_run: field(raw, "dryRun").unwrap_or_default(),
            paused: field(raw, "paused").unwrap_or_default(),
            start: field(raw, "start").unwrap_or_default(),
            stop: field(raw, "stop"),
            on_unsupported: OnUnsupported::Fail,
            faults: Vec::new(),
            peer_sets: Vec::new(),
            peers_side: field(raw, "peersSide").unwrap_or_default(),
            targets: field(raw, "targets").unwrap_or_default(),
            containers: Vec::new(),
            follow: None,
        }
    }
}

impl Asked for PeerSetSpec {
    fn schema() -> Option<&'static Value> {
        static SCHEMA: LazyLock<Value> = LazyLock::new(schema_of::<PeerSetSpec>);
        Some(&SCHEMA)
    }

    fn harmless(_: &Value) -> Self {
        Self::default()
    }
}

impl Asked for NodeAgentSpec {
    fn schema() -> Option<&'static Value> {
        None
    }

    fn harmless(_: &Value) -> Self {
        Self::default()
    }
}

/// A Halt holds by being there, whatever stands in it.
impl Asked for HaltSpec {
    fn schema() -> Option<&'static Value> {
        None
    }

    fn harmless(raw: &Value) -> Self {
        Self { reason: field(raw, "reason").unwrap_or_default() }
    }
}

fn nothing() -> Duration {
    Duration::from(std::time::Duration::ZERO)
}

fn field<T: DeserializeOwned>(raw: &Value, name: &str) -> Option<T> {
    T::deserialize(raw.get(name)?).ok()
}

/// An object whose parts are read one by one.
pub struct Frame<S, T> {
    /// Name, namespace, labels, owner.
    pub metadata: ObjectMeta,
    /// What is asked, or what is harmless of it.
    pub spec: S,
    /// What is so, as far as it can be read.
    pub status: Option<T>,
    /// Why not all of it could be read.
    pub unread: Option<Unread>,
}

impl<'de, S: Asked, T: DeserializeOwned> Deserialize<'de> for Frame<S, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut whole = Map::<String, Value>::deserialize(from)?;
        let metadata = whole.remove("metadata").and_then(|raw| salvaged(raw).0).unwrap_or_default();
        let (spec, of_spec) = asked(&whole.remove("spec").unwrap_or(Value::Null));
        let status = whole.remove("status").filter(|raw| !raw.is_null()).map(salvaged);
        let of_status = status.as_ref().and_then(|(_, lost)| lost.iter().find(|(name, _)| name == "phase"));
        let of_status = of_status.map(|(_, why)| Unread::new(format_args!("status.phase: {why}")));
        Ok(Self { metadata, spec, status: status.and_then(|(status, _)| status), unread: of_spec.or(of_status) })
    }
}

fn asked<S: Asked>(raw: &Value) -> (S, Option<Unread>) {
    let unknown = S::schema().map(|schema| spec::unknown(schema, raw, "spec")).unwrap_or_default();
    let problem = match S::deserialize(raw) {
        Ok(spec) if unknown.is_empty() => return (spec, None),
        Ok(_) => Unread::of(&unknown),
        Err(error) => {
            let found = S::schema().map(|schema| spec::findings(schema, raw, "spec")).unwrap_or_default();
            if found.is_empty() { Unread::new(format_args!("spec: {error}")) } else { Unread::of(&found) }
        }
    };
    (S::harmless(raw), Some(problem))
}

/// What can be read of something of which every field may be absent, and the fields that cannot be, each with the reason.
fn salvaged<T: DeserializeOwned>(raw: Value) -> (Option<T>, Vec<(String, String)>) {
    if let Ok(whole) = T::deserialize(&raw) {
        return (Some(whole), Vec::new());
    }
    let Value::Object(fields) = raw else { return (None, Vec::new()) };
    let (mut good, mut lost) = (Map::new(), Vec::new());
    for (name, value) in fields {
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        match T::deserialize(&alone) {
            Ok(_) => drop(good.insert(name, value)),
            Err(error) => lost.push((name, error.to_string())),
        }
    }
    (T::deserialize(Value::Object(good)).ok(), lost)
}

/// An object of another's kind (Pod, Service, Node), which is read as far as it can be: without its spec it is chosen by nobody.
#[derive(Clone, Debug)]
pub struct Lenient<K>(pub K);

impl<'de, K: Resource<DynamicType = ()> + DeserializeOwned + Default> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(from)?;
        match K::deserialize(&raw) {
            Ok(whole) => Ok(Self(whole)),
            Err(error) => {
                let mut bare = K::default();
                *bare.meta_mut() = raw.get("metadata").cloned().and_then(|raw| salvaged(raw).0).unwrap_or_default();
                let name = cut(bare.meta().name.as_deref().unwrap_or_default(), 253);
                tracing::warn!("{} {name} cannot be read and is passed over: {error}", K::kind(&()));
                Ok(Self(bare))
            }
        }
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Lenient<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests;
