//! SIGSTOP under each action: the kernel ends it within the lease, and SIGCONT does not bring it back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use chaos_tests::clock::{now_ns, wait_until};
use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::Family;
use nix::sys::signal::Signal;

const PORT: u16 = 7000;
/// The lease of two seconds and half a second to look.
const LEASE: Duration = Duration::from_millis(2500);
/// On a wire without faults a datagram takes less.
const PROMPT: Duration = Duration::from_millis(40);

/// What passes between the hosts.
struct Wire {
    from: UdpSocket,
    to: UdpSocket,
    listener: SocketAddr,
    lab: Lab,
}

impl Wire {
    fn open(lab: Lab) -> Self {
        lab.add_clsact();
        let (a, b) = (&lab.hosts.a, &lab.hosts.b);
        let from = a.ns.run(|| UdpSocket::bind(a.at(Family::V4, 0)).expect("a socket"));
        let to = b.ns.run(|| UdpSocket::bind(b.at(Family::V4, PORT)).expect("a socket"));
        to.set_read_timeout(Some(PROMPT)).expect("a timeout");
        let listener = b.at(Family::V4, PORT);
        let server = b.ns.run(|| TcpListener::bind(listener).expect("a listener"));
        std::thread::spawn(move || {
            for stream in server.incoming() {
                // An echo of one byte; a connection that was reset is the client's to notice.
                let Ok(mut stream) = stream else { continue };
                let mut byte = [0];
                let _ = stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte));
            }
        });
        Self { from, to, listener, lab }
    }

    /// Whether ten datagrams arrive once each, whole and promptly, and a TCP connection works.
    fn clean(&self) -> bool {
        let mut buffer = [0; 2048];
        self.to.set_nonblocking(true).expect("a mode");
        while self.to.recv(&mut buffer).is_ok() {}
        self.to.set_nonblocking(false).expect("a mode");
        for number in 0..10u8 {
            let sent = [[number; 32].as_slice(), &now_ns().to_ne_bytes()].concat();
            self.from.send_to(&sent, self.to.local_addr().expect("an address")).expect("sent");
            match self.to.recv(&mut buffer) {
                Ok(length) if buffer[..length] == sent => {}
                _ => return false,
            }
        }
        // A second copy comes at once.
        self.to.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        let further = self.to.recv(&mut buffer).is_ok();
        self.to.set_read_timeout(Some(PROMPT)).expect("a timeout");
        !further && self.lab.hosts.a.ns.run(|| self.connects())
    }

    /// Whether a datagram that is sent now arrives, however late.
    fn passes(&self) -> bool {
        let sent = now_ns().to_ne_bytes();
        let mut buffer = [0; 2048];
        self.from.send_to(&sent, self.to.local_addr().expect("an address")).expect("sent");
        // What an earlier call gave up on is not it.
        while let Ok(length) = self.to.recv(&mut buffer) {
            if buffer[..length] == sent {
                return true;
            }
        }
        false
    }

    fn connects(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(&self.listener, 3 * PROMPT) else { return false };
        let mut byte = [0];
        stream.set_read_timeout(Some(3 * PROMPT)).is_ok()
            && stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).is_ok()
    }

    /// One action from injection to the report of a run that was stopped meanwhile.
    fn play(&self, action: &str) {
        self.play_with(action, LEASE, Duration::ZERO);
    }

    /// Takes what is still under way when the fault ends: what was held leaves at its time.
    fn take_what_is_held(&self, longest: Duration) {
        let (until, mut buffer) = (now_ns() + longest.as_nanos() as u64, [0; 2048]);
        while now_ns() < until {
            let _ = self.to.recv(&mut buffer);
        }
    }

    /// `limit`: when the wire is clean at the latest; `held`: how long a packet may be held.
    fn play_with(&self, action: &str, limit: Duration, held: Duration) {
        let protocol = if action.starts_with("reset") { ", protocol: tcp" } else { "" };
        let fault = format!("name: f, network: {{ match: {{ ports: [{PORT}]{protocol} }}, {action} }}");
        let fault = if protocol.is_empty() { fault.replace("ports:", "protocol: udp, ports:") } else { fault };
        assert!(self.clean(), "{action}: the wire is clean before");
        let running = self.lab.inject(&fault);
        assert!(!self.clean(), "{action}: it acts");
        running.signal(Signal::SIGSTOP);
        let stopped = now_ns();
        assert!(!self.clean(), "{action}: a lease outlives a short stop");
        let ended = wait_until(limit, || self.clean());
        let took = (now_ns() - stopped) / 1_000_000;
        assert!(ended && took <= limit.as_millis() as u64, "{action}: it acts {took} ms after SIGSTOP");
        self.take_what_is_held(held);
        running.signal(Signal::SIGCONT);
        let until = now_ns() + 500_000_000;
        while now_ns() < until {
            // What acts does so each time; a busy machine is late once.
            assert!(self.clean() || self.clean(), "{action}: it came back after SIGCONT");
        }
        let ended = running.ended();
        assert_eq!((ended.output.code, ended.report().verdict()), (5, "Aborted"), "{action}: {}", ended.output.text());
        assert!(ended.report().reason().contains("LeaseLost"), "{action}: {}", ended.report().reason());
        need::measured(&format!("{action}: without effect {took} ms after SIGSTOP"));
    }
}

#[test]
fn every_action_ends_within_the_lease_of_a_stopped_process() {
    let Some(lab) = Lab::open() else { return };
    let wire = Wire::open(lab);
    for action in [
        "partition: true",
        "loss: { percent: 100 }",
        "duplicate: { percent: 100 }",
        "corrupt: { percent: 100, mode: delivered }",
        "corrupt: { percent: 100, mode: detected }",
        "reset: { percent: 100 }",
    ] {
        wire.play(action);
    }
    if need::fq() {
        for action in ["latency: { delay: 200ms }", "latency: { delay: 200ms, jitter: 50ms }"] {
            wire.play_with(action, LEASE, Duration::from_millis(300));
        }
        // One frame may wait, which takes 1.2 s at that rate; the burst is two of our datagrams.
        let held = Duration::from_millis(1300);
        wire.play_with("bandwidth: { rate: 10kbit, burst: 200b, limit: 1 }", LEASE + held, held);
    }
}

/// Stopped 300 ms before its end, a run does not overstay by what is left of its lease.
#[test]
fn a_stop_just_before_the_end_does_not_move_it() {
    let Some(lab) = Lab::open() else { return };
    let wire = Wire::open(lab);
    let fault = format!("name: f, network: {{ match: {{ protocol: udp, ports: [{PORT}] }}, partition: true }}");
    let running = wire.lab.chaos.run(&wire.lab.experiment().duration("2s").fault(&fault));
    let seen = now_ns();
    std::thread::sleep(Duration::from_millis(1700));
    running.signal(Signal::SIGSTOP);
    assert!(!wire.passes(), "it acts");
    let mut sent = now_ns();
    assert!(wait_until(LEASE, || {
        sent = now_ns();
        wire.passes()
    }));
    // `wait` looks every few milliseconds, so the begin was a little before it returned.
    let took = (sent - seen) / 1_000_000;
    assert!((1700..2150).contains(&took), "a fault of 2 s acted until {took} ms after it was seen");
    running.signal(Signal::SIGCONT);
    let ended = running.ended();
    assert_eq!((ended.output.code, ended.report().verdict()), (0, "Pass"), "{}", ended.output.text());
}
