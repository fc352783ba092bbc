//! Where in a document a field stands.

use std::{
    cmp::Ordering,
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Where in a document a field stands; printed as `spec.faults[0].network.latency.delay`. What two paths have in common is kept once:
/// a document has a path for each of its nodes.
#[derive(Debug, Clone, Default)]
pub struct Path(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    above: Path,
    step: Step,
    /// Of all steps, so that it is not computed from the document's root for each node.
    hash: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Field(String),
    Index(usize),
}

impl Path {
    /// The document itself.
    pub const fn root() -> Self {
        Self(None)
    }

    /// The field of this name below; dots separate several: `field("spec.selector")`.
    pub fn field(&self, names: &str) -> Self {
        names.split('.').fold(self.clone(), |path, name| path.key(name))
    }

    /// From its printed form; keys are words without dots and brackets.
    pub fn read(text: &str) -> Self {
        text.split('.').fold(Self::root(), |path, step| {
            let mut parts = step.split('[');
            let path = path.key(parts.next().unwrap_or_default());
            let indices = parts.filter_map(|part| part.strip_suffix(']')?.parse().ok());
            indices.fold(path, |path, index| path.index(index))
        })
    }

    /// The entry with this key below, whatever characters the key has.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Field(key.to_owned()))
    }

    /// The entry at this place of a list.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// What this one is in; `None` for the document.
    pub fn parent(&self) -> Option<Self> {
        Some(self.0.as_ref()?.above.clone())
    }

    /// The name of the field; `None` for an entry of a list, and the document.
    pub fn last(&self) -> Option<&str> {
        match &self.0.as_ref()?.step {
            Step::Field(name) => Some(name),
            Step::Index(_) => None,
        }
    }

    /// Whether this is the document itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_none()
    }

    fn with(&self, step: Step) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.hash_value(), &step).hash(&mut hasher);
        Self(Some(Arc::new(Place { above: self.clone(), step, hash: hasher.finish() })))
    }

    fn hash_value(&self) -> u64 {
        self.0.as_ref().map_or(0, |place| place.hash)
    }

    /// From the document on.
    fn steps(&self) -> Vec<&Step> {
        let mut steps = Vec::new();
        let mut at = self;
        while let Some(place) = &at.0 {
            steps.push(&place.step);
            at = &place.above;
        }
        steps.reverse();
        steps
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                Arc::ptr_eq(one, two) || (one.hash == two.hash && one.step == two.step && one.above == two.above)
            }
            _ => false,
        }
    }
}

impl Eq for Path {}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash_value().hash(state);
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        self.steps().cmp(&other.steps())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.steps().into_iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                // A key such as app.kubernetes.io/name would read as several fields.
                Step::Field(name) if name.is_empty() || name.contains(|c: char| !is_plain(c)) => {
                    write!(f, "[{name:?}]")?
                }
                Step::Field(name) if depth == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}
