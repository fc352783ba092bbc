//! Ports and ranges of ports.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// A port or a range of ports, both ends included: `5432`, `"8000-8100"`; 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

super::int_or_text_value!(PortRange, "^[0-9]{1,5}(-[0-9]{1,5})?$", max 11, from 1 to 65535);

impl PortRange {
    /// A single port.
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest port of the range.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port of the range; it belongs to it.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether the port is in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    fn as_number(self) -> Option<i64> {
        (self.first == self.last).then(|| i64::from(self.first))
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) if !first.is_empty() => (port(text, first)?, port(text, last)?),
            _ => (port(text, text)?, port(text, text)?),
        };
        if first > last {
            return Err(Invalid::new(format!("{text:?} is a range from high to low; write \"{last}-{first}\"")));
        }
        Ok(Self { first, last })
    }
}

fn port(text: &str, number: &str) -> Result<u16, Invalid> {
    let parsed = if number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None };
    parsed.filter(|&port| port > 0).ok_or_else(|| {
        Invalid::new(format!("{text:?} is no port; write a number from 1 to 65535 or a range such as \"8000-8100\""))
    })
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}
