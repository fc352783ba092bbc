//! One question to the world outside, and whether its answer is right.

use super::http;
use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A TCP connection opens.
    Tcp {
        /// Where to, the first that answers counts.
        addresses: Vec<SocketAddr>,
    },
    /// A web server answers with this status.
    Http {
        /// Where to.
        addresses: Vec<SocketAddr>,
        /// The request's bytes.
        request: Vec<u8>,
        /// The status that is right.
        status: u16,
    },
}

/// What is left until `end`; at least what a socket takes as a timeout.
///
/// # Errors
/// `no answer in time` when nothing is left.
pub fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err("no answer in time".to_owned()) } else { Ok(left) }
}

impl Check {
    /// Asks once and waits for at most `timeout`; how long the answer took: for TCP the handshake, for HTTP until the head of
    /// the answer was there.
    ///
    /// # Errors
    /// A sentence on what went wrong.
    pub fn ask(&self, timeout: Duration) -> Result<Duration, String> {
        let begin = Instant::now();
        let end = begin + timeout;
        match self {
            Self::Tcp { addresses } => connect(addresses, end).map(drop)?,
            Self::Http { addresses, request, status } => {
                let answered = http::exchange(connect(addresses, end)?, request, *status, end)?;
                if answered != *status {
                    return Err(format!("status {answered} instead of {status}"));
                }
            }
        }
        Ok(begin.elapsed())
    }
}

fn connect(addresses: &[SocketAddr], end: Instant) -> Result<TcpStream, String> {
    let mut failed = String::from("no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, left(end)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = format!("connect {address}: {error}"),
        }
    }
    Err(failed)
}
