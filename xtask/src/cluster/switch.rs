//! The cluster's network: a bridge in the control plane's namespace, a wire from it to each node and one to this machine's
//! own namespace, and routes to everybody's pods.

use std::fs;

use anyhow::{Context as _, Result};

use super::{
    namespace::{inside, ip},
    state::{CONTROL_PLANE, HOST, HOST_LINK, Node, PREFIX_LENGTH, SERVER},
};

/// The control plane's namespace with the bridge, and the wire to this machine.
pub fn make() -> Result<()> {
    ip(&format!("netns add {CONTROL_PLANE}"))?;
    ip(&format!("-n {CONTROL_PLANE} link set lo up"))?;
    ip(&format!("-n {CONTROL_PLANE} link add br0 type bridge"))?;
    ip(&format!("-n {CONTROL_PLANE} address add {SERVER}/{PREFIX_LENGTH} dev br0"))?;
    ip(&format!("-n {CONTROL_PLANE} link set br0 up"))?;
    ip(&format!("link add {HOST_LINK} type veth peer name host netns {CONTROL_PLANE}"))?;
    ip(&format!("-n {CONTROL_PLANE} link set host master br0 up"))?;
    ip(&format!("address add {HOST}/{PREFIX_LENGTH} dev {HOST_LINK}"))?;
    ip(&format!("link set {HOST_LINK} up")).map(drop)
}

/// The namespace of a node, plugged in. `nodes` are all of the cluster.
pub fn plug_in(node: Node, nodes: &[Node]) -> Result<()> {
    let (space, port) = (node.space(), node.name());
    ip(&format!("netns add {space}"))?;
    ip(&format!("link add {port} netns {CONTROL_PLANE} type veth peer name eth0 netns {space}"))?;
    ip(&format!("-n {CONTROL_PLANE} link set {port} master br0 up"))?;
    inside(&space, || furnish(node, nodes))?;
    route(node)
}

/// The port of a node that is a virtual machine; returns the name of its tap.
pub fn plug_in_tap(node: Node) -> Result<String> {
    let tap = node.name();
    ip(&format!("-n {CONTROL_PLANE} tuntap add {tap} mode tap"))?;
    ip(&format!("-n {CONTROL_PLANE} link set {tap} master br0 up"))?;
    route(node)?;
    Ok(tap)
}

/// A node's own end, in its namespace or in its machine.
pub fn furnish(node: Node, nodes: &[Node]) -> Result<()> {
    ip("link set lo up")?;
    ip(&format!("address add {}/{PREFIX_LENGTH} dev eth0", node.address()))?;
    ip("link set eth0 up")?;
    ip(&format!("route add default via {SERVER}"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let a node forward packets")?;
    for other in nodes.iter().filter(|other| **other != node) {
        ip(&format!("route add {} via {}", other.pods(), other.address()))?;
    }
    Ok(())
}

/// The way to a node's pods from the control plane and from this machine.
fn route(node: Node) -> Result<()> {
    ip(&format!("-n {CONTROL_PLANE} route add {} via {}", node.pods(), node.address()))?;
    ip(&format!("route add {} via {}", node.pods(), node.address())).map(drop)
}
