//! Sends spans to a collector by HTTP. Its failures are logged, at most once per minute.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chat_domain::{BoxError, one_line};
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::lock;

/// How long a collector may take to accept spans.
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);
/// The maximum size of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;
/// The minimum time between two lines about failures, also if some attempts succeed.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Where spans are sent: the URL of a collector.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceEndpoint {
    uri: Uri,
    host: String,
}

/// Why a text is not a valid [`TraceEndpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is not a URL of HTTP.
    #[error("must be a URL that starts with http:// or https://")]
    NotHttp,
    /// It contains a user or a password.
    #[error(
        "must not contain a user or a password: credentials belong in OTEL_EXPORTER_OTLP_HEADERS"
    )]
    HasCredentials,
}

impl FromStr for TraceEndpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::NotHttp)?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidEndpoint::NotHttp);
        };
        if authority.as_str().contains('@') {
            return Err(InvalidEndpoint::HasCredentials);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { uri, host })
    }
}

impl fmt::Debug for TraceEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri)
    }
}

impl TraceEndpoint {
    /// Returns the URL to which spans are posted, as OpenTelemetry specifies.
    pub(super) fn traces_url(&self) -> String {
        format!("{}/v1/traces", self.uri.to_string().trim_end_matches('/'))
    }

    fn port(&self) -> u16 {
        let default = if self.is_https() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

/// A client of one collector. Each request has a connection of its own: there is one every
/// few seconds.
pub(super) struct Client {
    target: Arc<Target>,
    /// The exporter calls from a thread of its own.
    runtime: Handle,
    failures: Mutex<Failures>,
}

struct Target {
    endpoint: TraceEndpoint,
    tls: Option<TlsConnector>,
}

/// What is not logged yet.
#[derive(Default)]
struct Failures {
    count: u64,
    last_line: Option<Instant>,
    /// Whether the last line is about failures, so that the end of them deserves one.
    is_announced: bool,
}

impl Client {
    /// Creates a client whose connections run in the current runtime.
    ///
    /// # Errors
    /// When the collector needs TLS and the system has no trusted certificates.
    pub(super) fn new(endpoint: &TraceEndpoint) -> Result<Self, BoxError> {
        let tls = endpoint.is_https().then(tls).transpose()?;
        Ok(Self {
            target: Arc::new(Target {
                endpoint: endpoint.clone(),
                tls,
            }),
            runtime: Handle::current(),
            failures: Mutex::default(),
        })
    }

    fn note(&self, failure: Option<String>) {
        let mut failures = lock(&self.failures);
        let Some(error) = failure else {
            if std::mem::take(&mut failures.is_announced) {
                tracing::info!("traces are exported again");
            }
            return;
        };
        failures.count += 1;
        let is_due = |last: Instant| last.elapsed() >= LINE_INTERVAL;
        if failures.last_line.is_none_or(is_due) {
            tracing::warn!(
                failures = failures.count,
                error,
                "traces cannot be exported"
            );
            failures.count = 0;
            failures.last_line = Some(Instant::now());
            failures.is_announced = true;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client")
            .field(&self.target.endpoint)
            .finish()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let target = self.target.clone();
        // Timers, too, exist only within the runtime.
        let sending = async move { timeout(EXPORT_DEADLINE, target.send(request)).await };
        let sent = match self.runtime.spawn(sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => Err("the collector does not answer".into()),
            Err(error) => Err(error.into()),
        };
        self.note(match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answers {}", response.status())),
            Err(error) => Some(one_line(&**error)),
        });
        sent
    }
}

impl Target {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let host = self.endpoint.host.as_str();
        let tcp = TcpStream::connect((host, self.endpoint.port())).await?;
        match &self.tls {
            None => self.send_over(tcp, request).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                self.send_over(tls.connect(name, tcp).await?, request).await
            }
        }
    }

    async fn send_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, BoxError> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path
            .unwrap_or_else(|| PathAndQuery::from_static("/"))
            .into();
        if let Some(authority) = self.endpoint.uri.authority() {
            let host = HeaderValue::from_str(authority.as_str())?;
            request.headers_mut().insert(HOST, host);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with this call.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let response = sender.send_request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Returns what encrypts connections to servers whose certificates the system trusts.
fn tls() -> Result<TlsConnector, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "OTEL_EXPORTER_OTLP_ENDPOINT: the system has no trusted certificates: install the \
             package ca-certificates, or set SSL_CERT_FILE"
                .into(),
        );
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_to_the_endpoint() {
        for (url, traces) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://[::1]/otlp", "https://[::1]/otlp/v1/traces"),
        ] {
            let endpoint: TraceEndpoint = url.parse().unwrap();
            assert_eq!(endpoint.traces_url(), traces);
        }
    }

    #[test]
    fn an_endpoint_is_a_url_of_http_without_a_password() {
        for url in ["", "collector:4318", "grpc://collector:4317", "/v1/traces"] {
            assert_eq!(
                url.parse::<TraceEndpoint>(),
                Err(InvalidEndpoint::NotHttp),
                "{url}"
            );
        }
        let with_password = "http://:hunter2@collector:4318".parse::<TraceEndpoint>();
        assert_eq!(with_password, Err(InvalidEndpoint::HasCredentials));
    }
}
