//! Stores many messages of one room, in their order.

use async_trait::async_trait;

use super::AppendError;
use crate::{Message, NewMessage, Seq};

/// Stores messages in batches that keep their order, however one of them fails.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait MessageImport: Send + Sync {
    /// Stores messages, which are all of one room and were decided by one number of its rules, as
    /// [`MessageRepository::append`](super::MessageRepository::append) does, but in their order: if
    /// one cannot be stored, none after it is.
    ///
    /// - A reply is stored if the message to which it replies is certain to be earlier: if it is at
    ///   `newest`, which the room has reached, or before, or among the messages that this call
    ///   stores before it. Otherwise the reply fails with [`ImportFailure::UnknownReplyTo`].
    /// - They take numbers without gaps, which other messages may come between.
    /// - A repeat of a stored message, or of an earlier one among these, is not stored again.
    /// - Imports take turns, batch by batch, and share one connection. Other messages never wait
    ///   for more than one batch.
    /// - A call is carried out even if its future is dropped.
    async fn import(&self, messages: Vec<NewMessage>, newest: Seq) -> Imported;
}

/// What has become of messages: of a first part, and why the next one was not stored.
#[derive(Debug)]
pub struct Imported {
    /// The messages that are stored now, in their order.
    pub stored: Vec<Message>,
    /// How many had been stored before.
    pub repeated: usize,
    /// Why the message after those was not stored, or possibly not stored. None after it is.
    pub failed: Option<ImportFailure>,
}

/// Why a message was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The message to which it replies is not certain to be earlier.
    #[error("the message to which it replies may not exist")]
    UnknownReplyTo,
    /// It cannot be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}
