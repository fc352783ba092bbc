//! What a process in a cluster answers over HTTP: `/healthz`, `/readyz` and `/metrics`. Nothing can be changed through it.

use chaos_outcome::EngineError;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// Connections at one moment. Who comes then is served, and the oldest of them ends: whoever asks at once has his answer long before.
const CONNECTIONS: usize = 64;
/// The same of one address.
const OF_ONE: usize = 16;
/// How long a client has, from its connection to the end of its answer. One answer is given, and no second one.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// Where a process answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Everything, on all addresses; None: nowhere.
    pub all: Option<u16>,
    /// Health apart from it, where no reader of metrics is in the way; None: nowhere.
    pub health: Option<u16>,
    /// Health is told on 127.0.0.1 alone: the kubelet is on the same network.
    pub near: bool,
}

/// Answers from now on, until the runtime ends.
///
/// # Errors
/// A port is in use; then none is taken.
pub async fn begin(ports: Ports, answers: Arc<dyn Answers>) -> Result<(), EngineError> {
    let mut listeners = Vec::new();
    if let Some(port) = ports.all {
        listeners.push(listen(port, false, "--port").await?);
    }
    if let Some(port) = ports.health {
        listeners.push(listen(port, ports.near, "--health-port").await?);
    }
    for listener in listeners {
        tokio::spawn(serve(listener, Arc::clone(&answers)));
    }
    Ok(())
}

/// Takes the port on all addresses, of both families where there are two, or on 127.0.0.1.
async fn listen(port: u16, near: bool, option: &str) -> Result<TcpListener, EngineError> {
    let of_ipv4 = if near { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let both =
        if near { Err(io::ErrorKind::Unsupported.into()) } else { bind(Ipv6Addr::UNSPECIFIED.into(), port).await };
    let listener = match both {
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {
            bind(of_ipv4.into(), port).await
        }
        // EAFNOSUPPORT, where IPv6 is not part of the kernel.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => bind(of_ipv4.into(), port).await,
        other => other,
    };
    listener.map_err(|error| EngineError::Failed(format!("listen on port {port}: {error}; {option} gives another")))
}

async fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, port)).await
}

/// Who is connected, the oldest first.
#[derive(Default)]
struct Guests(VecDeque<(IpAddr, AbortHandle)>);

impl Guests {
    /// Makes room for one more of this address.
    fn make_room(&mut self, address: IpAddr) {
        self.0.retain(|(_, task)| !task.is_finished());
        let of_it = self.0.iter().filter(|(of, _)| *of == address).count();
        let oldest = if of_it >= OF_ONE {
            self.0.iter().position(|(of, _)| *of == address)
        } else {
            (self.0.len() >= CONNECTIONS).then_some(0)
        };
        if let Some((_, task)) = oldest.and_then(|index| self.0.remove(index)) {
            task.abort();
        }
    }
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, answers: Arc<dyn Answers>) {
    let mut guests = Guests::default();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let (address, answers) = (client.ip().to_canonical(), Arc::clone(&answers));
                guests.make_room(address);
                let task = tokio::spawn(async move {
                    let _late = tokio::time::timeout(PATIENCE, talk(stream, answers)).await;
                });
                guests.0.push_back((address, task.abort_handle()));
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
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
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

    /// Its answer, whole, because the connection ends with it.
    async fn got(address: SocketAddr) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn idle_clients_do_not_keep_the_kubelet_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Sick)));
        let mut idle = Vec::new();
        for from in (2..6).cycle().take(4 * CONNECTIONS) {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
            idle.push(socket.connect(address).await.unwrap());
        }
        let text = tokio::time::timeout(PATIENCE, got(address)).await.expect("an answer in time");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("ok\n"), "{text}");
        assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    }

    #[tokio::test]
    async fn one_client_takes_no_more_than_its_places() {
        let mut guests = Guests::default();
        let join = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        guests.make_room(other);
        guests.0.push_back((other, join()));
        for _ in 0..OF_ONE * 3 {
            guests.make_room(one);
            guests.0.push_back((one, join()));
        }
        assert_eq!((guests.0.len(), guests.0[0].0), (OF_ONE + 1, other));
    }
}
