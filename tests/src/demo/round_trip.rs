//! Round trips as an application sees them: small messages echoed over TCP, on several connections at once.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::clock::now_ns;
use crate::net::NetNs;
use crate::traffic::connect::{Ending, Pair, attempt, listener};

/// How long a connection may take to come about, and a message to come back.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Connections that are reset are tried again.
const ATTEMPTS: usize = 20;

/// Opens a connection; None when nothing answers. One that is reset is tried again.
pub fn open(from: &NetNs, to: &NetNs, at: SocketAddr) -> Option<Pair> {
    for _ in 0..ATTEMPTS {
        match Pair::try_open(from, to, at, PATIENCE) {
            Ok(pair) => return Some(pair),
            Err(ending) if ending.is_refused() => {}
            Err(_) => return None,
        }
    }
    None
}

/// Round trips in milliseconds; none where no connection comes about. A message that does not come back ends its connection.
pub fn round_trips(from: &NetNs, to: &NetNs, at: SocketAddr, connections: usize, messages: usize) -> Vec<f64> {
    let listener = listener(to, at);
    let clients: Vec<Ending> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| attempt(from, 0, at, PATIENCE).ending)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let open: Vec<_> = clients
        .into_iter()
        .filter_map(|end| if let Ending::Open(client) = end { Some(client) } else { None })
        .collect();
    thread::scope(|scope| {
        for _ in 0..open.len() {
            let Ok((mut server, _)) = listener.accept() else { continue };
            let _ = server.set_read_timeout(Some(PATIENCE));
            scope.spawn(move || {
                let mut message = [0u8; 64];
                while server.read_exact(&mut message).is_ok() && server.write_all(&message).is_ok() {}
            });
        }
        let threads: Vec<_> = open.into_iter().map(|client| scope.spawn(move || echo(client, messages))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

fn echo(mut client: impl Read + Write, messages: usize) -> Vec<f64> {
    let mut message = [0u8; 64];
    let mut times = Vec::new();
    for _ in 0..messages {
        let start = now_ns();
        if client.write_all(&message).is_err() || client.read_exact(&mut message).is_err() {
            break;
        }
        times.push((now_ns() - start) as f64 / 1e6);
    }
    times
}
