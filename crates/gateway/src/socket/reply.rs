//! Replies: the result of an event, or its failure in the wire's codes.

mod code;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_domain::use_cases::{
    ChangeMessageError, ChangeRulesError, ConnectError, DeleteRoomError, EraseUserError,
    GetRoomError, JoinRoomError, ListMembersError, ListMessagesError, ListReactionsError,
    ListRoomsError, MarkReadError, Page, ProductViewError, RenewTokenError, RoomsPage,
    SendMessageError, SetNotifyError, SetTypingError, WatchRoomsError,
};
use chat_domain::{
    AccessDenied, ClientMessageId, Forbidden, RoomId, StorageError, StoredMessage, Timestamp,
    Until, one_line,
};
use serde::Serialize;

pub(crate) use self::code::Code;
use super::objects::next_of;
use super::packet;
use super::protocol::Malformed;
use crate::clients::HasExpired;

/// An operation that failed, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    /// Why it is forbidden.
    reason: Option<&'static str>,
    /// When it will be allowed.
    until: Option<Timestamp>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// Returns the wire's code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Returns what is wrong, for people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns after how long another attempt may succeed, if that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
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

    /// The connection's token is revoked.
    pub(crate) fn token_revoked() -> Self {
        Self::new(
            Code::TokenRevoked,
            "the token is revoked: connect with a new one",
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
    pub(crate) fn internal(cause: &str) -> Self {
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
            reason: None,
            until: None,
            retry_after: None,
        }
    }

    /// The user may see the room, but may not do this there.
    fn forbidden(forbidden: Forbidden) -> Self {
        let (reason, until) = match forbidden {
            Forbidden::Role => ("role", None),
            Forbidden::Muted(Until::Time(until)) => ("muted", Some(until)),
            Forbidden::Muted(Until::Lifted) => ("muted", None),
            Forbidden::Frozen => ("frozen", None),
            Forbidden::Author => ("author", None),
        };
        Self {
            reason: Some(reason),
            until,
            ..Self::new(Code::Forbidden, forbidden.to_string())
        }
    }

    /// Returns the time to wait in milliseconds, rounded up.
    fn retry_after_ms(&self) -> Option<u128> {
        let wait = self.retry_after?;
        Some(wait.as_nanos().div_ceil(1_000_000).max(1))
    }

    /// The rooms of an inbox were read several times, and each time the connection was excluded from
    /// one of them meanwhile.
    pub(crate) fn rooms_change() -> Self {
        Self::new(Code::Unavailable, "the rooms change without pause")
    }

    /// What the product imposes on a user, or lifts, is not stored, or may not be.
    pub(crate) fn sanction(error: &StorageError) -> Self {
        match error {
            StorageError::OutcomeUnknown(_) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: it may be in force",
            ),
            error => Self::storage(error, "the request was not stored"),
        }
    }

    /// Something contradicts what is stored.
    pub(crate) fn conflict(message: String) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// Storage failed, so that something was not done.
    pub(crate) fn not_read(error: &StorageError, unavailable: &str) -> Self {
        Self::storage(error, unavailable)
    }

    /// It cannot be determined what the user may do, or see.
    pub(crate) fn not_determined(error: &StorageError) -> Self {
        Self::storage(error, "the rooms cannot be read now")
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
            Malformed::Payload(_) | Malformed::Field(..) => Code::InvalidPayload,
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
            JoinRoomError::NotGranted => (&AccessDenied::NotFound).into(),
            JoinRoomError::Hook(no_answer) => Self::new(Code::Unavailable, no_answer.to_string()),
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
            // It was tried again as often as is reasonable.
            SendMessageError::Outdated { .. } => Self::new(
                Code::Unavailable,
                "the room's rules change without pause: the message was not stored",
            ),
            SendMessageError::SlowMode { retry_after_ms } => Self {
                retry_after: Some(Duration::from_millis(*retry_after_ms)),
                ..Self::new(Code::RateLimited, error.to_string())
            },
            SendMessageError::Conflict | SendMessageError::Closed => {
                Self::new(Code::Conflict, error.to_string())
            }
            SendMessageError::UnknownReplyTo => Self::new(Code::InvalidPayload, error.to_string()),
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

impl From<ChangeMessageError> for Failure {
    fn from(error: ChangeMessageError) -> Self {
        match &error {
            ChangeMessageError::Denied(denied) => denied.into(),
            // It was tried again as often as is reasonable.
            ChangeMessageError::Outdated => Self::new(
                Code::Unavailable,
                "the room's rules change without pause: the message was not changed",
            ),
            ChangeMessageError::NotFound => Self::new(Code::NotFound, error.to_string()),
            ChangeMessageError::Deleted => Self::new(Code::Conflict, error.to_string()),
            ChangeMessageError::TooManyReactions => {
                Self::new(Code::LimitExceeded, error.to_string())
            }
            ChangeMessageError::Storage(StorageError::OutcomeUnknown(_)) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: the message may be changed",
            ),
            ChangeMessageError::Storage(storage) => {
                Self::storage(storage, "the message was not changed")
            }
        }
    }
}

impl From<ListReactionsError> for Failure {
    fn from(error: ListReactionsError) -> Self {
        match &error {
            ListReactionsError::Denied(denied) => denied.into(),
            ListReactionsError::NotFound => Self::new(Code::NotFound, error.to_string()),
            ListReactionsError::Storage(storage) => {
                Self::storage(storage, "the reactions cannot be read now")
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

impl From<SetTypingError> for Failure {
    fn from(error: SetTypingError) -> Self {
        match &error {
            SetTypingError::Denied(denied) => denied.into(),
            // It was tried again.
            SetTypingError::Outdated => {
                Self::new(Code::Unavailable, "the room's rules change without pause")
            }
        }
    }
}

impl From<ChangeRulesError> for Failure {
    fn from(error: ChangeRulesError) -> Self {
        match &error {
            ChangeRulesError::Denied(denied) => denied.into(),
            ChangeRulesError::LastOwner | ChangeRulesError::Banned | ChangeRulesError::Closed => {
                Self::new(Code::Conflict, error.to_string())
            }
            ChangeRulesError::Storage(StorageError::OutcomeUnknown(_)) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: the change may be made",
            ),
            ChangeRulesError::Storage(storage) => Self::storage(storage, "the change was not made"),
        }
    }
}

impl From<DeleteRoomError> for Failure {
    fn from(error: DeleteRoomError) -> Self {
        match &error {
            DeleteRoomError::Storage(StorageError::OutcomeUnknown(_)) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: the room may be deleted",
            ),
            DeleteRoomError::Storage(storage) => Self::storage(storage, "the room was not deleted"),
        }
    }
}

impl From<EraseUserError> for Failure {
    fn from(error: EraseUserError) -> Self {
        match &error {
            EraseUserError::Deleted => Self::new(Code::Conflict, error.to_string()),
            EraseUserError::Storage(storage) => Self::sanction(storage),
        }
    }
}

impl From<GetRoomError> for Failure {
    fn from(error: GetRoomError) -> Self {
        match &error {
            GetRoomError::Denied(denied) => denied.into(),
            GetRoomError::Storage(storage) => Self::storage(storage, "the room cannot be read now"),
        }
    }
}

impl From<ListMembersError> for Failure {
    fn from(error: ListMembersError) -> Self {
        match &error {
            ListMembersError::Denied(denied) => denied.into(),
            ListMembersError::Storage(storage) => {
                Self::storage(storage, "the members cannot be read now")
            }
        }
    }
}

impl From<ProductViewError> for Failure {
    fn from(error: ProductViewError) -> Self {
        match &error {
            ProductViewError::NotFound => Self::new(Code::NotFound, error.to_string()),
            ProductViewError::Storage(storage) => {
                Self::storage(storage, "the room cannot be read now")
            }
        }
    }
}

impl From<ListRoomsError> for Failure {
    fn from(error: ListRoomsError) -> Self {
        let ListRoomsError::Storage(storage) = &error;
        Self::storage(storage, "the rooms cannot be read now")
    }
}

impl From<WatchRoomsError> for Failure {
    fn from(error: WatchRoomsError) -> Self {
        let WatchRoomsError::Storage(storage) = &error;
        Self::storage(storage, "the rooms cannot be watched now")
    }
}

impl From<SetNotifyError> for Failure {
    fn from(error: SetNotifyError) -> Self {
        match &error {
            SetNotifyError::Denied(denied) => denied.into(),
            SetNotifyError::Storage(StorageError::OutcomeUnknown(_)) => Self::new(
                Code::OutcomeUnknown,
                "the connection to storage broke during the commit: notify may be set",
            ),
            SetNotifyError::Storage(storage) => Self::storage(storage, "notify was not set"),
        }
    }
}

impl From<&AccessDenied> for Failure {
    fn from(error: &AccessDenied) -> Self {
        match error {
            AccessDenied::NotFound => Self::new(Code::NotFound, error.to_string()),
            AccessDenied::NotInRoom => Self::new(Code::NotInRoom, error.to_string()),
            AccessDenied::Forbidden(forbidden) => Self::forbidden(*forbidden),
        }
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

    /// Encodes the acknowledgement of a page of an inbox, if one was requested.
    pub(crate) fn rooms(&self, page: &RoomsPage) -> Option<Bytes> {
        let next = page.next.map(next_of);
        let next = next.map_or(String::new(), |next| format!(r#","next":"{next}""#));
        let end = format!(r#"]{next},"unreadTotal":{}}}"#, page.unread_total);
        let start = std::iter::once(r#"{"ok":true,"rooms":["#);
        let rooms = page.rooms.iter().enumerate().flat_map(|(n, room)| {
            let separator = if n == 0 { "" } else { "," };
            [separator, &*room.encoded]
        });
        let parts = start.chain(rooms).chain([&*end]);
        Some(packet::ack_of_json(self.ack?, parts))
    }

    /// Encodes the `error` event, and after it the acknowledgement if one was requested.
    pub(crate) fn failure(&self, failure: &Failure) -> impl Iterator<Item = Bytes> + use<> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct WireError<'a> {
            code: Code,
            message: &'a str,
            retryable: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            until: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u128>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ErrorEvent<'a> {
            #[serde(flatten)]
            error: &'a WireError<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            room_id: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_message_id: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Refused<'a> {
            ok: bool,
            error: &'a WireError<'a>,
        }
        let error = WireError {
            code: failure.code,
            message: &failure.message,
            retryable: failure.code.is_retryable(),
            reason: failure.reason,
            until: failure.until.map(|until| until.to_string()),
            retry_after_ms: failure.retry_after_ms(),
        };
        let event = ErrorEvent {
            error: &error,
            event: self.event.as_deref(),
            room_id: self.room_id.map(RoomId::get),
            client_message_id: self.client_message_id.as_ref().map(ClientMessageId::as_str),
        };
        let refused = Refused {
            ok: false,
            error: &error,
        };
        let ack = self.ack.map(|id| packet::ack(id, &refused));
        std::iter::once(packet::event("error", &event)).chain(ack)
    }
}

#[cfg(test)]
mod tests;
