//! Networks in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Invalid;

/// A network in CIDR notation (RFC 4632, RFC 4291): `10.0.0.0/8`, `2001:db8::/32`. All bits behind the prefix are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

super::text_value!(Cidr, "^[0-9a-fA-F:.]+/[0-9]{1,3}$", max 49);

/// The prefix under which IPv6 writes IPv4 addresses: ::ffff:0:0/96 (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

impl Cidr {
    /// The network of this one address.
    pub const fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// The network's address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address is in the network; an address of the other family never is.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

impl FromStr for Cidr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((address, length)) = text.split_once('/') else {
            return Err(match text.parse::<IpAddr>() {
                Ok(address) => {
                    Invalid::new(format!("{text:?} has no prefix length; write \"{}\"", Self::host(address)))
                }
                Err(_) => not_a_network(text),
            });
        };
        let address: IpAddr = address.parse().map_err(|_| not_a_network(text))?;
        let most = Self::host(address).prefix;
        let digits = length.bytes().all(|b| b.is_ascii_digit());
        let prefix = length.parse::<u8>().ok().filter(|&prefix| digits && prefix <= most);
        let prefix = prefix.ok_or_else(|| {
            Invalid::new(format!("{text:?} has a wrong prefix length; write a number from 0 to {most}"))
        })?;
        let network = Self { address: masked(address, prefix), prefix };
        if network.address != address {
            let host = Self::host(address);
            return Err(Invalid::new(format!(
                "{text:?} has bits set behind its prefix; write \"{network}\" for the network or \"{host}\" for the host"
            )));
        }
        if let IpAddr::V6(v6) = address
            && let (Some(v4), true) = (v6.to_ipv4_mapped(), prefix >= MAPPED)
        {
            let network = Self { address: v4.into(), prefix: prefix - MAPPED };
            return Err(Invalid::new(format!(
                "{text:?} is an IPv4 address in IPv6 form, which no packet has; write \"{network}\""
            )));
        }
        Ok(network)
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

fn not_a_network(text: &str) -> Invalid {
    Invalid::new(format!("{text:?} is no network; write for example \"10.0.0.0/8\" or \"2001:db8::/32\""))
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
