//! Experiment files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An experiment as YAML, with a name that no other test has.
#[derive(Clone, Debug)]
pub struct Experiment {
    name: String,
    duration: String,
    settings: Vec<String>,
    targets: Vec<String>,
    faults: Vec<String>,
}

impl Experiment {
    /// An experiment of a minute on a network namespace.
    pub fn on_netns(name: &str) -> Self {
        Self::on(&format!("netns: {name}"))
    }

    /// An experiment of a minute on one target of `selector.local`, such as `cgroup: /x`.
    pub fn on(target: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("test-{}-{number}", std::process::id()),
            duration: "60s".into(),
            settings: Vec::new(),
            targets: vec![target.into()],
            faults: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it another name.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same under a fresh name: two active experiments never share one.
    pub fn again(&self) -> Self {
        let fresh = Self::on("");
        Self { name: fresh.name, ..self.clone() }
    }

    /// How long it lasts.
    pub fn duration(self, duration: &str) -> Self {
        Self { duration: duration.into(), ..self }
    }

    /// A further field of `spec`, such as `seed: 42`.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.into());
        self
    }

    /// A further target.
    pub fn target(mut self, target: &str) -> Self {
        self.targets.push(target.into());
        self
    }

    /// A fault as one line of YAML: the fields of a list entry without the braces around them.
    pub fn fault(mut self, fault: &str) -> Self {
        self.faults.push(fault.into());
        self
    }

    /// The document.
    pub fn yaml(&self) -> String {
        let mut text = format!(
            "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata:\n  name: {}\nspec:\n  duration: {}\n",
            self.name, self.duration
        );
        for setting in &self.settings {
            let _ = writeln!(text, "  {setting}");
        }
        text.push_str("  selector:\n    local:\n");
        for target in &self.targets {
            let _ = writeln!(text, "      - {{ {target} }}");
        }
        text.push_str("  faults:\n");
        for fault in &self.faults {
            let _ = writeln!(text, "    - {{ {fault} }}");
        }
        text
    }

    /// Writes it to a file that goes away with the result.
    pub fn write(&self) -> SpecFile {
        SpecFile::with(&self.name, &self.yaml())
    }
}

/// A file with an experiment.
#[derive(Debug)]
pub struct SpecFile {
    path: PathBuf,
}

impl SpecFile {
    /// Writes any text.
    pub fn with(name: &str, text: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("chaos-{name}-{}-{number}.yaml", std::process::id()));
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpecFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_the_format_says() {
        let yaml = Experiment::on_netns("web")
            .named("lossy")
            .duration("5s")
            .setting("seed: 42")
            .fault("name: drop, network: { match: { all: true }, loss: { percent: 2 } }")
            .yaml();
        let expected = "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata:\n  name: lossy\nspec:\n  duration: 5s\n  \
                        seed: 42\n  selector:\n    local:\n      - { netns: web }\n  faults:\n    - { name: drop, network: { match: \
                        { all: true }, loss: { percent: 2 } } }\n";
        assert_eq!(yaml, expected);
    }
}
