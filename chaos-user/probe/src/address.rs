//! From a host to its addresses. A static binary has no NSS, so getaddrinfo(3) is never called: addresses, `localhost` and the
//! names of /etc/hosts (hosts(5)) are understood. They are looked up once, so that a fault on DNS cannot fail a probe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of `host`, in the order of the file; empty where it is not known. `hosts` is the text of /etc/hosts.
pub fn addresses(host: &str, hosts: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut known: Vec<IpAddr> = lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect();
    // RFC 6761, section 6.3: loopback, whatever the file says.
    if known.is_empty() && host.eq_ignore_ascii_case("localhost") {
        known = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_localhost_and_the_file() {
        let hosts = "# 10.0.0.9 db\n10.0.0.1\tdb db.example.com # 10.0.0.2\nfd00::1 DB\nnonsense db\n";
        let text = |host| addresses(host, hosts).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(text("::1"), ["::1"]);
        assert_eq!(text("db"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(text("db.example.com."), ["10.0.0.1"]);
        assert_eq!(text("localhost"), ["127.0.0.1", "::1"]);
        assert!(text("example.com").is_empty() && text("10.0.0.2x").is_empty());
    }
}
