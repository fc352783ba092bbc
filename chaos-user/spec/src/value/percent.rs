//! Percentages.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Invalid;

/// A percentage from 0 to 100; fractions are allowed (0.1).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(f64);

impl Percent {
    /// All: 100 %.
    pub const ALL: Self = Self(100.0);
    /// None: 0 %.
    pub const ZERO: Self = Self(0.0);

    /// A percentage.
    ///
    /// # Errors
    /// Where `value` is not from 0 to 100 (or not a number).
    pub fn new(value: f64) -> Result<Self, Invalid> {
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Invalid::new(format!("{value} is no percentage; write a number from 0 to 100")))
        }
    }

    /// The percentage as a number, 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The probability over 2^32, saturating: 0 % is 0, 50 % is 2^31, 100 % is `u32::MAX` (netem's scale, tc-netem(8)).
    ///
    /// A test "random 32-bit number < scaled" would let one in 2^32 through at 100 %: treat `u32::MAX` as always.
    pub fn scaled(self) -> u32 {
        // `as` saturates, which is what is wanted at 100 %.
        (self.0 / 100.0 * 4_294_967_296.0).round() as u32
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers are written without ".0", as users write them; the cast is exact from 0 to 100.
        if self.0.fract() == 0.0 { serializer.serialize_i64(self.0 as i64) } else { serializer.serialize_f64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}
