//! Many connections at once, each judged by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connect::{begin, listener};
use super::payload::{Payload, Reading};
use super::tcp_info::TcpInfo;
use super::udp_receiver::Receiver;
use crate::clock::now_ns;
use crate::net::{Family, NetNs};
use crate::sys;

/// What became of one TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echoed {
    /// The client's port.
    pub port: u16,
    /// Whether it came about.
    pub connected: bool,
    /// Messages that came back.
    pub rounds: usize,
    /// Segments that had to be sent again.
    pub retransmits: u32,
}

/// Opens connections from consecutive ports and has a message echoed several times on each, all at once. Ends when every
/// connection is through, or when nothing has moved for `patience`.
pub fn tcp_echo(
    (from, first_port): (&NetNs, u16),
    (to, at): (&NetNs, SocketAddr),
    connections: u16,
    rounds: usize,
    patience: Duration,
) -> Vec<Echoed> {
    sys::raise_file_limit().expect("room for the connections");
    let listener = listener(to, at);
    listener.set_nonblocking(true).expect("a listener that does not block");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &stop));
        let result = run_clients(from, first_port, at, connections, rounds, patience);
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn run_clients(
    from: &NetNs,
    first_port: u16,
    at: SocketAddr,
    connections: u16,
    rounds: usize,
    patience: Duration,
) -> Vec<Echoed> {
    let ports = first_port..first_port + connections;
    let mut clients: Vec<Client> = ports.map(|port| Client::new(begin(from, port, at).ok(), port)).collect();
    let mut last_moved = now_ns();
    while now_ns() - last_moved < patience.as_nanos() as u64 {
        let waiting: Vec<usize> = (0..clients.len()).filter(|index| clients[*index].is_waiting(rounds)).collect();
        if waiting.is_empty() {
            break;
        }
        let ready = {
            let streams =
                waiting.iter().map(|index| (clients[*index].stream.as_ref(), clients[*index].echoed.connected));
            let interests = streams
                .map(|(stream, connected)| (stream, if connected { PollFlags::POLLIN } else { PollFlags::POLLOUT }));
            ready(interests)
        };
        for (index, is_ready) in waiting.into_iter().zip(ready) {
            if is_ready && clients[index].advance(rounds) {
                last_moved = now_ns();
            }
        }
    }
    clients.into_iter().map(Client::finish).collect()
}

/// Waits a little for any of some streams; which of them can go on?
fn ready<'a>(interests: impl Iterator<Item = (Option<&'a TcpStream>, PollFlags)>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'a>> =
        interests.filter_map(|(stream, flags)| Some(PollFd::new(stream?.as_fd(), flags))).collect();
    let _ = poll(&mut polled, PollTimeout::from(50u8));
    polled.iter().map(|fd| fd.any().unwrap_or(false)).collect()
}

struct Client {
    stream: Option<TcpStream>,
    echoed: Echoed,
}

impl Client {
    fn new(stream: Option<TcpStream>, port: u16) -> Self {
        Self { stream, echoed: Echoed { port, ..Echoed::default() } }
    }

    fn is_waiting(&self, rounds: usize) -> bool {
        self.stream.is_some() && self.echoed.rounds < rounds
    }

    /// Goes one step on; whether it could.
    fn advance(&mut self, rounds: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut message = [0u8; 8];
        if !self.echoed.connected {
            if !matches!(stream.take_error(), Ok(None)) {
                self.stream = None;
                return true;
            }
            self.echoed.connected = true;
            return stream.write_all(&message).is_ok();
        }
        match stream.read(&mut message) {
            Ok(8) => {
                self.echoed.rounds += 1;
                self.echoed.rounds == rounds || stream.write_all(&message).is_ok()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            _ => {
                self.stream = None;
                true
            }
        }
    }

    fn finish(mut self) -> Echoed {
        self.echoed.retransmits = self.stream.as_ref().map_or(0, |stream| TcpInfo::of(stream).retransmits);
        self.echoed
    }
}

/// Sends back what comes, on every connection, until told to stop.
fn serve(listener: &TcpListener, stop: &AtomicBool) {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = [0u8; 64];
    while !stop.load(Ordering::Relaxed) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).expect("a stream that does not block");
            streams.push(stream);
        }
        let mut polled: Vec<PollFd<'_>> =
            streams.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
        polled.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        let _ = poll(&mut polled, PollTimeout::from(20u8));
        let readable: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut index = 0;
        streams.retain_mut(|stream| {
            index += 1;
            !readable[index - 1] || echo(stream, &mut buffer)
        });
    }
}

/// Sends back one message; whether the connection lives on.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&buffer[..length]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Sends `each` datagrams from each of `flows` consecutive ports; returns how many of each arrived.
pub fn udp_flows((from, first_port): (&NetNs, u16), (to, at): (&NetNs, SocketAddr), flows: u16, each: u64) -> Vec<u64> {
    sys::raise_file_limit().expect("room for the sockets");
    let receiver = Receiver::start(to, at.port());
    let any = Family::of(at.ip()).any(0).ip();
    let bind = || -> Vec<UdpSocket> {
        (0..flows).map(|flow| UdpSocket::bind((any, first_port + flow)).expect("a free source port")).collect()
    };
    let sockets = from.run(bind);
    let mut packet = [0u8; 64];
    for sequence in 0..each {
        for (flow, socket) in sockets.iter().enumerate() {
            Payload { flow: flow as u32, sequence, sent_ns: now_ns() }.write(&mut packet);
            socket.send_to(&packet, at).expect("the socket takes a datagram");
        }
    }
    let mut counts = vec![0; usize::from(flows)];
    for arrival in receiver.finish(to, Duration::from_millis(400)) {
        if let Reading::Intact(payload) = arrival.reading {
            counts[payload.flow as usize] += 1;
        }
    }
    counts
}
