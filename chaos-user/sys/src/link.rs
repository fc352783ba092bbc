//! Network interfaces: read, a quiet veth pair, marks and limits.
pub mod altname;

use std::{panic::resume_unwind, thread};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::errno::Errno;

pub use super::interface::Interface;
use super::{
    error::KernelError,
    netlink::{Answer, Request, Rtnl, field, find, text, u32_at},
    seam,
};

/// Length of `struct ifinfomsg` (linux/rtnetlink.h): family, type, index, flags, change mask.
const IFINFOMSG: usize = 16;
/// VETH_INFO_PEER of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// Of linux/if_link.h.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no link-local address, so no DAD and no router solicitation.
const ADDR_GEN_MODE_NONE: u8 = 1;
/// The smallest MTU with IPv6 (IPV6_MIN_MTU, net/ipv6.h).
const IPV6_MIN_MTU: u32 = 1280;
/// How many deletions wait together.
const DELETING_THREADS: usize = 16;
const IFF_UP: u32 = libc::IFF_UP.cast_unsigned();
const IFF_LOOPBACK: u32 = libc::IFF_LOOPBACK.cast_unsigned();
const IFF_MULTICAST: u32 = libc::IFF_MULTICAST.cast_unsigned();
const IFF_NOARP: u32 = libc::IFF_NOARP.cast_unsigned();

/// A veth pair to be made.
#[derive(Debug, Clone)]
pub struct VethPair {
    /// Names of the two ends, 1 to 15 bytes each.
    pub names: [String; 2],
    /// MTU of both in bytes, 68 to 65,535.
    pub mtu: u32,
    /// Transmit and receive queues of each end.
    pub queues: u32,
    /// Length of the transmit queue in packets, which a qdisc may take as its default limit.
    pub txqlen: u32,
    /// The owner's mark on both ends, at most 255 bytes.
    pub alias: String,
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG] {
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// All interfaces of the socket's namespace.
pub fn list(rtnl: &mut Rtnl) -> Result<Vec<Interface>, KernelError> {
    let request = Request::new("list", "interfaces", libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0));
    Ok(rtnl.dump(request)?.iter().filter_map(|message| parse(message)).collect())
}

/// One interface by its index. Errors: ENODEV.
pub fn get(rtnl: &mut Rtnl, index: u32) -> Result<Interface, KernelError> {
    let object = format!("interface {index}");
    let request = Request::new("get", &object, libc::RTM_GETLINK, 0, &ifinfo(index, 0, 0));
    one(rtnl.execute(request), &object)
}

/// One interface by its name; `None` if there is none.
pub fn find_by_name(rtnl: &mut Rtnl, name: &str) -> Result<Option<Interface>, KernelError> {
    match one(rtnl.execute(get_by_name(name)), name) {
        Ok(interface) => Ok(Some(interface)),
        Err(error) if error.errno == Errno::ENODEV => Ok(None),
        Err(error) => Err(error),
    }
}

fn get_by_name(name: &str) -> Request {
    Request::new("get interface", name, libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0)).text(libc::IFLA_IFNAME, name)
}

fn one(answer: Answer, object: &str) -> Result<Interface, KernelError> {
    let interface = answer?.first().and_then(|message| parse(message));
    interface.ok_or_else(|| KernelError::malformed("get interface", object, "no interface in the answer"))
}

/// Makes a veth pair with both ends in the socket's namespace and up, which never sends a packet of its own: no address
/// is generated, neither ARP nor neighbour discovery, no multicast report. Returns its ends in the order of the names.
///
/// Needs nothing but netlink, as `/proc/sys` is read-only in a container: the ends are made with an MTU without IPv6
/// and lose IFF_MULTICAST before they get theirs, because ipv6_add_dev (net/ipv6/addrconf.c) joins the all-routers
/// group, and so reports it, where forwarding is on.
///
/// Errors: EEXIST where a name is taken (which is then left alone); EINVAL for a bad name or MTU; `unsupported` where the
/// kernel has no veth. Whatever fails, no half-made pair is left.
pub fn create_veth(rtnl: &mut Rtnl, pair: &VethPair) -> Result<[Interface; 2], KernelError> {
    let object = pair.names.join(" and ");
    check_names(pair, &object)?;
    seam::run("create veth pair", &object, || {
        rtnl.execute(create_request(pair, &object)).map_err(explain_create)?;
        configure(rtnl, pair, &object).inspect_err(|_| {
            // The first error tells why; the pair goes as a whole with one of its ends.
            let _first_error_counts = rtnl.execute(delete_request(0, &object).text(libc::IFLA_IFNAME, &pair.names[0]));
        })
    })
}

/// The kernel would take an empty name or one with `%` as an order to choose one itself, and then nobody would know it
/// (dev_alloc_name, net/core/dev.c).
fn check_names(pair: &VethPair, object: &str) -> Result<(), KernelError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '%' | '/' | ':');
    let bad = |name: &String| name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(odd);
    match pair.names.iter().find(|name| bad(name)) {
        Some(name) => Err(KernelError::new("create veth pair", object, Errno::EINVAL)
            .with_detail(format!("{name:?} is no name for an interface: 1 to 15 bytes without blank, %, / and :"))),
        None => Ok(()),
    }
}

fn create_request(pair: &VethPair, object: &str) -> Request {
    let end = |request: Request, name: &str| {
        request
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MTU, pair.mtu.min(IPV6_MIN_MTU - 1))
            .u32(libc::IFLA_TXQLEN, pair.txqlen)
            .u32(libc::IFLA_NUM_TX_QUEUES, pair.queues)
            .u32(libc::IFLA_NUM_RX_QUEUES, pair.queues)
    };
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let request = Request::new("create veth pair", object, libc::RTM_NEWLINK, flags, &ifinfo(0, 0, 0));
    end(request, &pair.names[0]).nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |peer| end(peer.raw(&ifinfo(0, 0, 0)), &pair.names[1]))
        })
    })
}

fn explain_create(error: KernelError) -> KernelError {
    match error.errno {
        Errno::EOPNOTSUPP => {
            error.unsupported("this kernel has no veth devices: load the module veth on the node (CONFIG_VETH)")
        }
        Errno::EEXIST => error.with_hint("a device of that name is there already: chaos cleanup removes leftovers"),
        _ => error,
    }
}

/// Everything that cannot be said at creation, for both ends, in one system call.
fn configure(rtnl: &mut Rtnl, pair: &VethPair, object: &str) -> Result<[Interface; 2], KernelError> {
    const OP: &str = "configure veth end";
    let set = |name: &str, flags, change| {
        Request::new(OP, name, libc::RTM_SETLINK, 0, &ifinfo(0, flags, change)).text(libc::IFLA_IFNAME, name)
    };
    let per_end = |name: &String| {
        [
            set(name, IFF_NOARP, IFF_NOARP | IFF_MULTICAST).text(libc::IFLA_IFALIAS, &pair.alias),
            set(name, 0, 0).u32(libc::IFLA_MTU, pair.mtu),
            set(name, 0, 0).nest(libc::IFLA_AF_SPEC, |spec| {
                spec.nest(libc::AF_INET6.cast_unsigned() as u16, |inet6| {
                    inet6.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE])
                })
            }),
        ]
    };
    let answers = rtnl.batch(pair.names.iter().flat_map(per_end).collect());
    for (step, answer) in (0..).zip(answers) {
        match answer {
            // Without IPv6 (no module, ipv6.disable=1, or an MTU too small for it) there is no mode to be set.
            Err(error) if step % 3 == 2 && error.errno == Errno::EAFNOSUPPORT => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    let up = pair.names.iter().map(|name| set(name, IFF_UP, IFF_UP));
    let mut answers = rtnl.batch(up.chain(pair.names.iter().map(|name| get_by_name(name))).collect());
    let second = one(answers.pop().unwrap_or_else(|| Ok(Vec::new())), object);
    let first = one(answers.pop().unwrap_or_else(|| Ok(Vec::new())), object);
    answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok([first?, second?])
}

fn delete_request(index: u32, object: &str) -> Request {
    Request::new("delete interface", object, libc::RTM_DELLINK, 0, &ifinfo(index, 0, 0))
}

/// Deletes an interface, of a veth pair both ends. Whose it is the caller has to check by its alias.
/// Errors: ENODEV where it is gone already.
pub fn delete(rtnl: &mut Rtnl, interface: &Interface) -> Result<(), KernelError> {
    seam::run("delete interface", &interface.name, || {
        rtnl.execute(delete_request(interface.index, &interface.name)).map(drop)
    })
}

/// Deletes one interface in each of many namespaces, several at a time: every deletion waits about 20 ms for RCU, and
/// the kernel lets those that wait together share the wait. One outcome each, in order; the seam counts it as one
/// operation. Errors: as [`delete`].
pub fn delete_all(places: &mut [(Rtnl, Interface)]) -> Result<Vec<Result<(), KernelError>>, KernelError> {
    const OP: &str = "delete";
    let object = format!("{} interfaces", places.len());
    let delete = |(rtnl, interface): &mut (Rtnl, Interface)| {
        rtnl.execute(delete_request(interface.index, &interface.name)).map(drop)
    };
    seam::run(OP, &object, || {
        let share = places.len().div_ceil(DELETING_THREADS).max(1);
        thread::scope(|scope| {
            let shares = places.chunks_mut(share).map(|share| {
                let all = move || share.iter_mut().map(delete).collect::<Vec<_>>();
                thread::Builder::new().name("delete".to_owned()).spawn_scoped(scope, all)
            });
            let threads: Result<Vec<_>, _> = shares.collect();
            let threads = threads.map_err(|e| KernelError::from_io(OP, &object, &e))?;
            let outcomes = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok(outcomes.flatten().collect())
        })
    })
}

fn change(
    rtnl: &mut Rtnl,
    op: &'static str,
    index: u32,
    flags: [u32; 2],
    fill: impl FnOnce(Request) -> Request,
) -> Result<(), KernelError> {
    let object = format!("interface {index}");
    let request = Request::new(op, &object, libc::RTM_SETLINK, 0, &ifinfo(index, flags[0], flags[1]));
    seam::run(op, &object, || rtnl.execute(fill(request)).map(drop))
}

/// Sets an interface up or down. Errors: ENODEV.
pub fn set_up(rtnl: &mut Rtnl, index: u32, up: bool) -> Result<(), KernelError> {
    let (op, flags) = if up { ("set up", IFF_UP) } else { ("set down", 0) };
    change(rtnl, op, index, [flags, IFF_UP], |request| request)
}

/// Sets the owner's mark, at most 255 bytes; an empty one removes it. Errors: ENODEV, ERANGE or EINVAL for a long one.
pub fn set_alias(rtnl: &mut Rtnl, index: u32, alias: &str) -> Result<(), KernelError> {
    change(rtnl, "set alias of", index, [0, 0], |request| request.attr(libc::IFLA_IFALIAS, alias.as_bytes()))
}

/// Sets how many segments one skb may hold, 1 to 65,535; sockets take it over when they connect.
/// Errors: EINVAL above what the device can (IFLA_TSO_MAX_SEGS).
pub fn set_gso_max_segs(rtnl: &mut Rtnl, index: u32, segments: u32) -> Result<(), KernelError> {
    change(rtnl, "set gso_max_segs of", index, [0, 0], |request| request.u32(libc::IFLA_GSO_MAX_SEGS, segments))
}

pub(crate) fn parse(message: &[u8]) -> Option<Interface> {
    let attrs = message.get(IFINFOMSG..)?;
    let number = |kind| find(attrs, kind).map(|value| u32_at(value, 0));
    let words = |kind| find(attrs, kind).map(text);
    let flags = u32_at(message, 8);
    let kind = find(attrs, libc::IFLA_LINKINFO).and_then(|info| find(info, libc::IFLA_INFO_KIND)).map(text);
    let link_netnsid = find(attrs, libc::IFLA_LINK_NETNSID).and_then(|v| field(v, 0)).map(i32::from_ne_bytes);
    let link = number(libc::IFLA_LINK).filter(|index| *index != 0);
    let paired = matches!(kind.as_deref(), Some("veth" | "netkit"));
    Some(Interface {
        index: u32_at(message, 4),
        name: words(libc::IFLA_IFNAME)?,
        mtu: number(libc::IFLA_MTU).unwrap_or(0),
        hardware: field(message, 2).map_or(0, u16::from_ne_bytes),
        kind,
        master: number(libc::IFLA_MASTER),
        lower: link.filter(|_| !paired && link_netnsid.is_none()),
        peer: link.filter(|_| paired),
        link_netnsid,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        mac: find(attrs, libc::IFLA_ADDRESS).filter(|mac| mac.len() == 6).and_then(|mac| field(mac, 0)),
        qdisc: words(libc::IFLA_QDISC),
        alias: words(libc::IFLA_IFALIAS),
        gso_max_segs: number(libc::IFLA_GSO_MAX_SEGS),
        altnames: altname::parse(attrs),
    })
}

#[cfg(test)]
mod tests;

/// Switches generic receive offload of a device in the calling thread's netns; on veth that is also NAPI, from Linux 5.13 on
/// (drivers/net/veth.c, `veth_set_features`). Kernels or devices that refuse are left as they are.
///
/// # Errors
/// Where no socket can be made.
pub fn set_gro(name: &str, on: bool) -> Result<(), KernelError> {
    seam::run("set receive offload of", name, || super::ethtool::set_gro(name, on))
}
