//! Answers: what an event produced, or what went wrong, in the wire's codes.

use std::sync::atomic::{AtomicU64, Ordering};

use chat_domain::use_cases::{JoinRoomError, ListMessagesError, MarkReadError, SendMessageError};
use chat_domain::{ClientMessageId, RoomId, StorageError};
use serde::Serialize;

use super::packet::Packet;
use super::protocol::Malformed;
use crate::error_line::one_line;

/// The wire's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    InvalidPayload,
    UnknownEvent,
    NotInRoom,
    NotFound,
    Conflict,
    RateLimited,
    Unavailable,
    OutcomeUnknown,
    TokenExpired,
    Internal,
}

impl Code {
    fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable | Self::OutcomeUnknown => true,
            Self::InvalidPayload
            | Self::UnknownEvent
            | Self::NotInRoom
            | Self::NotFound
            | Self::Conflict
            | Self::TokenExpired
            | Self::Internal => false,
        }
    }
}

/// An operation that failed, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    /// Too many events of this connection are in progress.
    pub(crate) fn too_many_in_progress() -> Self {
        Self::new(
            Code::RateLimited,
            "too many events in progress: wait for their answers",
        )
    }

    /// The server is about to stop.
    pub(crate) fn draining() -> Self {
        Self::new(Code::Unavailable, "the server is about to stop: reconnect")
    }

    /// The connection's token has expired.
    pub(crate) fn token_expired() -> Self {
        Self::new(
            Code::TokenExpired,
            "the token has expired: connect with a new one",
        )
    }

    /// A fault of the server. It is logged here, with an id that the client sees.
    pub(crate) fn internal(what: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!(
            "{:x}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        tracing::error!(id, "a fault of the server: {what}");
        Self::new(
            Code::Internal,
            format!("a fault of the server, logged as {id}"),
        )
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Storage failed: the cause is logged, once, and not told.
    fn storage(error: &StorageError, unavailable: &str) -> Self {
        tracing::warn!(error = %one_line(error), "storage failed");
        match error {
            StorageError::Unavailable(_) => Self::new(Code::Unavailable, unavailable),
            StorageError::OutcomeUnknown(_) => Self::new(
                Code::OutcomeUnknown,
                "storage broke during the commit: the message may be stored",
            ),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        let code = match &error {
            Malformed::Payload(_) => Code::InvalidPayload,
            Malformed::UnknownEvent => Code::UnknownEvent,
        };
        Self::new(code, error.to_string())
    }
}

impl From<JoinRoomError> for Failure {
    fn from(error: JoinRoomError) -> Self {
        match &error {
            JoinRoomError::NotFound => Self::new(Code::NotFound, error.to_string()),
            JoinRoomError::Storage(storage) => {
                Self::storage(storage, "the room cannot be read now")
            }
        }
    }
}

impl From<SendMessageError> for Failure {
    fn from(error: SendMessageError) -> Self {
        match &error {
            SendMessageError::NotInRoom => Self::new(Code::NotInRoom, error.to_string()),
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
            ListMessagesError::NotInRoom => Self::new(Code::NotInRoom, error.to_string()),
            ListMessagesError::Storage(storage) => {
                Self::storage(storage, "the room cannot be read now")
            }
        }
    }
}

impl From<MarkReadError> for Failure {
    fn from(error: MarkReadError) -> Self {
        match &error {
            MarkReadError::NotInRoom => Self::new(Code::NotInRoom, error.to_string()),
            MarkReadError::Storage(storage) => {
                Self::storage(storage, "the read pointer was not moved")
            }
        }
    }
}

/// A replay that could not be read to its end.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::storage(&error, "the room cannot be read now")
    }
}

/// Which event of the client an answer is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Its name, if it has one that can be read.
    pub(crate) event: Option<String>,
    /// The room that it names, if it can be read.
    pub(crate) room_id: Option<RoomId>,
    /// The id of the message that it sends, if it has one that can be read.
    pub(crate) client_message_id: Option<ClientMessageId>,
    /// Its acknowledgement's id, if it asks for one.
    pub(crate) ack: Option<i64>,
}

impl Request {
    /// The acknowledgement of what this event produced; nothing if none is asked
    /// for.
    pub(crate) fn success(&self, produced: &impl Serialize) -> Option<Packet> {
        #[derive(Serialize)]
        struct Success<'a, T> {
            ok: bool,
            #[serde(flatten)]
            produced: &'a T,
        }
        let id = self.ack?;
        Some(Packet::ack(id, &Success { ok: true, produced }))
    }

    /// The acknowledgement of a message that is stored, which is encoded already.
    pub(crate) fn stored(&self, message: &str) -> Option<Packet> {
        let id = self.ack?;
        Some(Packet::ack_of_json(
            id,
            [r#"{"ok":true,"message":"#, message, "}"],
        ))
    }

    /// The `error` event, which everybody gets, and after it the acknowledgement
    /// for those who asked for one.
    pub(crate) fn failure(&self, failure: &Failure) -> impl Iterator<Item = Packet> + use<> {
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
        }
        #[derive(Serialize)]
        struct Refused<'a> {
            ok: bool,
            error: RefusedError<'a>,
        }
        #[derive(Serialize)]
        struct RefusedError<'a> {
            code: Code,
            message: &'a str,
            retryable: bool,
        }
        let (code, message) = (failure.code, &*failure.message);
        let retryable = code.is_retryable();
        let event = ErrorEvent {
            message,
            code,
            event: self.event.as_deref(),
            room_id: self.room_id.map(RoomId::get),
            client_message_id: self.client_message_id.as_ref().map(ClientMessageId::as_str),
            retryable,
        };
        let ack = self.ack.map(|id| {
            let error = RefusedError {
                code,
                message,
                retryable,
            };
            Packet::ack(id, &Refused { ok: false, error })
        });
        std::iter::once(Packet::event("error", &event)).chain(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::packet::Parts;

    fn json(packet: &Packet) -> serde_json::Value {
        match packet.parts() {
            Parts::Event(_, json) | Parts::Ack(_, json) => serde_json::from_str(json).unwrap(),
            Parts::Disconnect => panic!("no JSON"),
        }
    }

    #[test]
    fn a_failure_is_an_event_and_after_it_an_acknowledgement() {
        let request = Request {
            event: Some("sendMessage".into()),
            room_id: RoomId::new(7).ok(),
            client_message_id: ClientMessageId::new("c0ffee-1").ok(),
            ack: Some(3),
        };
        let failure = Failure::from(SendMessageError::NotInRoom);
        let packets: Vec<_> = request.failure(&failure).collect();
        assert!(matches!(packets[0].parts(), Parts::Event("error", _)));
        assert_eq!(
            json(&packets[0]),
            serde_json::json!({
                "message": "join the room before writing to it", "code": "not_in_room",
                "event": "sendMessage", "roomId": 7, "clientMessageId": "c0ffee-1",
                "retryable": false
            })
        );
        assert!(matches!(packets[1].parts(), Parts::Ack(3, _)));
        assert_eq!(
            json(&packets[1]),
            serde_json::json!({"ok": false, "error": {
                "code": "not_in_room", "message": "join the room before writing to it",
                "retryable": false
            }})
        );
        let silent = Request::default();
        assert_eq!(silent.failure(&failure).count(), 1);
        assert!(silent.success(&serde_json::json!({})).is_none());
    }

    #[test]
    fn storage_errors_say_whether_the_message_may_be_stored() {
        let of = |error| Failure::from(SendMessageError::Storage(error)).code;
        assert_eq!(of(StorageError::unavailable("x")), Code::Unavailable);
        assert_eq!(of(StorageError::outcome_unknown("x")), Code::OutcomeUnknown);
        assert!(Code::Unavailable.is_retryable() && Code::OutcomeUnknown.is_retryable());
    }

    #[test]
    fn what_storage_said_is_not_told() {
        let secret = StorageError::unavailable("password=hunter2");
        let failure = Failure::from(SendMessageError::Storage(secret));
        assert!(!failure.message.contains("hunter2"));
    }
}
