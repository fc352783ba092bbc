//! One question to the world outside, and whether its answer is right.

use super::{http, reach::Reach, tls::Tls};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// What is asked.
#[derive(Clone)]
pub struct Check {
    /// Where to, the first that answers counts.
    pub addresses: Vec<SocketAddr>,
    /// Which of them may be dialled, asked anew before each connection: an address has another owner tomorrow.
    pub reach: Arc<dyn Reach>,
    /// What a web server is asked; None: that a TCP connection opens is enough.
    pub http: Option<Http>,
}

/// A question to a web server.
#[derive(Clone)]
pub struct Http {
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The status that is right.
    pub status: u16,
    /// For https.
    pub tls: Option<Tls>,
}

impl Check {
    /// Asks once and waits for at most `timeout`; how long the answer took: for TCP the handshake, for HTTP until the head of
    /// the answer was there.
    ///
    /// # Errors
    /// A sentence on what went wrong.
    pub async fn ask(&self, timeout: Duration) -> Result<Duration, String> {
        let begin = Instant::now();
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(result) => result.map(|()| begin.elapsed()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn exchange(&self) -> Result<(), String> {
        let stream = self.connect().await?;
        let Some(http) = &self.http else { return Ok(()) };
        let answered = match &http.tls {
            None => http::exchange(stream, &http.request, http.status).await?,
            Some(tls) => http::exchange(tls.connect(stream).await?, &http.request, http.status).await?,
        };
        if answered == http.status { Ok(()) } else { Err(format!("status {answered} instead of {}", http.status)) }
    }

    /// Dials exactly what was judged: nothing is resolved between the two.
    async fn connect(&self) -> Result<TcpStream, String> {
        let mut failed = String::from("no address that probes may reach");
        for address in self.addresses.iter().filter(|address| self.reach.allows(address.ip())) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = format!("connect {address}: {error}"),
            }
        }
        Err(failed)
    }
}
