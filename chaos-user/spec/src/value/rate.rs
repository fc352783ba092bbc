//! Rates in tc's units.

use std::fmt;
use std::str::FromStr;

use super::Invalid;
use super::unit::split;

/// A rate in tc's units (tc(8), "RATES"): bit, kbit, mbit, gbit, tbit and bps, kbps, mbps, gbps, tbps (bytes per
/// second), factors of 1000; with `i` after the prefix (`mibit`, `kibps`) factors of 1024. Upper and lower case are one, but for bytes, which are
/// `MBps` or tc's `mbps`: `Mbps`, which mostly means bits, is refused. Unlike tc, a bare number is refused. From 8 bit/s to 10 tbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    bits_per_second: u64,
}

super::text_value!(Rate, r"^[0-9]*\.?[0-9]*([kmgtKMGT][iI]?)?([bB][iI][tT]|[bB][pP][sS])$", max 32);

const MAX_BITS: u64 = 10_000_000_000_000;

impl Rate {
    /// The rate in bytes per second, rounded down, at least 1.
    pub const fn bytes_per_second(self) -> u64 {
        self.bits_per_second / 8
    }

    /// The rate in bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }
}

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (number, unit) = split(text, "10mbit")?;
        if unit.is_empty() {
            return Err(Invalid::new(format!("{text:?} has no unit; write \"{text}mbit\"")));
        }
        let written = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim();
        if let Some(prefix) = two_meanings(written) {
            let number = text.strip_suffix(written).unwrap_or(text).trim_end();
            return Err(Invalid::new(format!(
                "{text:?} has two meanings; write \"{number}{prefix}bit\" (bits) or \"{number}{}Bps\" (bytes)",
                prefix.to_uppercase()
            )));
        }
        let factor = factor(&unit).ok_or_else(|| {
            Invalid::new(format!(
                "{text:?} has the unknown unit {unit:?}; use bit, kbit, mbit, gbit, or bps, kbps, mbps, gbps (bytes)"
            ))
        })?;
        let bits_per_second = number.times(factor, 1).filter(|bits| (8..=MAX_BITS).contains(bits));
        let bits_per_second =
            bits_per_second.ok_or_else(|| Invalid::new(format!("{text:?} is out of range; write 8bit to 10tbit")))?;
        Ok(Self { bits_per_second })
    }
}

/// The prefix, where a unit is neither tc's `mbps` (bytes) nor the `MBps` of people: `Mbps` mostly means bits.
fn two_meanings(unit: &str) -> Option<String> {
    let is_bps = unit.to_lowercase().ends_with("bps");
    let clear = unit.ends_with("Bps") || unit.chars().all(|c| c.is_ascii_lowercase());
    let prefix = unit.get(..unit.len().checked_sub(3)?)?;
    (is_bps && !clear && factor(&unit.to_lowercase()).is_some())
        .then(|| prefix.trim_end_matches(['i', 'I']).to_lowercase())
}

/// Bits per second in one of this unit.
fn factor(unit: &str) -> Option<u64> {
    let (prefix, bits) = match unit.strip_suffix("bit") {
        Some(prefix) => (prefix, 1),
        None => (unit.strip_suffix("bps")?, 8),
    };
    let (letter, base) = match prefix.strip_suffix('i') {
        Some(letter) if !letter.is_empty() => (letter, 1024_u64),
        _ => (prefix, 1000),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(bits * base.pow(power))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits_per_second;
        let units = [("tbit", 1_000_000_000_000), ("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)];
        match units.iter().find(|(_, size)| bits.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", bits / size),
            None => write!(f, "{bits}bit"),
        }
    }
}
