//! HTTP/1.1 as far as a status needs it (RFC 9112): one GET, the head of the answer read by httparse, the body left unread.
//! Redirects are not followed: their status is an answer like others.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A head that is longer is not waited for.
const LONGEST_HEAD: usize = 64 * 1024;
/// More header fields than servers send.
const MOST_FIELDS: usize = 256;

/// The request for a target at an authority.
#[must_use]
pub fn request(authority: &str, target: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: chaos/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// Sends the request; the status of the final answer, or an interim one (RFC 9110, section 15.2) that is `wanted`.
///
/// # Errors
/// A sentence on what went wrong.
pub async fn exchange<S>(mut stream: S, request: &[u8], wanted: u16) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await.map_err(|error| format!("send: {error}"))?;
    stream.flush().await.map_err(|error| format!("send: {error}"))?;
    let mut head = Vec::new();
    // On the heap: tasks that wait for their turn hold no room for it.
    let mut part = vec![0; 4096];
    loop {
        let read = stream.read(&mut part).await.map_err(|error| format!("receive: {error}"))?;
        if read == 0 {
            return Err(
                if head.is_empty() { "closed without an answer" } else { "closed within its answer" }.to_owned()
            );
        }
        head.extend_from_slice(&part[..read]);
        while let Some((status, length)) = status(&head)? {
            if status >= 200 || status == wanted {
                return Ok(status);
            }
            head.drain(..length);
        }
        if head.len() > LONGEST_HEAD {
            return Err(format!("the head of the answer is longer than {LONGEST_HEAD} bytes"));
        }
    }
}

/// Status and length of a whole head; `None`: there is more to come.
fn status(head: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(head) {
        Ok(httparse::Status::Complete(length)) => Ok(answer.code.map(|code| (code, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(format!("the answer is not HTTP: {error}")),
    }
}
