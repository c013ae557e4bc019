//! One HTTP request for a JWK set, bounded in time and size. Redirects are not followed.

use std::time::Duration;

use chat_domain::BoxError;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::JwksUrl;
use crate::http_client::{ExchangeError, HttpClient, Unencrypted};
use crate::http_url::HttpUrl;

/// How long a fetch may take in total.
const DEADLINE: Duration = Duration::from_secs(4);
/// The maximum size of a response. Published sets have a few kilobytes.
const MAX_BYTES: usize = 256 * 1024;

/// Fetches from one URL.
pub(super) struct Fetcher(Box<HttpClient>);

impl Fetcher {
    /// Prepares fetches.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub(super) fn new(url: JwksUrl) -> Result<Self, BoxError> {
        let client = HttpClient::new(url.into_inner(), Unencrypted::OnlyToLoopback, 0)?;
        Ok(Self(Box::new(client)))
    }

    pub(super) fn url(&self) -> &HttpUrl {
        self.0.url()
    }

    /// Fetches the body.
    ///
    /// # Errors
    /// Why there is none. Never contains the URL's query.
    pub(super) async fn fetch(&self) -> Result<Bytes, BoxError> {
        let request = Request::get("/")
            .header(ACCEPT, "application/json")
            .body(Full::default())?;
        let exchanged = timeout(DEADLINE, self.0.exchange(request, MAX_BYTES)).await;
        let Ok(exchanged) = exchanged else {
            return Err(format!("no response within {DEADLINE:?}").into());
        };
        match exchanged {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, _)) if status.is_redirection() => {
                Err("the response is a redirect: set the address that it leads to".into())
            }
            Ok((status, _)) => Err(format!("the response has status {}", status.as_u16()).into()),
            Err(
                ExchangeError::Connection(error)
                | ExchangeError::TooLarge(error)
                | ExchangeError::Body(error),
            ) => Err(error),
        }
    }
}
