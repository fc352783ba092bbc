//! Where in a document a field stands.

use std::fmt;

/// Where in a document a field stands; printed as `spec.faults[0].network.latency.delay`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Field(String),
    Index(usize),
}

impl Path {
    /// The document itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The field of this name below; dots separate several: `field("spec.selector")`.
    pub fn field(&self, names: &str) -> Self {
        names.split('.').fold(self.clone(), |path, name| path.key(name))
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
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Whether this is the document itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
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
