//! Figures of benchmarks: measured in turns with their pair, printed as one JSON line each.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::stats::quantile::median;

/// Set by `cargo xtask bench --quick`: fewer rounds.
const QUICK: &str = "CHAOS_BENCH_QUICK";

/// How often each case is measured: a median needs five; three show that the benchmark works.
pub fn rounds() -> usize {
    if quick() { 3 } else { 7 }
}

/// Whether the benchmark is only to show that it works.
pub fn quick() -> bool {
    std::env::var_os(QUICK).is_some()
}

/// One case and its pair, round by round.
pub type Rounds = Vec<(f64, f64)>;

/// Measures both in turns (A B A B), so that what slows the machine for a while slows both.
pub fn in_turns(mut ours: impl FnMut() -> f64, mut pair: impl FnMut() -> f64) -> Rounds {
    (0..rounds()).map(|_| (ours(), pair())).collect()
}

/// A measured value of a benchmark.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The benchmark and the case, as in `verdicts/idle`.
    pub name: String,
    /// Of value, min, max and pair.
    pub unit: &'static str,
    /// The median of all rounds.
    pub value: f64,
    /// The pair's median in the same run, where there is a pair.
    pub pair: Option<f64>,
    /// How often the pair's cost (or rate) ours is; the median of the rounds' ratios.
    pub ratio: Option<f64>,
    /// The least value of a round.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Rounds.
    pub samples: usize,
}

impl Figure {
    /// Values without a pair; panics without values.
    pub fn alone(name: &str, unit: &'static str, values: &[f64]) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            value: median(values),
            pair: None,
            ratio: None,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            samples: values.len(),
        }
    }

    /// Values beside those of their pair.
    pub fn beside(name: &str, unit: &'static str, rounds: &[(f64, f64)]) -> Self {
        let ours: Vec<f64> = rounds.iter().map(|(ours, _)| *ours).collect();
        Self::alone(name, unit, &ours).with_pair(rounds)
    }

    /// What ours takes beyond its pair: value, min and max are differences; the ratio is still that of both.
    pub fn over(name: &str, unit: &'static str, rounds: &[(f64, f64)]) -> Self {
        let over: Vec<f64> = rounds.iter().map(|(ours, pair)| ours - pair).collect();
        Self::alone(name, unit, &over).with_pair(rounds)
    }

    /// How much each further one costs: the slope of the line through `(count, values by round)` with the least squares, for
    /// each round.
    pub fn slope(name: &str, unit: &'static str, cases: &[(f64, Vec<f64>)]) -> Self {
        let rounds = cases.iter().map(|(_, values)| values.len()).min().unwrap_or(0);
        let slopes: Vec<f64> = (0..rounds)
            .map(|round| fit(&cases.iter().map(|(count, values)| (*count, values[round])).collect::<Vec<_>>()))
            .collect();
        Self::alone(name, unit, &slopes)
    }

    fn with_pair(self, rounds: &[(f64, f64)]) -> Self {
        let pair: Vec<f64> = rounds.iter().map(|(_, pair)| *pair).collect();
        let ratios: Vec<f64> = rounds.iter().map(|(ours, pair)| ours / pair).collect();
        Self { pair: Some(median(&pair)), ratio: Some(median(&ratios)), ..self }
    }

    /// As a line of JSON on stdout.
    pub fn print(&self) {
        let mut out = std::io::stdout().lock();
        // The reader may have gone: then nobody misses the line.
        let _ = writeln!(out, "{}", self.json()).and_then(|()| out.flush());
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit, "value": rounded(self.value), "pair": self.pair.map(rounded),
            "ratio": self.ratio.map(rounded), "min": rounded(self.min), "max": rounded(self.max),
            "samples": self.samples, "kernel": kernel(),
        })
    }
}

/// Says on stdout that a case was not measured, and why.
pub fn absent(name: &str, why: &str) {
    println!("{}", json!({ "name": name, "absent": why, "kernel": kernel() }));
}

/// Four significant digits: more is noise.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The running kernel's release.
fn kernel() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The slope of the line through the points with the least squares.
pub fn fit(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (mean_x, mean_y) = (
        points.iter().map(|point| point.0).sum::<f64>() / count,
        points.iter().map(|point| point.1).sum::<f64>() / count,
    );
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_found() {
        assert!((fit(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]) - 2.0).abs() < 1e-9);
        let figure = Figure::slope("x", "ns", &[(0.0, vec![1.0, 1.0, 1.0]), (10.0, vec![31.0, 21.0, 41.0])]);
        assert_eq!((figure.value, figure.min, figure.max), (3.0, 2.0, 4.0));
    }

    #[test]
    fn differences_and_ratios_are_of_the_same_round() {
        let figure = Figure::over("x", "ns", &[(20.0, 10.0), (50.0, 25.0), (44.0, 11.0)]);
        assert_eq!((figure.value, figure.min, figure.max), (25.0, 10.0, 33.0));
        assert_eq!((figure.pair, figure.ratio), (Some(11.0), Some(2.0)));
    }
}
