//! Transport protocols.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// A transport protocol: a name, or the number in the IP header (IANA "Protocol Numbers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, number 6.
    Tcp,
    /// UDP, number 17.
    Udp,
    /// SCTP, number 132.
    Sctp,
    /// ICMP and ICMPv6, but never neighbour discovery: without it no packet leaves at all.
    Icmp,
    /// Any other protocol, by number; 6, 17 and 132 parse as their names.
    Number(u8),
}

super::int_or_text_value!(Protocol, "^(tcp|udp|sctp|icmp|[0-9]{1,3})$", max 4, from 0 to 255);

impl Protocol {
    /// Whether its packets carry port numbers.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }

    fn as_number(self) -> Option<i64> {
        if let Self::Number(number) = self { Some(i64::from(number)) } else { None }
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "tcp" | "6" => Ok(Self::Tcp),
            "udp" | "17" => Ok(Self::Udp),
            "sctp" | "132" => Ok(Self::Sctp),
            "icmp" => Ok(Self::Icmp),
            _ => {
                let lower = text.to_lowercase();
                if lower != text && ["tcp", "udp", "sctp", "icmp"].contains(&lower.as_str()) {
                    return Err(Invalid::new(format!("{text:?} is not in lower case; write {lower}")));
                }
                if let Some(remedy) = meant(&lower) {
                    return Err(Invalid::new(format!("{text:?} is no protocol here; write {remedy}")));
                }
                let number = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
                number.map(Self::Number).ok_or_else(|| {
                    let message =
                        format!("{text:?} is no protocol; use tcp, udp, sctp, icmp or a number from 0 to 255");
                    Invalid::new(message)
                })
            }
        }
    }
}

/// What to write for names that mean one of the others, or a number (IANA "Protocol Numbers").
fn meant(name: &str) -> Option<&'static str> {
    Some(match name {
        "icmpv6" | "icmp6" | "ipv6-icmp" | "icmpv4" | "ping" => "icmp, which is both ICMP and ICMPv6",
        "http" => "tcp, with ports: [80]",
        "https" | "tls" => "tcp, with ports: [443]",
        "grpc" | "http2" => "tcp, with the port of the server",
        "quic" | "http3" => "udp, with ports: [443]",
        "dns" => "udp, with ports: [53]",
        "igmp" => "2",
        "gre" => "47",
        "esp" | "ipsec" => "50",
        "ospf" => "89",
        _ => return None,
    })
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Sctp => f.write_str("sctp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}
