//! What the tests' pods run: alone in its image, and also what a node keeps a pod's namespaces with.
//!
//! - `chaos-pod pause` does nothing; it reaps children.
//! - `chaos-pod knock ADDRESS PORT [MS [COUNT]]` sends a datagram every so many milliseconds (1), the first at once; their numbers begin at 0.
//!   It ends after so many of them, or never.
//! - `chaos-pod serve PORT` answers each TCP connection with the host's name and closes it, and sends UDP datagrams back.
//!
//! SIGTERM and SIGINT end each of them with exit code 0.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use chaos_tests::clock::now_ns;
use chaos_tests::net::Family;
use chaos_tests::traffic::payload::Payload;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

const USAGE: &str = "chaos-pod pause | knock ADDRESS PORT [MS [COUNT]] | serve PORT";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let port = |word: &str| word.parse::<u16>().expect("a port");
    // Before there are threads, which inherit it. The first process of a namespace would otherwise not even be sent them.
    let signals = blocked();
    match words[..] {
        ["pause"] => pause(&signals),
        ["knock", address, number, ref more @ ..] => {
            let pace = more.first().map_or(1, |pace| pace.parse().expect("milliseconds"));
            let count = more.get(1).map_or(u32::MAX, |count| count.parse().expect("a number"));
            let to = SocketAddr::new(address.parse().expect("an address"), port(number));
            knock(to, Duration::from_millis(pace), count, signals)
        }
        ["serve", number] => serve(port(number), signals),
        _ => panic!("{USAGE}"),
    }
}

fn blocked() -> SigSet {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().expect("signals can be blocked");
    signals
}

fn pause(signals: &SigSet) -> ! {
    loop {
        if signals.wait().expect("signals can be waited for") != Signal::SIGCHLD {
            std::process::exit(0);
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

fn knock(to: SocketAddr, pace: Duration, count: u32, signals: SigSet) {
    let socket = UdpSocket::bind(Family::of(to.ip()).any(0)).expect("a socket");
    let started = Instant::now();
    let mut packet = [0u8; 64];
    let mut waiter = Some(signals);
    for sequence in 0..count {
        Payload { flow: 0, sequence: sequence.into(), sent_ns: now_ns() }.write(&mut packet);
        // Nobody there yet, or no route: that is for the receiver to see.
        let _ = socket.send_to(&packet, to);
        if let Some(signals) = waiter.take() {
            std::thread::spawn(move || pause(&signals));
        }
        std::thread::sleep((started + pace * (sequence + 1)).saturating_duration_since(Instant::now()));
    }
}

fn serve(port: u16, signals: SigSet) {
    std::thread::spawn(move || pause(&signals));
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let datagrams = UdpSocket::bind((any, port)).expect("a free port");
    let connections = TcpListener::bind((any, port)).expect("a free port");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..length], from);
            }
        }
    });
    let name = nix::unistd::gethostname().expect("a host name");
    for mut connection in connections.incoming().flatten() {
        let _ = writeln!(connection, "{}", name.display());
    }
}
