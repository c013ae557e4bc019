//! One call of the product's backend, bounded in time and size.

use std::time::Duration;

use chat_domain::ports::Clock as _;
use chat_domain::{BoxError, RoomId, UserId};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::AccessHookOptions;
use super::answer::Answer;
use crate::SystemClock;
use crate::http_client::{ExchangeError, HttpClient, Unencrypted};
use crate::http_url::HttpUrl;
use crate::standard_webhooks::Signer;

/// How long a call may take, from the connection to the last byte of the answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// The maximum size of an answer.
const MAX_BYTES: usize = 16 * 1024;
/// How many connections are kept for further calls.
const MAX_KEPT: usize = 16;

/// Why a call has no valid answer, and what it counts as.
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) error: BoxError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    Timeout,
    Connection,
    Status,
    Body,
}

impl FailureKind {
    fn with(self, error: impl Into<BoxError>) -> Failure {
        Failure {
            kind: self,
            error: error.into(),
        }
    }
}

/// Makes calls.
pub(super) struct Caller {
    client: HttpClient,
    signer: Signer,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    user_id: &'a str,
    room_id: u64,
    claims: &'a RawValue,
}

/// Returns the body of a call.
pub(super) fn question(user_id: &UserId, room_id: RoomId, claims: &str) -> Result<Bytes, BoxError> {
    let question = Question {
        user_id: user_id.as_str(),
        room_id: room_id.get(),
        claims: serde_json::from_str(claims)?,
    };
    Ok(serde_json::to_vec(&question)?.into())
}

impl Caller {
    pub(super) fn new(options: AccessHookOptions) -> Result<Self, BoxError> {
        let url = options.url.into_inner();
        Ok(Self {
            client: HttpClient::new(url, Unencrypted::Anywhere, MAX_KEPT)?,
            signer: options.signer,
        })
    }

    pub(super) fn url(&self) -> &HttpUrl {
        self.client.url()
    }

    pub(super) async fn call(&self, body: Bytes) -> Result<Answer, Failure> {
        let request = self.request(body);
        let request = request.map_err(|error| FailureKind::Connection.with(error))?;
        let exchanged = timeout(DEADLINE, self.client.exchange(request, MAX_BYTES)).await;
        let Ok(exchanged) = exchanged else {
            let error = format!("no response within {DEADLINE:?}");
            return Err(FailureKind::Timeout.with(error));
        };
        match exchanged {
            Ok((status, body)) if status.is_success() => {
                Answer::parse(&body).map_err(|error| FailureKind::Body.with(error))
            }
            Ok((status, _)) => {
                let error = format!("the response has status {}", status.as_u16());
                Err(FailureKind::Status.with(error))
            }
            Err(ExchangeError::Connection(error)) => Err(FailureKind::Connection.with(error)),
            Err(ExchangeError::TooLarge(error) | ExchangeError::Body(error)) => {
                Err(FailureKind::Body.with(error))
            }
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, BoxError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let id = format!("msg_{:032x}", u128::from_be_bytes(random));
        let mut request = self.signer.request(&id, SystemClock.now(), body)?;
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, accept);
        Ok(request)
    }
}
