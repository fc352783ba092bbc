//! Host names and patterns of them.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// A host name (RFC 1123), or `*.` and a host name: every name below it, at any depth, but not the name itself.
/// Kept in lower case and without a final dot, because DNS names have neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    name: String,
    wildcard: bool,
}

super::text_value!(HostPattern, r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$", max 253);

impl HostPattern {
    /// The name without `*.`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it means the names below `name` rather than `name` itself.
    pub const fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether it means this host; case and a final dot do not matter.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if !self.wildcard {
            return host == self.name;
        }
        host.strip_suffix(&self.name).and_then(|rest| rest.strip_suffix('.')).is_some_and(|below| !below.is_empty())
    }
}

impl FromStr for HostPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_prefix("*.").unwrap_or(text);
        if bare.contains('*') {
            let message =
                format!("{text:?} has a wildcard inside; only a leading \"*.\" is possible: \"*.example.com\"");
            return Err(Invalid::new(message));
        }
        if text.contains("://") || bare.contains('/') {
            return Err(Invalid::new(format!(
                "{text:?} is a URL or a network; write the host's name only, or use cidr"
            )));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(Invalid::new(format!("{text:?} is an address; write it as a peer with cidr")));
        }
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(Invalid::new(format!(
                "{text:?} is no host name; write letters, digits, '-' and '.', for example \"db.example.com\""
            )));
        }
        Ok(Self { name, wildcard: bare.len() != text.len() })
    }
}

/// A label of 1 to 63 letters, digits, '-' and '_' (which SRV and some internal names use), no '-' at its ends.
fn is_label(label: &str) -> bool {
    let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    allowed && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}
