//! One large TCP transfer: how fast, with what retransmissions, and whether every byte is right.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::connect::Pair;
use super::tcp_info::TcpInfo;
use crate::clock::{now_ns, wait_until};
use crate::net::NetNs;

/// When a transfer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So many bytes are sent.
    Bytes(u64),
    /// The sender has sent for so long.
    Time(Duration),
}

/// What a transfer came to.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Bytes that differ from what was sent.
    pub wrong_bytes: u64,
    /// From the first byte sent to the last one received.
    pub took: Duration,
    /// The sender's view at the end.
    pub sender: TcpInfo,
    /// What ended it before its time.
    pub error: Option<io::ErrorKind>,
}

impl Transfer {
    /// Throughput of payload.
    pub fn mbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.took.as_secs_f64()
    }
}

const CHUNK: usize = 64 * 1024;
/// How long either end waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Transfers from one namespace to an address of another.
pub fn transfer(from: &NetNs, to: &NetNs, at: SocketAddr, until: Until) -> Transfer {
    transfer_over(&Pair::open(from, to, at), until)
}

/// The same over a connection that is there already; its sender closes it.
pub fn transfer_over(pair: &Pair, until: Until) -> Transfer {
    pair.client.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
    pair.server.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    let start = now_ns();
    let server = &pair.server;
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(server));
        let sent = send(&pair.client, until);
        (sent, receiver.join().expect("the receiver's thread"))
    });
    let (bytes, wrong_bytes, error) = received;
    let took = Duration::from_nanos(now_ns() - start);
    let error = sent.err().or(error);
    if error.is_none() {
        // The receiver has read all of it before the last acknowledgement is back.
        wait_until(PATIENCE, || TcpInfo::of(&pair.client).bytes_acked >= bytes);
    }
    Transfer { bytes, wrong_bytes, took, sender: TcpInfo::of(&pair.client), error }
}

/// The byte at a position: no two neighbouring segments look alike.
fn pattern(position: u64) -> [u8; 8] {
    (position / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn fill(buffer: &mut [u8], position: u64) {
    for (index, word) in buffer.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&pattern(position + index as u64 * 8));
    }
}

fn send(mut stream: &TcpStream, until: Until) -> Result<(), io::ErrorKind> {
    let start = now_ns();
    let mut buffer = vec![0u8; CHUNK];
    let mut position = 0u64;
    loop {
        let left = match until {
            Until::Bytes(bytes) => bytes - position,
            Until::Time(time) if now_ns() - start < time.as_nanos() as u64 => CHUNK as u64,
            Until::Time(_) => 0,
        };
        if left == 0 {
            break;
        }
        let length = left.min(CHUNK as u64) as usize;
        fill(&mut buffer, position);
        stream.write_all(&buffer[..length]).map_err(|error| error.kind())?;
        position += length as u64;
    }
    stream.shutdown(std::net::Shutdown::Write).map_err(|error| error.kind())
}

/// Reads to the end: bytes, wrong bytes, and the error if one ended it.
fn receive(mut stream: &TcpStream) -> (u64, u64, Option<io::ErrorKind>) {
    let mut buffer = vec![0u8; CHUNK];
    let mut expected = vec![0u8; CHUNK + 8];
    let (mut position, mut wrong) = (0u64, 0u64);
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(0) => return (position, wrong, None),
            Ok(length) => length,
            Err(error) => return (position, wrong, Some(error.kind())),
        };
        let skew = (position % 8) as usize;
        fill(&mut expected, position - skew as u64);
        let expected = &expected[skew..skew + length];
        if buffer[..length] != *expected {
            wrong += buffer.iter().zip(expected).filter(|(got, wanted)| got != wanted).count() as u64;
        }
        position += length as u64;
    }
}
