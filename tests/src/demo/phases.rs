//! Before, during, after: one table.

use std::fmt;

use super::Measured;

/// Three looks at the same wire.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Before the experiment.
    pub before: Measured,
    /// While it ran.
    pub during: Measured,
    /// After its end.
    pub after: Measured,
}

/// A row: what it shows, and its value in one phase; None where nothing could be measured.
type Row = (&'static str, usize, fn(&Measured) -> Option<f64>);

const ROWS: [Row; 6] = [
    ("UDP packets lost, %", 2, |measured| Some(measured.lost)),
    ("TCP connections that failed, %", 1, |measured| Some(measured.failed)),
    ("round trip p50, ms", 2, |measured| measured.rtt_p50),
    ("round trip p99, ms", 2, |measured| measured.rtt_p99),
    ("TCP throughput, Mbit/s", 1, |measured| measured.mbit),
    ("TCP segments sent again", 0, |measured| measured.retransmits.map(f64::from)),
];

impl fmt::Display for Phases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  {:<32}{:>10}{:>10}{:>10}", "measured from outside", "before", "during", "after")?;
        for (label, digits, value) in ROWS {
            write!(formatter, "  {label:<32}")?;
            for measured in [&self.before, &self.during, &self.after] {
                match value(measured) {
                    Some(value) => write!(formatter, "{value:>10.digits$}")?,
                    None => write!(formatter, "{:>10}", "none")?,
                }
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_no_zero() {
        let cut = Measured { lost: 100.0, ..Measured::default() };
        let phases = Phases { before: Measured::default(), during: cut, after: Measured::default() };
        let text = phases.to_string();
        let lost: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(lost[lost.len() - 3..], ["0.00", "100.00", "0.00"]);
        assert!(text.lines().nth(3).is_some_and(|line| line.ends_with("none")));
    }
}
