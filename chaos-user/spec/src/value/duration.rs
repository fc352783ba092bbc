//! Durations in Go's syntax.

use std::fmt;
use std::str::FromStr;

use super::Invalid;
use super::unit::Decimal;

/// A duration in Go's syntax (`time.ParseDuration`, <https://pkg.go.dev/time#ParseDuration>): `"300ms"`, `"1.5s"`,
/// `"2m30s"`; units ns, us, ms, s, m, h. Never negative, resolution 1 ns, at most about 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(std::time::Duration);

super::text_value!(Duration, r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$", max 32);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Duration {
    /// A duration of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// A duration of so many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// The duration as the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// The duration in nanoseconds; saturates at `u64::MAX` (584 years).
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.starts_with('-') {
            return Err(Invalid::new(format!("{text:?} is negative; write for example \"100ms\"")));
        }
        if let Some(meant) = meant(text) {
            return Err(Invalid::new(format!("{text:?} is no duration; write {meant:?}")));
        }
        let mut nanos = 0_u64;
        let mut rest = text;
        while !rest.is_empty() || text.is_empty() {
            let (term, tail) = term(text, rest)?;
            // Go's int64 of nanoseconds is the limit, so that the API server's CEL and we agree.
            nanos =
                nanos.checked_add(term).filter(|&sum| sum <= i64::MAX.unsigned_abs()).ok_or_else(|| too_long(text))?;
            rest = tail;
        }
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

/// One number with its unit off the front of `rest`, in nanoseconds, and what follows it.
fn term<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), Invalid> {
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, tail) = rest.split_at(end);
    if number.is_empty() {
        return Err(Invalid::new(format!("{text:?} is not a duration; write for example \"100ms\" or \"2m30s\"")));
    }
    let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(end);
    if unit.is_empty() {
        return Err(Invalid::new(format!("{text:?} has no unit; write \"{text}ms\"")));
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let unit = unit.trim();
        return Err(Invalid::new(format!("{text:?} has the unknown unit {unit:?}; use ns, us, ms, s, m or h")));
    };
    if number.len() > 18 {
        return Err(too_long(text));
    }
    let decimal = Decimal::parse(number).ok_or_else(|| {
        Invalid::new(format!("{text:?} holds {number:?}, which is not a number; write for example \"1.5s\""))
    })?;
    Ok((decimal.times(*nanos, 1).ok_or_else(|| too_long(text))?, tail))
}

/// Words and blanks that mean a unit: the word, the unit, and how many of it.
const WORDS: [(&str, &str, u64); 16] = [
    ("seconds", "s", 1),
    ("second", "s", 1),
    ("secs", "s", 1),
    ("sec", "s", 1),
    ("minutes", "m", 1),
    ("minute", "m", 1),
    ("mins", "m", 1),
    ("min", "m", 1),
    ("hours", "h", 1),
    ("hour", "h", 1),
    ("hrs", "h", 1),
    ("msec", "ms", 1),
    ("millis", "ms", 1),
    ("days", "h", 24),
    ("day", "h", 24),
    ("d", "h", 24),
];

/// What people mean who write days, words or blanks: `10 s`, `1d`, `5min`.
fn meant(text: &str) -> Option<String> {
    if text.len() > 32 {
        return None;
    }
    let compact: String = text.to_lowercase().split_whitespace().collect();
    let end = compact.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = compact.split_at(end);
    let meant = match WORDS.iter().find(|(word, _, _)| *word == unit) {
        Some((_, unit, 1)) => format!("{number}{unit}"),
        Some((_, unit, times)) => format!("{}{unit}", number.parse::<u64>().ok()?.checked_mul(*times)?),
        None => compact,
    };
    // What is right already means itself.
    if meant == text {
        return None;
    }
    let possible = meant.parse::<Duration>().is_ok_and(|meant| meant <= Duration::from_secs(24 * 60 * 60));
    possible.then_some(meant)
}

fn too_long(text: &str) -> Invalid {
    Invalid::new(format!("{text:?} is too long a duration; nothing here may last longer than \"24h\""))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, size) = match nanos {
                1_000_000.. => ("ms", 1_000_000),
                1_000.. => ("us", 1_000),
                _ => ("ns", 1),
            };
            return write_decimal(f, nanos, size, unit);
        }
        let (hours, nanos) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
        let (minutes, nanos) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if nanos > 0 { write_decimal(f, nanos, 1_000_000_000, "s") } else { Ok(()) }
    }
}

/// Writes `nanos / size` without trailing zeros, then the unit.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, size: u64, unit: &str) -> fmt::Result {
    let (whole, fraction) = (nanos / size, nanos % size);
    if fraction == 0 {
        return write!(f, "{whole}{unit}");
    }
    let width = size.ilog10() as usize;
    let fraction = format!("{fraction:0width$}");
    write!(f, "{whole}.{}{unit}", fraction.trim_end_matches('0'))
}
