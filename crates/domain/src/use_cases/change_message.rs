//! A user, or the product, changes a message: edits it, deletes it, or reacts to it.

use std::sync::Arc;

use super::{Attempt, Permits};
use crate::{
    AccessDenied, Action, Authorship, Caller, Content, EncodeMessage, Generation, Message,
    MessageEdit, Permit, ReactionKey, RoomEntry, RoomId, Seq, StorageError, StoredMessage, UserId,
    ports::{ChangeRepository, Hint, MessageChange, MessageChangeError, RoomEvents},
};

/// Changes a message, then announces that it has changed.
#[derive(Clone)]
pub struct ChangeMessage {
    changes: Arc<dyn ChangeRepository>,
    permits: Permits,
    events: Arc<dyn RoomEvents>,
    encode: EncodeMessage,
}

/// What a user does to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEdit {
    /// Gives it another text.
    Edit(Content),
    /// Deletes it.
    Delete,
    /// Sets or clears a reaction of its own.
    React {
        /// The reaction.
        key: ReactionKey,
        /// Whether it is set.
        on: bool,
    },
}

/// Why a message was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeMessageError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The permit is outdated: it has to be read again for another attempt. Nothing has changed.
    #[error("the rules have changed")]
    Outdated,
    /// The room has no message at this position.
    #[error("the message does not exist")]
    NotFound,
    /// The message is deleted, which is final.
    #[error("the message is deleted")]
    Deleted,
    /// The message has as many different reactions as it may have.
    #[error(
        "a message can have at most {} different reactions",
        ReactionKey::MAX_PER_MESSAGE
    )]
    TooManyReactions,
    /// The message was not changed, or it is not known whether it was.
    #[error("the message cannot be changed now")]
    Storage(#[from] StorageError),
}

/// How often a change of the product is made again because the rules change meanwhile.
const ATTEMPTS: usize = 5;

impl ChangeMessage {
    /// Creates the use case over these changes, these rules and these hints.
    pub fn new(
        changes: Arc<dyn ChangeRepository>,
        permits: Permits,
        events: Arc<dyn RoomEvents>,
        encode: EncodeMessage,
    ) -> Self {
        Self {
            changes,
            permits,
            events,
            encode,
        }
    }

    /// Changes the message, if the room's rules are still those by which the caller may do it,
    /// and announces the change. Returns the message in its newest state. What is already so
    /// changes nothing and is not announced.
    ///
    /// # Errors
    /// [`ChangeMessageError`].
    pub async fn execute(
        &self,
        caller: Caller<'_>,
        room_id: RoomId,
        seq: Seq,
        edit: UserEdit,
        attempt: Attempt,
    ) -> Result<StoredMessage, ChangeMessageError> {
        let permit = caller.access.require_joined()?;
        if let Err(denied) = self.decide(caller, permit, room_id, seq, &edit).await? {
            // A mute may have expired since the permit was read, or been lifted.
            return Err(match attempt {
                Attempt::First => ChangeMessageError::Outdated,
                Attempt::Again { .. } => ChangeMessageError::Denied(denied),
            });
        }
        let user_id = &caller.user.id;
        let change = MessageChange {
            room_id,
            seq,
            edit: match edit {
                UserEdit::Edit(content) => MessageEdit::Edit(content),
                UserEdit::Delete => MessageEdit::Delete,
                UserEdit::React { key, on } => MessageEdit::React {
                    user_id: user_id.clone(),
                    key,
                    on,
                },
            },
            by: Some(user_id.clone()),
            rules: permit.number,
        };
        let message = self.change(change, permit.generation).await?;
        Ok(StoredMessage::encode(&message, self.encode))
    }

    /// Changes the message for the product, which no rule binds, and announces the change.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). [`ChangeMessageError::Outdated`] if the rules change
    /// without pause.
    pub async fn execute_as_product(
        &self,
        room_id: RoomId,
        seq: Seq,
        edit: MessageEdit,
    ) -> Result<StoredMessage, ChangeMessageError> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.permits.snapshot(room_id, &[]).await?;
            if snapshot.is_closed() {
                return Err(AccessDenied::NotFound.into());
            }
            let change = MessageChange {
                room_id,
                seq,
                edit: edit.clone(),
                by: None,
                rules: snapshot.rules,
            };
            match self.change(change, snapshot.generation).await {
                Err(ChangeMessageError::Outdated) => {}
                outcome => return Ok(StoredMessage::encode(&outcome?, self.encode)),
            }
        }
        Err(ChangeMessageError::Outdated)
    }

    /// Decides whether the caller may do this to the message.
    async fn decide(
        &self,
        caller: Caller<'_>,
        permit: Permit,
        room_id: RoomId,
        seq: Seq,
        edit: &UserEdit,
    ) -> Result<Result<(), AccessDenied>, ChangeMessageError> {
        let action = match edit {
            UserEdit::React { .. } => return Ok(permit.decide(Action::React)),
            UserEdit::Edit(_) => Action::Edit,
            UserEdit::Delete => Action::Delete,
        };
        // Nothing is read of a room that the user may not see any more.
        if let Err(denied) = permit.decide(Action::Read) {
            return Ok(Err(denied));
        }
        let message = self.changes.message(room_id, seq).await?;
        let message = message.ok_or(ChangeMessageError::NotFound)?;
        // Nobody is the author of what erased users have written, whatever a token's `sub` is.
        let author = Some(&message.author.id).filter(|author| **author != UserId::deleted());
        let whose = match author == Some(&caller.user.id) {
            true => Authorship::Own,
            false => Authorship::Other,
        };
        Ok(permit.decide(action(whose)))
    }

    async fn change(
        &self,
        change: MessageChange,
        generation: Generation,
    ) -> Result<Message, ChangeMessageError> {
        let room_id = change.room_id;
        let made = self.changes.change(change).await?;
        let changes = made.message.changes.as_ref();
        if let Some(rev) = changes.map(|changes| changes.rev).filter(|_| made.is_new) {
            self.events.announce(Hint {
                room_id,
                generation,
                entry: RoomEntry::Changes { rev },
            });
        }
        Ok(made.message)
    }
}

impl From<MessageChangeError> for ChangeMessageError {
    fn from(error: MessageChangeError) -> Self {
        match error {
            MessageChangeError::NotFound => Self::NotFound,
            MessageChangeError::Deleted => Self::Deleted,
            MessageChangeError::TooManyReactions => Self::TooManyReactions,
            MessageChangeError::RulesChanged => Self::Outdated,
            MessageChangeError::Storage(error) => Self::Storage(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
