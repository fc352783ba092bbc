//! A nameserver with a new address in every answer, and the client's side of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hosts::Family;
use super::netns::NetNs;

/// A nameserver that knows some zones. The address of the n-th answer in zone z is 10.(80+z).n or fd80:z::n, by way of a CNAME.
#[derive(Debug)]
pub struct Nameserver {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Where all its addresses are.
pub const NETWORKS: [&str; 2] = ["10.80.0.0/13", "fd80::/16"];

impl Nameserver {
    /// Answers in a namespace, at these addresses, for names that end in one of the zones; "no such name" for others.
    pub fn start(ns: &NetNs, at: &[SocketAddr], zones: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU16::new(0));
        let serve = |address: &SocketAddr| {
            let socket = ns.run(|| UdpSocket::bind(address)).unwrap_or_else(|error| panic!("{address}: {error}"));
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || {
                let mut buffer = [0; 512];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
                    let _ = socket.send_to(&answer(&buffer[..size], zones, &count), from);
                }
            })
        };
        Self { threads: at.iter().map(serve).collect(), stop }
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const AAAA: u8 = 28;

/// The name of a question, and where type and class of it end.
fn name(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 5)
}

fn answer(query: &[u8], zones: &[&str], count: &AtomicU16) -> Vec<u8> {
    let (name, end) = name(query);
    let mut reply = query[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    let Some(zone) = zones.iter().position(|zone| name == *zone || name.ends_with(&format!(".{zone}"))) else {
        reply[3] |= 3;
        return reply;
    };
    reply[7] = 2;
    // The question's name is an alias of "real" below itself, which has the address.
    reply.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 7, 4, b'r', b'e', b'a', b'l', 0xc0, 12]);
    reply.extend([0xc0, end as u8 + 12, 0, query[end - 3], 0, 1, 0, 0, 0, 0]);
    let number = count.fetch_add(1, Ordering::Relaxed);
    match address(zone as u8, query[end - 3] == AAAA, number) {
        IpAddr::V4(ip) => reply.extend([&[0, 4], ip.octets().as_slice()].concat()),
        IpAddr::V6(ip) => reply.extend([&[0, 16], ip.octets().as_slice()].concat()),
    }
    reply
}

/// The address of an answer.
fn address(zone: u8, v6: bool, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    if v6 {
        return Ipv6Addr::new(0xfd80, zone.into(), 0, 0, 0, 0, 0, number).into();
    }
    Ipv4Addr::new(10, 80 + zone, high, low).into()
}

/// A question for the IPv4 addresses of a name.
pub fn question(id: [u8; 2], name: &str) -> Vec<u8> {
    [id.as_slice(), &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &wire(name), &[0, 1, 0, 1]].concat()
}

/// An answer to it whose records, all of one owner, have these addresses.
pub fn forged(id: [u8; 2], name: &str, owner: &str, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut reply = question(id, name);
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..8].copy_from_slice(&(addresses.len() as u16).to_be_bytes());
    for address in addresses {
        if owner == name {
            reply.extend([0xc0, 12]);
        } else {
            reply.extend(wire(owner));
        }
        reply.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// Asks a nameserver for the address of a name, and returns as soon as the answer is there.
pub fn resolve(socket: &UdpSocket, server: SocketAddr, name: &str, family: Family) -> IpAddr {
    let mut query = question([7, 7], name);
    let kind = query.len() - 3;
    query[kind] = if family == Family::V6 { AAAA } else { 1 };
    let mut buffer = [0; 512];
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(&query, server).expect("a question");
    let (size, _) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{name} from {server}: {error}"));
    assert_eq!(buffer[3] & 15, 0, "{name} from {server}");
    match family {
        Family::V4 => <[u8; 4]>::try_from(&buffer[size - 4..size]).expect("four bytes").into(),
        Family::V6 => <[u8; 16]>::try_from(&buffer[size - 16..size]).expect("sixteen bytes").into(),
    }
}
