//! HTTP/1.1 requests to one URL, bounded in size. Redirects are not followed.
//!
//! The caller sets the deadline: dropping the future closes the connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat_domain::BoxError;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::http_url::HttpUrl;
use crate::tls::roots;

/// The maximum size of a response's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// For how long a connection without requests may be used again: what lies between the gateway and
/// the server forgets it later than that.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Where requests without TLS may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unencrypted {
    /// To this machine, also if the host is a name that resolves to something else.
    OnlyToLoopback,
    /// Anywhere.
    #[cfg(feature = "hooks")]
    Anywhere,
}

/// Sends requests to one URL.
pub(crate) struct HttpClient {
    url: HttpUrl,
    unencrypted: Unencrypted,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How many connections are kept for further requests.
    most_kept: usize,
    /// Those that are, and since when; the one that was used last is the last one.
    kept: Mutex<Vec<(Open, Instant)>>,
}

struct Open {
    requests: SendRequest<Full<Bytes>>,
    /// Drives the connection, and ends with it.
    _driver: JoinSet<()>,
}

/// Why a response is missing or incomplete. Never contains the URL's query.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No response has begun.
    #[error("no response")]
    Connection(#[source] BoxError),
    /// The body of a success is too large.
    #[error("the response's body is too large")]
    TooLarge(#[source] BoxError),
    /// The body of a success broke off.
    #[error("the response's body cannot be read")]
    Body(#[source] BoxError),
}

impl HttpClient {
    /// Prepares requests, and keeps so many connections for further ones.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub(crate) fn new(
        url: HttpUrl,
        unencrypted: Unencrypted,
        most_kept: usize,
    ) -> Result<Self, BoxError> {
        let tls = match url.is_encrypted() {
            false => None,
            true => {
                let provider = Arc::new(aws_lc_rs::default_provider());
                let roots = roots(None).map_err(|_| {
                    "the system has no trusted certificates: install the package ca-certificates, \
                     or set SSL_CERT_FILE"
                })?;
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::try_from(url.host())?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self {
            url,
            unencrypted,
            tls,
            most_kept,
            kept: Mutex::default(),
        })
    }

    pub(crate) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Sends a request, of which the client sets the target and the headers `host` and
    /// `user-agent`. Returns the response's status and, if that is a success, its body. If a
    /// connection that was used before is closed without a response, the request is sent again.
    ///
    /// # Errors
    /// [`ExchangeError`], also if the body has more than `max_bytes`.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> Result<(StatusCode, Bytes), ExchangeError> {
        self.address(&mut request)
            .map_err(ExchangeError::Connection)?;
        if let Some(open) = self.take_kept() {
            let exchanged = self.exchange_over(open, request.clone(), max_bytes).await;
            if !matches!(exchanged, Err(ExchangeError::Connection(_))) {
                return exchanged;
            }
        }
        let open = self.open().await.map_err(ExchangeError::Connection)?;
        self.exchange_over(open, request, max_bytes).await
    }

    async fn exchange_over(
        &self,
        mut open: Open,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> Result<(StatusCode, Bytes), ExchangeError> {
        let no_response = |error: hyper::Error| ExchangeError::Connection(error.into());
        open.requests.ready().await.map_err(no_response)?;
        let response = open.requests.send_request(request).await;
        let response = response.map_err(no_response)?;
        let status = response.status();
        if !status.is_success() {
            return Ok((status, Bytes::new()));
        }
        let body = Limited::new(response.into_body(), max_bytes).collect();
        let body = body
            .await
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => ExchangeError::TooLarge(error),
                false => ExchangeError::Body(error),
            })?;
        self.keep(open);
        Ok((status, body.to_bytes()))
    }

    fn take_kept(&self) -> Option<Open> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(open, since)| !open.requests.is_closed() && since.elapsed() < MAX_IDLE);
        kept.pop().map(|(open, _)| open)
    }

    fn keep(&self, open: Open) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.most_kept {
            kept.push((open, Instant::now()));
        }
    }

    async fn open(&self) -> Result<Open, BoxError> {
        let tcp = self.connect().await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => start(tcp).await,
            Some((connector, name)) => start(connector.connect(name.clone(), tcp).await?).await,
        }
    }

    fn address(&self, request: &mut Request<Full<Bytes>>) -> Result<(), BoxError> {
        *request.uri_mut() = self.url.target().parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.url.authority())?);
        headers.insert(USER_AGENT, HeaderValue::from_static("chat-gateway"));
        Ok(())
    }

    async fn connect(&self) -> Result<TcpStream, BoxError> {
        let only_loopback =
            !self.url.is_encrypted() && self.unencrypted == Unencrypted::OnlyToLoopback;
        let mut refused: BoxError = "the host has no address that may be used".into();
        for address in lookup_host((self.url.host(), self.url.port())).await? {
            // A name such as localhost may resolve to anything.
            if only_loopback && !address.ip().is_loopback() {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }
}

/// Starts HTTP on a connection.
async fn start(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Open, BoxError> {
    let (requests, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // The exchange in progress, or the next one, tells why it has ended.
        connection.await.ok();
    });
    Ok(Open {
        requests,
        _driver: driver,
    })
}
