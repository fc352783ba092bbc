//! What a process in a cluster answers over HTTP: `/healthz`, `/readyz` and `/metrics`. Nothing can be changed through it.

use crate::engine::EngineError;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections at one moment; more wait.
const CONNECTIONS: usize = 16;
/// How long a client may take over its request, and over all of its requests.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// As Prometheus asks for it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who answers.
pub trait Answers: Send + Sync + 'static {
    /// Does it work at all?
    ///
    /// # Errors
    /// A sentence; it should be started anew.
    fn alive(&self) -> Result<(), String>;
    /// Does it do what it is for?
    ///
    /// # Errors
    /// A sentence.
    fn ready(&self) -> Result<(), String>;
    /// Its metrics, as OpenMetrics text.
    fn metrics(&self) -> String;
}

/// Takes the port on all addresses, of both families where there are two.
///
/// # Errors
/// The port is in use.
pub async fn listen(port: u16) -> Result<TcpListener, EngineError> {
    let both = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await;
    let listener = match both {
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        // EAFNOSUPPORT, where IPv6 is not part of the kernel.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        other => other,
    };
    listener.map_err(|error| EngineError::Failed(format!("listen on port {port}: {error}; --port gives another")))
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, answers: Arc<dyn Answers>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let _late = tokio::time::timeout(PATIENCE.1, talk(stream, answers)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, answers: Arc<dyn Answers>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), answers.as_ref());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE.0);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a client: {error}");
    }
}

fn answer(method: &Method, path: &str, answers: &dyn Answers) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    let judged = match path {
        "/healthz" => answers.alive(),
        "/readyz" => answers.alive().and_then(|()| answers.ready()),
        "/metrics" => return response(StatusCode::OK, OPEN_METRICS, answers.metrics()),
        _ => return response(StatusCode::NOT_FOUND, "text/plain", "/healthz, /readyz or /metrics\n".to_owned()),
    };
    match judged {
        Ok(()) => response(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        Err(why) => response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{why}\n")),
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sick;

    impl Answers for Sick {
        fn alive(&self) -> Result<(), String> {
            Ok(())
        }
        fn ready(&self) -> Result<(), String> {
            Err("no list of pods yet".to_owned())
        }
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
    }

    #[test]
    fn each_path_has_its_answer() {
        let status = |method: Method, path: &str| answer(&method, path, &Sick).status().as_u16();
        assert_eq!(status(Method::GET, "/healthz"), 200);
        assert_eq!(status(Method::GET, "/readyz"), 503);
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::GET, "/"), 404);
        assert_eq!(status(Method::POST, "/healthz"), 405);
    }

    #[tokio::test]
    async fn it_answers_over_tcp() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Sick)));
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/readyz").header("host", "node").body(Full::default()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
