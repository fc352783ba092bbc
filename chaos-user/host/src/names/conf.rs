//! resolv.conf(5) and hosts(5), as far as addresses go; pure.

use chaos_spec::value::HostPattern;
use std::net::{IpAddr, Ipv4Addr};

/// Nameservers that a resolver uses at most (resolv.conf(5), MAXNS).
const MOST: usize = 3;

/// A nameserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address.
    pub ip: IpAddr,
    /// The interface of a link-local address (`fe80::1%eth0`).
    pub interface: Option<String>,
}

/// The nameservers of a resolv.conf; where it names none, the one on this machine.
#[must_use]
pub fn nameservers(text: &str) -> Vec<Nameserver> {
    let words = text.lines().map(str::split_whitespace);
    let named = words.filter_map(|mut words| {
        let address = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
        let (ip, interface) = address.split_once('%').map_or((address, None), |(ip, name)| (ip, Some(name.to_owned())));
        Some(Nameserver { ip: ip.parse().ok()?, interface })
    });
    let found: Vec<Nameserver> = named.take(MOST).collect();
    if found.is_empty() {
        return vec![Nameserver { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), interface: None }];
    }
    found
}

/// The addresses that a hosts file has for a name or pattern.
#[must_use]
pub fn hosts(text: &str, host: &HostPattern) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next() else { continue };
        let Ok(ip) = address.split('%').next().unwrap_or_default().parse() else { continue };
        if words.any(|name| host.matches(name)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<String> {
        nameservers(text).iter().map(|s| format!("{}{}", s.ip, s.interface.as_deref().unwrap_or(""))).collect()
    }

    #[test]
    fn nameservers_in_order_three_at_most() {
        assert_eq!(listed(""), ["127.0.0.1"]);
        assert_eq!(listed("search a.b\noptions ndots:5\n"), ["127.0.0.1"]);
        let text = "# nameserver 9.9.9.9\n;nameserver 9.9.9.9\n nameserver\t10.0.0.2 \nnameserver fe80::1%eth0\n\
                    nameserver nonsense\nnameserver\nnameservers 1.1.1.1\nnameserver ::1\nnameserver 10.0.0.4\n";
        assert_eq!(listed(text), ["10.0.0.2", "fe80::1eth0", "::1"]);
    }

    #[test]
    fn hosts_by_name_alias_and_pattern() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 db.example.com\n10.0.0.1\tdb.example.com db # other.example.com\n\
                    10.0.0.2 DB.Example.com.\nfd00::1 a.b.example.com\n10.0.0.1 db.example.com\nnonsense db.example.com\n10.0.0.3";
        let of = |host: &str| hosts(text, &host.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("db.example.com"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(of("*.example.com"), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        assert_eq!(of("db"), ["10.0.0.1"]);
        assert!(of("other.example.com").is_empty() && of("example.com").is_empty());
    }
}
