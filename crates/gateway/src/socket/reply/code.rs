//! The error codes of events.

use serde::{Serialize, Serializer};

use crate::codes::{ErrorCode, Retry};

/// The codes of an `error` event and of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidPayload,
    UnknownEvent,
    NotInRoom,
    NotFound,
    Forbidden,
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
    pub(crate) const ALL: [Self; 14] = [
        Self::InvalidPayload,
        Self::UnknownEvent,
        Self::NotInRoom,
        Self::NotFound,
        Self::Forbidden,
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

    /// Returns the code among those of the whole wire.
    pub(crate) fn wire(self) -> ErrorCode {
        match self {
            Self::InvalidPayload => ErrorCode::InvalidPayload,
            Self::UnknownEvent => ErrorCode::UnknownEvent,
            Self::NotInRoom => ErrorCode::NotInRoom,
            Self::NotFound => ErrorCode::NotFound,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::Conflict => ErrorCode::Conflict,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::LimitExceeded => ErrorCode::LimitExceeded,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Self::TokenExpired => ErrorCode::TokenExpired,
            Self::TokenInvalid => ErrorCode::TokenInvalid,
            Self::TokenRevoked => ErrorCode::TokenRevoked,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// Returns the code as it is on the wire.
    pub(crate) fn name(self) -> &'static str {
        self.wire().name()
    }

    pub(super) fn is_retryable(self) -> bool {
        self.wire().retry() == Retry::May
    }
}

// One that is added before the last is not forgotten.
const _: () = assert!(Code::ALL.len() == Code::Internal as usize + 1);

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
