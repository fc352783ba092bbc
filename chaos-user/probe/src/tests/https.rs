//! Probes of a TLS server.

use super::{decide, listener, new, probe};
use crate::Cause;
use chaos_outcome::PhaseReport;
use chaos_spec::ProbePhase;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
};
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Signs the server's certificate, which is for `localhost` alone.
const ROOT: &str = include_str!("../certificates/ca.pem");

/// Answers each connection with 204, or ends where the handshake fails.
fn serve(listener: TcpListener) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../certificates/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../certificates/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = Stream::new(&mut connection, &mut stream);
            let mut request = [0; 1024];
            // A client that does not trust us goes away.
            if tls.read(&mut request).is_ok() {
                let _gone = tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
}

fn asked(host: &str, extra: &[(&str, Value)]) -> PhaseReport {
    let (listener, port) = listener();
    serve(listener);
    let mut http = json!({ "url": format!("https://{host}:{port}/"), "status": 204 });
    extra.iter().for_each(|(key, value)| http[*key] = value.clone());
    let one = json!({ "name": "web", "http": http, "failures": 1, "timeout": "10s" });
    let mut probes = new(&[probe(&one.to_string())], "127.0.0.1 localhost\n127.0.0.1 other").unwrap();
    decide(&mut probes, ProbePhase::Before)
}

#[test]
fn a_server_is_asked_whose_certificate_is_signed_by_the_bundle() {
    let report = asked("localhost", &[("caBundle", json!(ROOT))]);
    assert!(!report.failed, "{report:?}");
}

#[test]
fn another_name_and_another_root_are_refused() {
    let name = asked("other", &[("caBundle", json!(ROOT))]);
    assert!(name.last_error.unwrap().starts_with("TLS: invalid peer certificate"));
    let own = include_str!("../certificates/server.pem");
    let root = asked("localhost", &[("caBundle", json!(own))]);
    assert!(root.failed, "{root:?}");
}

#[test]
fn every_certificate_is_taken_where_that_is_asked() {
    let report = asked("other", &[("insecureSkipVerify", json!(true))]);
    assert!(!report.failed, "{report:?}");
}

#[test]
fn a_bundle_without_certificates_is_invalid() {
    let one = json!({ "name": "a", "http": { "url": "https://localhost", "caBundle": "nonsense" } });
    let refused = new(&[probe(&one.to_string())], "").err().unwrap();
    assert!(refused.text.starts_with("spec.probes[0].http.caBundle: no certificate"), "{refused:?}");
    assert_eq!(refused.cause, Cause::Invalid);
}
