//! Replies: the result of an event, or its failure in the wire's codes.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_domain::use_cases::{
    ConnectError, JoinRoomError, ListMessagesError, MarkReadError, Page, RenewTokenError,
    SendMessageError,
};
use chat_domain::{AccessDenied, ClientMessageId, RoomId, StorageError, StoredMessage, one_line};
use serde::{Serialize, Serializer};

use super::packet;
use super::protocol::Malformed;
use crate::clients::HasExpired;

/// The wire's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidPayload,
    UnknownEvent,
    NotInRoom,
    NotFound,
    Conflict,
    RateLimited,
    LimitExceeded,
    Unavailable,
    OutcomeUnknown,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    Internal,
}

impl Code {
    /// All codes, in the order of their declaration.
    pub(crate) const ALL: [Self; 13] = [
        Self::InvalidPayload,
        Self::UnknownEvent,
        Self::NotInRoom,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::LimitExceeded,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::TokenExpired,
        Self::TokenInvalid,
        Self::TokenRevoked,
        Self::Internal,
    ];

    /// Returns the code as it is on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::UnknownEvent => "unknown_event",
            Self::NotInRoom => "not_in_room",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate_limited",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenInvalid => "token_invalid",
            Self::TokenRevoked => "token_revoked",
            Self::Internal => "internal",
        }
    }

    fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable | Self::OutcomeUnknown => true,
            Self::InvalidPayload
            | Self::UnknownEvent
            | Self::NotInRoom
            | Self::NotFound
            | Self::Conflict
            | Self::LimitExceeded
            | Self::TokenExpired
            | Self::TokenInvalid
            | Self::TokenRevoked
            | Self::Internal => false,
        }
    }
}

// One that is added before the last is not forgotten.
const _: () = assert!(Code::ALL.len() == Code::Internal as usize + 1);

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An operation that failed, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    /// Returns the wire's code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The connection has too many events in progress.
    pub(crate) fn too_many_in_progress() -> Self {
        Self::new(
            Code::RateLimited,
            "too many events in progress: wait for their replies",
        )
    }

    /// The user has sent too many events; another one is accepted after this time.
    pub(crate) fn too_many_per_second(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                Code::RateLimited,
                "too many events per second: try again later",
            )
        }
    }

    /// The connection has joined as many rooms as it may.
    pub(crate) fn too_many_rooms(max_rooms: usize) -> Self {
        Self::new(
            Code::LimitExceeded,
            format!("a connection can join at most {max_rooms} rooms: leave one first"),
        )
    }

    /// The connection's token has expired.
    pub(crate) fn token_expired() -> Self {
        Self::new(
            Code::TokenExpired,
            "the token has expired: connect with a new one",
        )
    }

    /// The task of an event panicked with this payload.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a text");
        Self::internal(&format!("a handler panicked: {text}"))
    }

    /// An error that is not the client's and that no retry repairs. It is logged here with
    /// its cause, under an id that the client receives.
    fn internal(cause: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!(
            "{:x}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        tracing::error!(id, error = cause, "internal server error");
        Self::new(
            Code::Internal,
            format!("internal server error, logged as {id}"),
        )
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// Returns the time to wait in milliseconds, rounded up.
    fn retry_after_ms(&self) -> Option<u128> {
        let wait = self.retry_after?;
        Some(wait.as_nanos().div_ceil(1_000_000).max(1))
    }

    /// Storage failed. The cause is not sent; `storage_watch` logs outages.
    fn storage(error: &StorageError, unavailable: &str) -> Self {
        match error {
            StorageError::Unavailable(_) => Self::new(Code::Unavailable, unavailable),
            StorageError::OutcomeUnknown(_) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: the message may be stored",
            ),
            StorageError::Corrupt(_) => Self::internal(&one_line(error)),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        let code = match &error {
            Malformed::Payload(_) => Code::InvalidPayload,
            Malformed::UnknownEvent => Code::UnknownEvent,
            Malformed::Token => Code::TokenInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl From<JoinRoomError> for Failure {
    fn from(error: JoinRoomError) -> Self {
        match &error {
            JoinRoomError::Denied(denied) => denied.into(),
            JoinRoomError::Storage(storage) => {
                Self::storage(storage, "the room cannot be read now")
            }
        }
    }
}

impl From<RenewTokenError> for Failure {
    fn from(error: RenewTokenError) -> Self {
        let code = match &error {
            RenewTokenError::AnotherUser => Code::TokenInvalid,
            RenewTokenError::Refused(refused) => match refused {
                ConnectError::TokenMissing | ConnectError::TokenInvalid(_) => Code::TokenInvalid,
                ConnectError::TokenExpired => Code::TokenExpired,
                ConnectError::TokenRevoked => Code::TokenRevoked,
                ConnectError::Unavailable(_) => Code::Unavailable,
            },
        };
        tracing::debug!(error = %one_line(&error), "a token is not renewed");
        Self::new(code, error.to_string())
    }
}

/// The old token expired before it was renewed.
impl From<HasExpired> for Failure {
    fn from(_: HasExpired) -> Self {
        Self::token_expired()
    }
}

impl From<SendMessageError> for Failure {
    fn from(error: SendMessageError) -> Self {
        match &error {
            SendMessageError::Denied(denied) => denied.into(),
            SendMessageError::Conflict => Self::new(Code::Conflict, error.to_string()),
            SendMessageError::Storage(storage) => {
                Self::storage(storage, "the message was not stored")
            }
        }
    }
}

impl From<ListMessagesError> for Failure {
    fn from(error: ListMessagesError) -> Self {
        match &error {
            ListMessagesError::Denied(denied) => denied.into(),
            ListMessagesError::Storage(storage) => {
                Self::storage(storage, "the room cannot be read now")
            }
        }
    }
}

impl From<MarkReadError> for Failure {
    fn from(error: MarkReadError) -> Self {
        match &error {
            MarkReadError::Denied(denied) => denied.into(),
            MarkReadError::Storage(storage) => {
                Self::storage(storage, "the read pointer was not moved")
            }
        }
    }
}

impl From<&AccessDenied> for Failure {
    fn from(error: &AccessDenied) -> Self {
        let code = match error {
            AccessDenied::NotFound => Code::NotFound,
            AccessDenied::NotInRoom => Code::NotInRoom,
        };
        Self::new(code, error.to_string())
    }
}

/// The client's event that a reply is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Its name, if it can be read.
    pub(crate) event: Option<String>,
    /// The room that it names, if it can be read.
    pub(crate) room_id: Option<RoomId>,
    /// The `clientMessageId` in it, if it can be read.
    pub(crate) client_message_id: Option<ClientMessageId>,
    /// The id of its acknowledgement, if it requests one.
    pub(crate) ack: Option<i64>,
}

impl Request {
    /// Encodes the acknowledgement of a result, if one was requested.
    pub(crate) fn success(&self, produced: &impl Serialize) -> Option<Bytes> {
        #[derive(Serialize)]
        struct Success<'a, T> {
            ok: bool,
            #[serde(flatten)]
            produced: &'a T,
        }
        let id = self.ack?;
        Some(packet::ack(id, &Success { ok: true, produced }))
    }

    /// Encodes the acknowledgement of a stored message, if one was requested.
    pub(crate) fn stored(&self, message: &StoredMessage) -> Option<Bytes> {
        let parts = [r#"{"ok":true,"message":"#, message.encoded(), "}"];
        Some(packet::ack_of_json(self.ack?, parts))
    }

    /// Encodes the acknowledgement of a page, if one was requested.
    pub(crate) fn page(&self, page: &Page) -> Option<Bytes> {
        let messages = page.messages.iter().enumerate().flat_map(|(n, message)| {
            let separator = if n == 0 { "" } else { "," };
            [separator, message.encoded()]
        });
        let end = match page.has_more {
            true => r#"],"hasMore":true}"#,
            false => r#"],"hasMore":false}"#,
        };
        let start = std::iter::once(r#"{"ok":true,"messages":["#);
        let parts = start.chain(messages).chain([end]);
        Some(packet::ack_of_json(self.ack?, parts))
    }

    /// Encodes the `error` event, and after it the acknowledgement if one was requested.
    pub(crate) fn failure(&self, failure: &Failure) -> impl Iterator<Item = Bytes> + use<> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ErrorEvent<'a> {
            message: &'a str,
            code: Code,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            room_id: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_message_id: Option<&'a str>,
            retryable: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u128>,
        }
        #[derive(Serialize)]
        struct Refused<'a> {
            ok: bool,
            error: RefusedError<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct RefusedError<'a> {
            code: Code,
            message: &'a str,
            retryable: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u128>,
        }
        let (code, message) = (failure.code, &*failure.message);
        let retry_after_ms = failure.retry_after_ms();
        let retryable = code.is_retryable();
        let event = ErrorEvent {
            message,
            code,
            event: self.event.as_deref(),
            room_id: self.room_id.map(RoomId::get),
            client_message_id: self.client_message_id.as_ref().map(ClientMessageId::as_str),
            retryable,
            retry_after_ms,
        };
        let ack = self.ack.map(|id| {
            let error = RefusedError {
                code,
                message,
                retryable,
                retry_after_ms,
            };
            packet::ack(id, &Refused { ok: false, error })
        });
        std::iter::once(packet::event("error", &event)).chain(ack)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::socket::packet::{Parts, parts};

    fn json(packet: &Bytes) -> serde_json::Value {
        match parts(packet) {
            Parts::Event(_, json) | Parts::Ack(_, json) => serde_json::from_str(json).unwrap(),
            Parts::Disconnect => panic!("a disconnect has no JSON"),
        }
    }

    #[test]
    fn a_failure_is_an_event_followed_by_an_acknowledgement() {
        let request = Request {
            event: Some("sendMessage".into()),
            room_id: RoomId::new(7).ok(),
            client_message_id: ClientMessageId::new("c0ffee-1").ok(),
            ack: Some(3),
        };
        let failure = Failure::from(SendMessageError::from(AccessDenied::NotInRoom));
        let packets: Vec<_> = request.failure(&failure).collect();
        assert!(matches!(parts(&packets[0]), Parts::Event("error", _)));
        assert_eq!(
            json(&packets[0]),
            serde_json::json!({
                "message": "join the room first", "code": "not_in_room",
                "event": "sendMessage", "roomId": 7, "clientMessageId": "c0ffee-1",
                "retryable": false
            })
        );
        assert!(matches!(parts(&packets[1]), Parts::Ack(3, _)));
        assert_eq!(
            json(&packets[1]),
            serde_json::json!({"ok": false, "error": {
                "code": "not_in_room", "message": "join the room first",
                "retryable": false
            }})
        );
        let silent = Request::default();
        assert_eq!(silent.failure(&failure).count(), 1);
        assert!(silent.success(&serde_json::json!({})).is_none());
    }

    #[test]
    fn storage_errors_state_whether_the_message_may_be_stored() {
        let of = |error| Failure::from(SendMessageError::Storage(error)).code;
        assert_eq!(of(StorageError::unavailable("x")), Code::Unavailable);
        assert_eq!(of(StorageError::outcome_unknown("x")), Code::OutcomeUnknown);
        assert!(Code::Unavailable.is_retryable() && Code::OutcomeUnknown.is_retryable());
    }

    #[test]
    fn the_cause_of_a_storage_error_is_not_sent() {
        for secret in [
            StorageError::unavailable("password=hunter2"),
            StorageError::outcome_unknown("password=hunter2"),
            StorageError::corrupt("password=hunter2"),
        ] {
            let failure = Failure::from(SendMessageError::Storage(secret));
            assert!(!failure.message.contains("hunter2"));
        }
    }

    #[test]
    fn an_internal_error_is_logged_with_its_cause_under_the_id_that_the_client_receives() {
        let causes = [
            "stored data is not valid: no content",
            "a handler panicked: a text",
            "a handler panicked: a formatted text",
            "a handler panicked: without a text",
        ];
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(Arc::new(log.reopen().unwrap()))
            .finish();
        let failures = tracing::subscriber::with_default(subscriber, || {
            [
                MarkReadError::Storage(StorageError::corrupt("no content")).into(),
                Failure::panicked(&"a text"),
                Failure::panicked(&"a formatted text".to_owned()),
                Failure::panicked(&7),
            ]
        });
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert_eq!(log.lines().count(), failures.len());
        for ((line, failure), cause) in log.lines().zip(failures).zip(causes) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = line["id"].as_str().unwrap();
            assert_eq!(
                (&line["level"], &line["error"]),
                (&"ERROR".into(), &cause.into())
            );
            assert_eq!(failure.code, Code::Internal);
            assert_eq!(
                failure.message,
                format!("internal server error, logged as {id}")
            );
        }
    }
}
