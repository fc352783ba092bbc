//! Small values that a user writes as text: each parses with an exact message and a remedy, and prints the canonical form.

mod cidr;
mod duration;
mod errno;
mod host;
mod percent;
mod port;
mod protocol;
mod rate;
mod size;
mod unit;

pub use cidr::Cidr;
pub use duration::Duration;
pub use errno::Errno;
pub use host::HostPattern;
pub use percent::Percent;
pub use port::PortRange;
pub use protocol::Protocol;
pub use rate::Rate;
pub use size::Size;

use std::fmt;

/// Why a text is not a value of its type, with the remedy: `"100" has no unit; write "100ms"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    /// An error with this whole sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Gives a type with `FromStr` and `Display` its serde form (a string) and its schema: a string with a pattern.
///
/// The pattern is what the API server checks; it is never stricter than the parser, which has the last word.
macro_rules! text_value {
    ($type:ident, $pattern:literal, max $max:literal) => {
        impl $type {
            /// What the custom resource's schema demands of the text (RE2).
            pub const PATTERN: &'static str = $pattern;
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "minLength": 1, "maxLength": $max })
            }
        }
    };
}

/// Gives a type with `FromStr`, `Display` and `as_number` the form that Kubernetes calls int-or-string.
macro_rules! int_or_text_value {
    ($type:ident, $pattern:literal, max $max:literal, from $low:literal to $high:literal) => {
        impl $type {
            /// What the custom resource's schema demands of the text form (RE2).
            pub const PATTERN: &'static str = $pattern;
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.as_number() {
                    Some(number) => serializer.serialize_i64(number),
                    None => serializer.collect_str(self),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::value::IntOrText(std::marker::PhantomData))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "x-kubernetes-int-or-string": true,
                    "pattern": $pattern, "maxLength": $max, "minimum": $low, "maximum": $high
                })
            }
        }
    };
}

use {int_or_text_value, text_value};

/// Reads an int-or-string by turning numbers into their text and parsing that.
struct IntOrText<T>(std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err = Invalid>> serde::de::Visitor<'_> for IntOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or a string")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// What the parser of the value with this schema pattern says to `text`; `None` where the pattern is no value's.
///
/// The schema walk uses it to give the exact message where a pattern could only say "does not match".
pub(crate) fn check(pattern: &str, text: &str) -> Option<Result<(), Invalid>> {
    fn parsed<T: std::str::FromStr<Err = Invalid>>(text: &str) -> Option<Result<(), Invalid>> {
        Some(text.parse::<T>().map(|_| ()))
    }
    match pattern {
        Duration::PATTERN => parsed::<Duration>(text),
        Rate::PATTERN => parsed::<Rate>(text),
        Size::PATTERN => parsed::<Size>(text),
        Cidr::PATTERN => parsed::<Cidr>(text),
        HostPattern::PATTERN => parsed::<HostPattern>(text),
        PortRange::PATTERN => parsed::<PortRange>(text),
        Protocol::PATTERN => parsed::<Protocol>(text),
        Errno::PATTERN => parsed::<Errno>(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
