//! Echo requests and what comes back, ICMP and ICMPv6.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::frame::checksum;
use crate::clock::now_ns;
use crate::net::{Family, NetNs};

static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

/// A series of echo requests, described before they are sent.
#[derive(Clone, Debug)]
pub struct Ping {
    to: IpAddr,
    count: u16,
    interval: Duration,
    patience: Duration,
    size: usize,
}

/// One reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Which request it answers.
    pub sequence: u16,
    /// The time from request to reply.
    pub rtt_ms: f64,
}

/// What a series came to.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Requests that the socket took.
    pub sent: u64,
    /// Replies in order of arrival, duplicates too.
    pub replies: Vec<Reply>,
    /// Replies to a request that had its reply.
    pub duplicates: u64,
    /// First replies that came after one to a later request.
    pub reordered: u64,
}

impl Answers {
    /// Requests that were answered.
    pub fn received(&self) -> u64 {
        self.replies.len() as u64 - self.duplicates
    }

    /// Requests that were not.
    pub fn lost(&self) -> u64 {
        self.sent - self.received()
    }

    /// All round trips in order of arrival.
    pub fn rtts_ms(&self) -> Vec<f64> {
        self.replies.iter().map(|reply| reply.rtt_ms).collect()
    }
}

impl Ping {
    /// Ten requests, 10 ms apart, and one second of patience after the last.
    pub fn to(to: IpAddr) -> Self {
        Self { to, count: 10, interval: Duration::from_millis(10), patience: Duration::from_secs(1), size: 56 }
    }

    /// How many requests.
    pub fn count(self, count: u16) -> Self {
        Self { count, ..self }
    }

    /// The time between requests.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// How long to wait for replies after the last request; no longer than until all are there.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Bytes of payload.
    pub fn size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    /// Sends them from a namespace and collects the replies.
    pub fn run(&self, from: &NetNs) -> Answers {
        let socket = from.run(|| raw_socket(Family::of(self.to)));
        let identifier = NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed);
        let to = SocketAddr::new(self.to, 0);
        let mut answers = Answers::default();
        let mut sent_ns = Vec::new();
        let start = now_ns();
        for sequence in 0..self.count {
            sent_ns.push(now_ns());
            if socket.send_to(&self.request(identifier, sequence), to).is_ok() {
                answers.sent += 1;
            }
            let next = start + self.interval.as_nanos() as u64 * (u64::from(sequence) + 1);
            let last = sequence + 1 == self.count;
            self.collect(&socket, identifier, &sent_ns, &mut answers, if last { start } else { next });
        }
        let end = now_ns() + self.patience.as_nanos() as u64;
        while now_ns() < end && answers.received() < answers.sent {
            self.collect(&socket, identifier, &sent_ns, &mut answers, (now_ns() + 1_000_000).min(end));
        }
        answers
    }

    /// Notes replies until an instant.
    fn collect(&self, socket: &UdpSocket, identifier: u16, sent_ns: &[u64], answers: &mut Answers, until_ns: u64) {
        let mut buffer = [0u8; 65_536];
        loop {
            let left = until_ns.saturating_sub(now_ns());
            if left == 0 {
                return;
            }
            socket.set_read_timeout(Some(Duration::from_nanos(left.max(1_000)))).expect("a read timeout");
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let received_ns = now_ns();
            let Some(sequence) = self.reply_to(identifier, &buffer[..length]) else { continue };
            let Some(sent) = sent_ns.get(usize::from(sequence)) else { continue };
            let earlier: BTreeSet<u16> = answers.replies.iter().map(|reply| reply.sequence).collect();
            if earlier.contains(&sequence) {
                answers.duplicates += 1;
            } else if earlier.last().is_some_and(|highest| *highest > sequence) {
                answers.reordered += 1;
            }
            answers.replies.push(Reply { sequence, rtt_ms: (received_ns - sent) as f64 / 1e6 });
        }
    }

    fn request(&self, identifier: u16, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0u8; 8 + self.size];
        packet[0] = if self.to.is_ipv4() { 8 } else { 128 };
        packet[4..6].copy_from_slice(&identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        if self.to.is_ipv4() {
            // The kernel computes that of ICMPv6, which covers addresses that we need not know.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// Which of our requests some bytes answer.
    fn reply_to(&self, identifier: u16, received: &[u8]) -> Option<u16> {
        // An IPv4 raw socket hands over the IP header too.
        let header = if self.to.is_ipv4() { usize::from(received.first()? & 0x0f) * 4 } else { 0 };
        let message = received.get(header..)?;
        let reply_type = if self.to.is_ipv4() { 0 } else { 129 };
        let is_ours = message.len() >= 8 && message[0] == reply_type && message[4..6] == identifier.to_be_bytes();
        is_ours.then(|| u16::from_be_bytes([message[6], message[7]]))
    }
}

/// A raw ICMP socket, in the clothes of a UDP socket for its safe send and receive.
fn raw_socket(family: Family) -> UdpSocket {
    let (family, protocol) = match family {
        Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
        Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("a raw socket").into()
}
