//! One HTTP/1.1 request on a connection of its own, bounded in size. Redirects are not followed.
//!
//! The caller sets the deadline: dropping the future closes the connection.

use std::sync::Arc;

use chat_domain::BoxError;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::http_url::HttpUrl;
use crate::tls::roots;

/// The maximum size of a response's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;

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
}

/// Why a response is missing or incomplete. Never contains the URL's query.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No response has begun.
    #[error("no response")]
    Connection(#[source] BoxError),
    /// The body is too large, or broke off.
    #[error("the response's body cannot be read")]
    Body(#[source] BoxError),
}

impl HttpClient {
    /// Prepares requests.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub(crate) fn new(url: HttpUrl, unencrypted: Unencrypted) -> Result<Self, BoxError> {
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
        })
    }

    pub(crate) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Sends a request, of which the client sets the target and the headers `host` and
    /// `user-agent`. Returns the response's status and, if that is a success, its body.
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
        let tcp = self.connect().await.map_err(ExchangeError::Connection)?;
        match &self.tls {
            None => exchange(tcp, request, max_bytes).await,
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await;
                let tls = tls.map_err(|error| ExchangeError::Connection(error.into()))?;
                exchange(tls, request, max_bytes).await
            }
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

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), ExchangeError> {
    let no_response = |error: hyper::Error| ExchangeError::Connection(error.into());
    let (mut requests, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(no_response)?;
    let answered = async {
        let response = requests.send_request(request).await.map_err(no_response)?;
        let status = response.status();
        if !status.is_success() {
            return Ok((status, Bytes::new()));
        }
        let body = Limited::new(response.into_body(), max_bytes).collect();
        let body = body.await.map_err(ExchangeError::Body)?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here, so that it ends with the exchange. Once it has ended, the
    // answer tells why.
    let driven = async {
        connection.await.ok();
        std::future::pending().await
    };
    tokio::select! {
        answer = answered => answer,
        () = driven => unreachable!("it is pending"),
    }
}
