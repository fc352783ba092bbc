//! A run beside an earlier one.

use std::collections::BTreeMap;

use super::{figure::Figure, store::Run};

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// What it was.
    pub before: f64,
    /// Now by then; None where it was 0.
    pub ratio: Option<f64>,
    /// No round of the one run was like any of the other.
    pub differs: bool,
}

/// By name and kernel.
pub type Changes = BTreeMap<(String, String), Change>;

/// What has changed since `last`. Figures that only one of both has are left out.
pub fn with(run: &Run, last: &Run) -> Changes {
    let key = |figure: &Figure| (figure.name.clone(), figure.kernel.clone());
    let before: BTreeMap<_, &Figure> = last.figures.iter().map(|figure| (key(figure), figure)).collect();
    let pairs = run.figures.iter().filter_map(|now| Some((now, *before.get(&key(now))?)));
    pairs.map(|(now, then)| (key(now), change(now, then))).collect()
}

fn change(now: &Figure, then: &Figure) -> Change {
    Change {
        before: then.value,
        ratio: (then.value != 0.0).then(|| now.value / then.value),
        differs: now.min > then.max || now.max < then.min,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, min: f64, value: f64, max: f64) -> Figure {
        Figure {
            name: name.into(),
            unit: "ns".into(),
            value,
            pair: None,
            ratio: None,
            min,
            max,
            samples: 7,
            kernel: "6.1".into(),
            emulated: false,
        }
    }

    fn run(figures: Vec<Figure>) -> Run {
        Run { figures, ..Run::new(false, true) }
    }

    #[test]
    fn only_what_does_not_overlap_differs() {
        let last = run(vec![figure("a", 9.0, 10.0, 12.0), figure("b", 9.0, 10.0, 12.0), figure("gone", 1.0, 1.0, 1.0)]);
        let now = run(vec![figure("a", 12.0, 20.0, 21.0), figure("b", 13.0, 20.0, 21.0), figure("new", 1.0, 1.0, 1.0)]);
        let changes = with(&now, &last);
        let of = |name: &str| changes.get(&(name.to_owned(), "6.1".to_owned())).copied();
        assert_eq!(of("a"), Some(Change { before: 10.0, ratio: Some(2.0), differs: false }));
        assert!(of("b").is_some_and(|change| change.differs));
        assert_eq!(changes.len(), 2);
    }
}
