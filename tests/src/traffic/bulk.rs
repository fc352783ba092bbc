//! As much as TCP will carry: throughput without looking at the bytes, so that the kernel and not the reader is measured.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use super::connect::Pair;
use super::tcp_info::TcpInfo;
use crate::clock::now_ns;
use crate::net::NetNs;

/// What one connection carried.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// From the first byte until the time was up.
    pub took: Duration,
    /// The sender's view when the time was up.
    pub sender: TcpInfo,
}

impl Bulk {
    /// Throughput of acknowledged payload.
    pub fn mbit_per_s(&self) -> f64 {
        self.sender.bytes_acked as f64 * 8.0 / 1e6 / self.took.as_secs_f64()
    }
}

const CHUNK: usize = 128 * 1024;
/// The largest window of either end; a second at 500 Mbit/s.
const WINDOW: &str = "67108864";

/// Lets TCP fill a long wire: the usual limits hold it at a few megabytes under way.
pub fn raise_windows(ns: &NetNs) {
    ns.run(|| {
        for (setting, value) in
            [("tcp_wmem", format!("4096 16384 {WINDOW}")), ("tcp_rmem", format!("4096 131072 {WINDOW}"))]
        {
            let path = format!("/proc/sys/net/ipv4/{setting}");
            std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    });
}

/// Sends from one namespace to an address of another for a time.
pub fn bulk(from: &NetNs, to: &NetNs, at: SocketAddr, time: Duration) -> Bulk {
    let pair = Pair::open(from, to, at);
    pair.client.set_write_timeout(Some(Duration::from_millis(200))).expect("a write timeout");
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut buffer = vec![0u8; 2 * CHUNK];
            while matches!((&pair.server).read(&mut buffer), Ok(1..)) {}
        });
        let (buffer, start) = (vec![0u8; CHUNK], now_ns());
        while now_ns() - start < time.as_nanos() as u64 {
            // A write that times out is tried again: a slow wire is a result, too.
            let _ = (&pair.client).write(&buffer);
        }
        let bulk = Bulk { took: Duration::from_nanos(now_ns() - start), sender: TcpInfo::of(&pair.client) };
        // What is still under way is of no interest.
        let _ = pair.server.shutdown(Shutdown::Both);
        receiver.join().expect("the receiver's thread");
        bulk
    })
}
