//! Webhooks: signed calls that report to the product's backend, over HTTP.

use std::time::Duration;

use chat_domain::{BoxError, Timestamp, one_line};
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::hook_url::HookUrl;
use crate::http_client::{ExchangeError, HttpClient, Unencrypted};
use crate::standard_webhooks::Signer;

/// How long a call may take, from the connection to the end of the response.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How much of a response is read. The rest closes the connection.
const MAX_BYTES: usize = 64 * 1024;
/// How many connections are kept for further calls.
const MAX_KEPT: usize = 32;

/// The receiver of webhooks, and what signs them.
pub struct WebhookReceiver {
    client: HttpClient,
    signer: Signer,
}

/// What the receiver has made of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has taken it.
    Taken,
    /// It wants no more calls: status 410.
    Gone,
    /// It has not taken it, or that is unknown; why, in one line.
    Failed(String),
}

impl WebhookReceiver {
    /// Prepares calls.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub fn new(url: HookUrl, signer: Signer) -> Result<Self, BoxError> {
        Ok(Self {
            client: HttpClient::new(url.into_inner(), Unencrypted::Anywhere, MAX_KEPT)?,
            signer,
        })
    }

    /// Makes a call at this time, with this id and this body of JSON. It ends within
    /// [`DEADLINE`]. Redirects are not followed.
    pub async fn call(&self, id: &str, at: Timestamp, body: String) -> Answer {
        let request = match self.signer.request(id, at, Bytes::from(body)) {
            Ok(request) => request,
            Err(error) => return Answer::Failed(one_line(&*error)),
        };
        match timeout(DEADLINE, self.client.exchange(request, MAX_BYTES)).await {
            Ok(Ok((status, _))) => answer(status),
            // The status says what counts; that of a failure does not come with an error.
            Ok(Err(ExchangeError::TooLarge(_))) => Answer::Taken,
            Ok(Err(ExchangeError::Connection(error) | ExchangeError::Body(error))) => {
                Answer::Failed(one_line(&*error))
            }
            Err(_) => Answer::Failed(format!("no response within {DEADLINE:?}")),
        }
    }
}

fn answer(status: StatusCode) -> Answer {
    match status {
        status if status.is_success() => Answer::Taken,
        StatusCode::GONE => Answer::Gone,
        status if status.is_redirection() => Answer::Failed(format!(
            "the response is a redirect (status {}), which is not followed",
            status.as_u16()
        )),
        status => Answer::Failed(format!("the response has status {}", status.as_u16())),
    }
}
