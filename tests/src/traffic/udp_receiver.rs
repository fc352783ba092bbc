//! The receiving end of UDP measurements: one socket, one thread, every packet noted.

use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::payload::{Payload, Reading};
use crate::clock::now_ns;
use crate::net::{Counters, NetNs};
use crate::sys;

/// One packet that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What it carried.
    pub reading: Reading,
    /// When the application had it, `CLOCK_MONOTONIC`.
    pub received_ns: u64,
}

/// A socket that notes all that arrives until it is told to stop.
#[derive(Debug)]
pub struct Receiver {
    thread: JoinHandle<Vec<Arrival>>,
    /// When the senders were done; 0 while they are not.
    senders_done_ns: Arc<AtomicU64>,
    settle_ns: Arc<AtomicU64>,
    before: Counters,
}

impl Receiver {
    /// Binds a port of both families in a namespace and starts to receive.
    pub fn start(ns: &NetNs, port: u16) -> Self {
        let socket = ns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a free port for the receiver"));
        // A burst of many thousand packets must fit: a packet lost here would be taken for the fault's work.
        sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20).expect("a large buffer");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a read timeout");
        let senders_done_ns = Arc::new(AtomicU64::new(0));
        let settle_ns = Arc::new(AtomicU64::new(0));
        let (done, settle) = (senders_done_ns.clone(), settle_ns.clone());
        let thread = std::thread::spawn(move || receive(&socket, &done, &settle));
        Self { thread, senders_done_ns, settle_ns, before: Counters::of(ns) }
    }

    /// Waits until nothing has come for a while after the senders' end, and returns what came. Packets that the receiver's
    /// own buffer lost would make the measurement worthless, so they are an error here.
    pub fn finish(self, ns: &NetNs, settle: Duration) -> Vec<Arrival> {
        self.settle_ns.store(settle.as_nanos() as u64, Ordering::Relaxed);
        self.senders_done_ns.store(now_ns(), Ordering::Release);
        let arrivals = self.thread.join().expect("the receiver's thread");
        let since = Counters::of(ns).since(&self.before);
        let overflow = since.sum(&["UdpRcvbufErrors", "Udp6RcvbufErrors"]);
        assert_eq!(overflow, 0, "the receiver itself lost packets: send slower: {}", since.moved());
        arrivals
    }
}

fn receive(socket: &UdpSocket, senders_done_ns: &AtomicU64, settle_ns: &AtomicU64) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut buffer = vec![0u8; 65_536];
    let mut last_ns = 0;
    loop {
        if let Ok(length) = socket.recv(&mut buffer) {
            last_ns = now_ns();
            arrivals.push(Arrival { reading: Payload::read(&buffer[..length]), received_ns: last_ns });
            continue;
        }
        let done_ns = senders_done_ns.load(Ordering::Acquire);
        if done_ns != 0 && now_ns() > last_ns.max(done_ns) + settle_ns.load(Ordering::Relaxed) {
            return arrivals;
        }
    }
}
