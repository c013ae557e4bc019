//! One HTTP request for a JWK set, bounded in time and size. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::BoxError;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::JwksUrl;
use crate::tls::roots;

/// How long a fetch may take in total.
const DEADLINE: Duration = Duration::from_secs(4);
/// The maximum size of a response. Published sets have a few kilobytes.
const MAX_BYTES: usize = 256 * 1024;
/// The maximum size of a response's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Fetches from one URL.
pub(super) struct Fetcher {
    url: JwksUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Fetcher {
    /// Prepares fetches.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub(super) fn new(url: JwksUrl) -> Result<Self, BoxError> {
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
        Ok(Self { url, tls })
    }

    pub(super) fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// Fetches the body.
    ///
    /// # Errors
    /// Why there is none. Never contains the URL's query.
    pub(super) async fn fetch(&self) -> Result<Bytes, BoxError> {
        let exchange = async {
            let tcp = self.connect().await?;
            match &self.tls {
                None => self.exchange(tcp).await,
                Some((connector, name)) => {
                    let tls = connector.connect(name.clone(), tcp).await?;
                    self.exchange(tls).await
                }
            }
        };
        match timeout(DEADLINE, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no response within {DEADLINE:?}").into()),
        }
    }

    async fn connect(&self) -> Result<TcpStream, BoxError> {
        let mut refused: BoxError = "the host has no address that may be used".into();
        for address in lookup_host((self.url.host(), self.url.port())).await? {
            // A name such as localhost may resolve to anything.
            if !self.url.is_encrypted() && !address.ip().is_loopback() {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Bytes, BoxError> {
        let (mut requests, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        let request = Request::get(self.url.target())
            .header(HOST, self.url.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "chat-gateway")
            .body(Empty::<Bytes>::new())?;
        let answered = async {
            let response = requests.send_request(request).await?;
            let status = response.status();
            if status.is_redirection() {
                return Err("the response is a redirect: set the address that it leads to".into());
            }
            if status != StatusCode::OK {
                return Err(format!("the response has status {}", status.as_u16()).into());
            }
            let body = Limited::new(response.into_body(), MAX_BYTES)
                .collect()
                .await;
            Ok(body?.to_bytes())
        };
        // The connection is driven here, so that it ends with the fetch. Once it has ended,
        // the answer tells why.
        let driven = async {
            connection.await.ok();
            std::future::pending().await
        };
        tokio::select! {
            answer = answered => answer,
            () = driven => unreachable!("it is pending"),
        }
    }
}
