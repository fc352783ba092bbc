//! UDP flows whose packets are numbered, stamped and checksummed.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub use super::outcome::Outcome;
use super::payload::{MIN_SIZE, Payload};
use super::udp_receiver::Receiver;
use crate::clock::now_ns;
use crate::net::{Family, NetNs};
use crate::sys;

/// Datagrams from one socket, described before they are sent.
#[derive(Clone, Debug)]
pub struct Flow {
    to: SocketAddr,
    id: u32,
    count: u64,
    size: usize,
    packets_per_second: Option<u64>,
    source_port: u16,
    segments: usize,
    cpu: Option<usize>,
}

impl Flow {
    /// A flow of 1,000 packets of 100 bytes at 20,000 a second from any port.
    pub fn to(to: SocketAddr) -> Self {
        Self {
            to,
            id: 0,
            count: 1_000,
            size: 100,
            packets_per_second: Some(20_000),
            source_port: 0,
            segments: 1,
            cpu: None,
        }
    }

    /// Names the flow; needed where several share a receiver.
    pub fn id(self, id: u32) -> Self {
        Self { id, ..self }
    }

    /// How many packets.
    pub fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// No end but `Stream::stop`.
    pub fn endless(self) -> Self {
        Self { count: u64::MAX, ..self }
    }

    /// Bytes of payload in each packet.
    pub fn size(self, size: usize) -> Self {
        Self { size: size.max(MIN_SIZE), ..self }
    }

    /// Packets in a second.
    pub fn rate(self, packets_per_second: u64) -> Self {
        Self { packets_per_second: Some(packets_per_second), ..self }
    }

    /// As fast as the socket takes them.
    pub fn flat_out(self) -> Self {
        Self { packets_per_second: None, ..self }
    }

    /// The sender's port.
    pub fn from_port(self, source_port: u16) -> Self {
        Self { source_port, ..self }
    }

    /// Gives the kernel this many packets at once, which it carries as one (`UDP_SEGMENT`).
    pub fn segments(self, segments: usize) -> Self {
        Self { segments: segments.max(1), ..self }
    }

    /// Sends from one CPU.
    pub fn on_cpu(self, cpu: usize) -> Self {
        Self { cpu: Some(cpu), ..self }
    }

    /// Sends all from one namespace to another and waits for what arrives.
    pub fn run(self, from: &NetNs, to: &NetNs) -> Outcome {
        run_all(from, to, &[self]).remove(0)
    }

    fn socket(&self, from: &NetNs) -> UdpSocket {
        let bind = Family::of(self.to.ip()).any(self.source_port);
        let socket = from.run(|| UdpSocket::bind(bind)).expect("a free source port");
        socket.connect(self.to).expect("a route to the receiver");
        if self.segments > 1 {
            sys::set_int_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, self.size as i32)
                .expect("UDP_SEGMENT");
        }
        socket
    }

    /// Whether the kernel takes one batch of it. Before Linux 6.11 it takes none for a device that computes no checksums
    /// (net/ipv4/udp.c, `udp_send_skb`).
    pub fn takes_batches(&self, from: &NetNs) -> bool {
        self.socket(from).send(&vec![0; self.size * self.segments]).is_ok()
    }

    /// Sends on the calling thread until done or told to stop.
    fn send(&self, socket: &UdpSocket, stop: &AtomicBool) -> Sent {
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu).expect("a CPU number");
            sched_setaffinity(Pid::from_raw(0), &set).expect("the CPU");
        }
        let mut sent = Sent::default();
        let mut buffer = vec![0u8; self.size * self.segments];
        let start = now_ns();
        while sent.packets < self.count && !stop.load(Ordering::Relaxed) {
            self.await_turn(start, sent.packets + sent.errors);
            let batch = (self.count - sent.packets).min(self.segments as u64);
            let bytes = &mut buffer[..batch as usize * self.size];
            for (index, packet) in bytes.chunks_exact_mut(self.size).enumerate() {
                Payload { flow: self.id, sequence: sent.packets + index as u64, sent_ns: now_ns() }.write(packet);
            }
            match socket.send(bytes) {
                Ok(_) => sent.packets += batch,
                Err(_) => sent.errors += batch,
            }
            assert!(sent.errors <= self.count.min(1_000_000), "the socket refuses to send");
        }
        sent
    }

    fn await_turn(&self, start: u64, number: u64) {
        let Some(rate) = self.packets_per_second else { return };
        let due = start + (u128::from(number) * 1_000_000_000 / u128::from(rate)) as u64;
        let early = due.saturating_sub(now_ns());
        // Shorter naps overshoot; the schedule is absolute, so what is late is caught up with.
        if early > 100_000 {
            std::thread::sleep(Duration::from_nanos(early));
        }
    }
}

/// What a sender did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Packets that the socket took.
    pub packets: u64,
    /// Packets that it refused.
    pub errors: u64,
}

/// Runs several flows at once, each on a thread of its own, and returns their outcomes in order.
pub fn run_all(from: &NetNs, to: &NetNs, flows: &[Flow]) -> Vec<Outcome> {
    let port = flows[0].to.port();
    assert!(flows.iter().all(|flow| flow.to.port() == port), "flows measured together share the receiver's port");
    let receiver = Receiver::start(to, port);
    let sockets: Vec<UdpSocket> = flows.iter().map(|flow| flow.socket(from)).collect();
    let never = AtomicBool::new(false);
    let sent: Vec<Sent> = std::thread::scope(|scope| {
        let senders: Vec<_> =
            flows.iter().zip(&sockets).map(|(flow, socket)| scope.spawn(|| flow.send(socket, &never))).collect();
        senders.into_iter().map(|sender| sender.join().expect("a sender's thread")).collect()
    });
    let arrivals = receiver.finish(to, SETTLE);
    let ids: Vec<u32> = flows.iter().map(|flow| flow.id).collect();
    super::outcome::sort(&ids, &sent, &arrivals)
}

/// How long nothing must come before a flow is over. Longer than any delay that tests ask for.
const SETTLE: Duration = Duration::from_millis(400);

/// A flow in the background.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Sent>,
    receiver: Receiver,
}

impl Stream {
    /// Starts to send.
    pub fn start(flow: Flow, from: &NetNs, to: &NetNs) -> Self {
        let receiver = Receiver::start(to, flow.to.port());
        let socket = flow.socket(from);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let id = flow.id;
        let sender = std::thread::spawn(move || flow.send(&socket, &stopped));
        Self { id, stop, sender, receiver }
    }

    /// Stops sending and waits for what is still under way.
    pub fn stop(self, to: &NetNs) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender's thread");
        super::outcome::sort(&[self.id], &[sent], &self.receiver.finish(to, SETTLE)).remove(0)
    }
}
