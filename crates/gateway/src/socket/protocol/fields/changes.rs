//! The fields of events about changes to messages.

use chat_domain::{MAX_NUMBER, ReactionKey, Rev};

use super::{Fields, integer_in, malformed_field, present, required, text};
use crate::socket::protocol::Malformed;

const AFTER_REV: &str = "afterRev";

impl Fields<'_> {
    /// Returns `key`.
    pub(crate) fn key(&self) -> Result<ReactionKey, Malformed> {
        let key = required("key", self.key)?;
        ReactionKey::new(text("key", key)?)
            .map_err(|error| malformed_field("key", error.to_string()))
    }

    /// Returns `on`.
    pub(crate) fn on(&self) -> Result<bool, Malformed> {
        match required("on", self.on)?.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(malformed_field("on", "must be true or false")),
        }
    }

    /// Returns `afterRev` of a join, which also needs `afterSeq`.
    pub(crate) fn optional_after_rev(&self) -> Result<Option<Rev>, Malformed> {
        if present(self.after_rev).is_none() {
            return Ok(None);
        }
        if self.after_seq()?.is_none() {
            return Err(malformed_field(AFTER_REV, "needs afterSeq"));
        }
        self.after_rev().map(Some)
    }

    /// Returns `afterRev`.
    pub(crate) fn after_rev(&self) -> Result<Rev, Malformed> {
        let field = required(AFTER_REV, self.after_rev)?;
        let number = integer_in(AFTER_REV, Some(field), 0..=MAX_NUMBER)?;
        Ok(number.and_then(Rev::new).unwrap_or_default())
    }
}
