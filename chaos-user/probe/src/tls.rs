//! TLS for https probes: rustls with ring, the machine's roots or those that the probe brings (RFC 8446, RFC 9525).

use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

/// How a server's name is proved.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For a server of this name or address. `bundle` is PEM text of the roots that count instead of the machine's; with `skip`
    /// every certificate is taken.
    ///
    /// # Errors
    /// The field of the probe, and a sentence.
    pub fn new(host: &str, bundle: Option<&str>, skip: bool) -> Result<Self, (&'static str, String)> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned());
        let name = name.map_err(|_| ("http.url", format!("{host:?} is no name that a certificate can hold")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| ("http.url", format!("TLS: {error}")))?;
        let config = if skip {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
        } else {
            let roots = match bundle {
                Some(bundle) => Arc::new(roots(bundle).map_err(|text| ("http.caBundle", text))?),
                None => Arc::clone(of_the_machine().as_ref().map_err(|text| ("http.url", text.clone()))?),
            };
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        Ok(Self { config: Arc::new(config), name })
    }

    /// The handshake.
    ///
    /// # Errors
    /// A sentence.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await.map_err(|error| format!("TLS: {error}"))
    }
}

fn roots(bundle: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("no PEM text of certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate that cannot be read: {error}"))?;
    }
    if roots.is_empty() {
        return Err("no certificate in it; write PEM text, -----BEGIN CERTIFICATE----- and what follows".to_owned());
    }
    Ok(roots)
}

/// The machine's, read once (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). An image of one program has none.
fn of_the_machine() -> &'static Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let text =
                "https needs root certificates, and there are none here; give caBundle, or insecureSkipVerify: true";
            return Err(text.to_owned());
        }
        Ok(Arc::new(roots))
    })
}

/// Takes every certificate, as its user asked; the handshake's signature still has to be of that certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
