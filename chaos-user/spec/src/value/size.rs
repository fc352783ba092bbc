//! Sizes in tc's units.

use std::fmt;
use std::str::FromStr;

use super::Invalid;
use super::unit::split;

/// A size in tc's units (tc(8), "SIZES"): b (bytes), k or kb, m or mb, g or gb, and kbit, mbit, gbit; factors of 1024.
/// Unlike tc, a bare number is refused. From 1 byte to 1gb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    bytes: u64,
}

super::text_value!(Size, r"^[0-9]*\.?[0-9]*([kmgKMG]|[kmgKMG]?[bB]|[kmgKMG][bB][iI][tT])$", max 32);

const MAX_BYTES: u64 = 1 << 30;

impl Size {
    /// The size in bytes, 1 to 2^30.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (number, unit) = split(text, "32kb")?;
        let (multiplier, divisor) = match unit.as_str() {
            "b" => (1, 1),
            "k" | "kb" => (1 << 10, 1),
            "m" | "mb" => (1 << 20, 1),
            "g" | "gb" => (1 << 30, 1),
            "kbit" => (1 << 10, 8),
            "mbit" => (1 << 20, 8),
            "gbit" => (1 << 30, 8),
            "" => return Err(Invalid::new(format!("{text:?} has no unit; write \"{text}b\" (bytes) or \"{text}kb\""))),
            _ => {
                let message = format!("{text:?} has the unknown unit {unit:?}; use b, kb, mb, gb, kbit, mbit or gbit");
                return Err(Invalid::new(message));
            }
        };
        let bytes = number.times(multiplier, divisor).filter(|bytes| (1..=MAX_BYTES).contains(bytes));
        let bytes = bytes.ok_or_else(|| Invalid::new(format!("{text:?} is out of range; write 1b to 1gb")))?;
        Ok(Self { bytes })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
        match units.iter().find(|(_, size)| self.bytes.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.bytes / size),
            None => write!(f, "{}b", self.bytes),
        }
    }
}
