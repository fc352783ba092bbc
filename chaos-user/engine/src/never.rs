//! Addresses that no host name may come to stand for, whatever a nameserver says: a fault on them would reach beyond the peer that a name
//! means. Whoever means them names them by cidr.

use super::own;
use std::{collections::BTreeSet, net::IpAddr};

/// Where a pod finds the API server (Kubernetes, `KUBERNETES_SERVICE_HOST`).
const API_SERVER: &str = "KUBERNETES_SERVICE_HOST";

/// Those of this node and, in a cluster, of its API server; loopback besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Never(BTreeSet<IpAddr>);

impl Never {
    /// As they are now; addresses of Services that a device of the node holds are not the node's. A list that the kernel does not give is empty: what is left out is said of each address, not of all.
    #[must_use]
    pub fn of_this_node() -> Self {
        let own = own::addresses(&BTreeSet::new()).unwrap_or_default();
        let api = std::env::var(API_SERVER).ok().and_then(|text| text.parse().ok());
        Self(own.into_iter().chain(api).collect())
    }

    /// Is it one of them?
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified() || self.0.contains(&ip)
    }

    /// Those that are not loopback.
    #[must_use]
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.0
    }
}

/// Why an address is left out, with the remedy.
#[must_use]
pub fn refusal(ip: IpAddr) -> String {
    format!("{ip} is left out: it is the node's own, loopback's or the API server's; name it by cidr if it is meant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_the_nodes_own_are_never_learned() {
        let never = Never(["192.0.2.1".parse().unwrap()].into());
        for (text, refused) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("127.0.0.53", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("::", true),
            ("192.0.2.2", false),
            ("fe80::1", false),
        ] {
            assert_eq!(never.contains(text.parse().unwrap()), refused, "{text}");
        }
    }
}
