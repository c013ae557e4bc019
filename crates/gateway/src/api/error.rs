//! The errors of the server API, in the codes of the wire.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use chat_domain::use_cases::{
    ChangeMessageError, ChangeRulesError, DeleteRoomError, EraseUserError, ListMessagesError,
    ListRoomsError, ProductViewError, SendMessageError,
};
use http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::answer;
use super::import::ImportObject;
use crate::codes::{ErrorCode, Retry};
use crate::socket::protocol::Malformed;
use crate::socket::reply::{Code, Failure};

/// How long a client should wait after an answer that storage is unavailable.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that failed, as the product's backend sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: ApiCode,
    message: Cow<'static, str>,
    field: Option<&'static str>,
    /// How far an import has come, and which line is wrong.
    progress: Option<ImportObject>,
    line: Option<u64>,
    retry_after: Option<Duration>,
    /// Whether the connection cannot be used again.
    closes: bool,
}

/// The code of an error: those of the wire contract, and `unauthorized`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = ErrorCode, rename_all = "snake_case")]
pub(crate) enum ApiCode {
    InvalidPayload,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    RateLimited,
    LimitExceeded,
    Unavailable,
    OutcomeUnknown,
    Internal,
}

/// The body of every answer that is not a success.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorBody)]
pub(super) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
    /// Of an import: how far it has come.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    progress: Option<ImportObject>,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
struct ErrorObject<'a> {
    code: ApiCode,
    /// For people. It may change.
    #[schema(example = "room not found")]
    message: &'a str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The field of the body, the query or the path that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
    /// The line of an import that is wrong, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    line: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, code: ApiCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
            progress: None,
            line: None,
            retry_after: None,
            closes: false,
        }
    }

    /// A field of the body, the query or the path is wrong.
    pub(super) fn field(name: &'static str, what: impl std::fmt::Display) -> Self {
        Self {
            field: Some(name),
            ..Self::invalid(format!("{name} {what}"))
        }
    }

    /// The request as a whole is malformed.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ApiCode::InvalidPayload, message)
    }

    /// The request presents none of the keys.
    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ApiCode::Unauthorized,
            "a valid key is required: send Authorization: Bearer <key>",
        )
    }

    /// Too many requests from this address presented none of the keys.
    pub(super) fn too_many_refused(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                ApiCode::RateLimited,
                "too many requests without a valid key",
            )
        }
    }

    /// There is nothing at this path.
    pub(super) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ApiCode::NotFound,
            "there is nothing at this path",
        )
    }

    /// The path does not have this method. The router adds those that it has.
    pub(super) fn no_such_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ApiCode::NotFound,
            "the path does not have this method",
        )
    }

    /// The body is too large. The rest of it is not read.
    pub(super) fn too_large(max_bytes: usize) -> Self {
        Self {
            closes: true,
            ..Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                ApiCode::InvalidPayload,
                format!("the body must have at most {max_bytes} bytes"),
            )
        }
    }

    /// The body is not declared as JSON.
    pub(super) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiCode::InvalidPayload,
            "the body must be JSON: send Content-Type: application/json",
        )
    }

    /// The body is not declared as newline-delimited JSON.
    pub(super) fn not_ndjson() -> Self {
        Self {
            closes: true,
            ..Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ApiCode::InvalidPayload,
                "the body must be NDJSON: send Content-Type: application/x-ndjson",
            )
        }
    }

    /// The same error of a line of an import.
    pub(super) fn in_line(self, line: u64) -> Self {
        Self {
            message: format!("line {line}: {}", self.message).into(),
            line: Some(line),
            ..self
        }
    }

    /// The same error of an import that has come so far.
    pub(super) fn with_progress(self, progress: ImportObject) -> Self {
        Self {
            progress: Some(progress),
            closes: true,
            ..self
        }
    }

    /// The body did not arrive in time, or not whole. Nothing was done.
    pub(super) fn body_incomplete() -> Self {
        Self {
            closes: true,
            ..Self::unavailable("the body did not arrive in time")
        }
    }

    /// The node drains. Nothing was done.
    pub(super) fn draining() -> Self {
        Self {
            closes: true,
            ..Self::unavailable("this node is shutting down")
        }
    }

    /// The request has not been answered in time. Nothing was done, or was to be done.
    pub(super) fn unavailable(message: &'static str) -> Self {
        Self {
            retry_after: Some(UNAVAILABLE_RETRY_AFTER),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ApiCode::Unavailable,
                message,
            )
        }
    }

    /// The request has not been answered in time, and may have an effect later.
    pub(super) fn outcome_unknown() -> Self {
        Self {
            retry_after: Some(UNAVAILABLE_RETRY_AFTER),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ApiCode::OutcomeUnknown,
                "the request took too long: it may have been carried out",
            )
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (status, code) = match failure.code() {
            Code::InvalidPayload | Code::UnknownEvent => {
                (StatusCode::BAD_REQUEST, ApiCode::InvalidPayload)
            }
            Code::NotFound | Code::NotInRoom => (StatusCode::NOT_FOUND, ApiCode::NotFound),
            Code::Forbidden => (StatusCode::FORBIDDEN, ApiCode::Forbidden),
            Code::Conflict => (StatusCode::CONFLICT, ApiCode::Conflict),
            Code::RateLimited => (StatusCode::TOO_MANY_REQUESTS, ApiCode::RateLimited),
            Code::LimitExceeded => (StatusCode::CONFLICT, ApiCode::LimitExceeded),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, ApiCode::Unavailable),
            Code::OutcomeUnknown => (StatusCode::SERVICE_UNAVAILABLE, ApiCode::OutcomeUnknown),
            Code::TokenExpired | Code::TokenInvalid | Code::TokenRevoked => {
                (StatusCode::UNAUTHORIZED, ApiCode::Unauthorized)
            }
            Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, ApiCode::Internal),
        };
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(UNAVAILABLE_RETRY_AFTER),
            _ => failure.retry_after(),
        };
        Self {
            retry_after,
            ..Self::new(status, code, failure.message().to_owned())
        }
    }
}

impl From<Malformed> for ApiError {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::Field(name, what) => Self::field(name, what),
            other => Self::invalid(other.to_string()),
        }
    }
}

macro_rules! from_failures {
    ($($error:ty),*) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                Failure::from(error).into()
            }
        }
    )*};
}
from_failures!(
    ChangeMessageError,
    ChangeRulesError,
    DeleteRoomError,
    EraseUserError,
    ListMessagesError,
    ListRoomsError,
    ProductViewError
);

impl From<SendMessageError> for ApiError {
    fn from(error: SendMessageError) -> Self {
        let field = matches!(error, SendMessageError::UnknownReplyTo).then_some("replyTo");
        Self {
            field,
            ..Failure::from(error).into()
        }
    }
}

impl ApiCode {
    /// All codes, in the order of their declaration.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] = [
        Self::InvalidPayload,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::LimitExceeded,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::Internal,
    ];

    /// Returns the code among those of the whole wire.
    pub(crate) fn wire(self) -> ErrorCode {
        match self {
            Self::InvalidPayload => ErrorCode::InvalidPayload,
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::NotFound => ErrorCode::NotFound,
            Self::Conflict => ErrorCode::Conflict,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::LimitExceeded => ErrorCode::LimitExceeded,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Self::Internal => ErrorCode::Internal,
        }
    }

    fn is_retryable(self) -> bool {
        self.wire().retry() == Retry::May
    }
}

// One that is added before the last is not forgotten.
#[cfg(test)]
const _: () = assert!(ApiCode::ALL.len() == ApiCode::Internal as usize + 1);

impl Serialize for ApiCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.wire().name())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorObject {
                code: self.code,
                message: &self.message,
                retryable: self.code.is_retryable(),
                field: self.field,
                line: self.line,
            },
            progress: self.progress,
        };
        let mut response = answer::json(self.status, &body);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // The header counts whole seconds.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
