//! The wire's error codes.

use serde::{Serialize, Serializer};

/// The wire's error codes.
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

    /// Returns the code as it is on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::UnknownEvent => "unknown_event",
            Self::NotInRoom => "not_in_room",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
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

    pub(super) fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable | Self::OutcomeUnknown => true,
            Self::InvalidPayload
            | Self::UnknownEvent
            | Self::NotInRoom
            | Self::NotFound
            | Self::Forbidden
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
