//! A tagged network beside the bare one.

use std::net::{Ipv4Addr, SocketAddr};

use super::hosts::Hosts;
use crate::command::try_run;
use crate::need;

/// Gives both hosts an `eth0.100` over their `eth0`, with 10.79.0.1 and 10.79.0.2. `false` where the kernel has no VLANs, which
/// is printed.
pub fn join(hosts: &Hosts) -> bool {
    for (host, number) in [(&hosts.a, 1), (&hosts.b, 2)] {
        let add = format!("ip -n {} link add link eth0 name eth0.100 type vlan id 100", host.ns.name());
        if try_run(&add).is_err() {
            return need::absent("this kernel has no VLANs");
        }
        host.ns.ip("link set eth0.100 up");
        host.ns.ip(&format!("addr add 10.79.0.{number}/24 dev eth0.100"));
    }
    true
}

/// The tagged address of a host, 1 or 2, with a port.
pub fn at(number: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 79, 0, number), port).into()
}
