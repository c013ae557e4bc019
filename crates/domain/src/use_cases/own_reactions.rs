//! Which reactions to messages are those of the user that they are sent to.

use std::collections::HashMap;

use crate::{Message, ReactionKey, RoomId, Seq, StorageError, UserId, ports::ChangeRepository};

/// One user's reactions to some messages of a room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OwnReactions(HashMap<Seq, Vec<ReactionKey>>);

impl OwnReactions {
    /// Returns the reactions in what all users receive alike: none is marked.
    pub fn of_no_user() -> Self {
        Self::default()
    }

    /// Reads which reactions to these messages the user has set. Only messages that have
    /// reactions are looked up, in one call; most pages have none, and cost nothing.
    ///
    /// # Errors
    /// Those of [`ChangeRepository::own_reactions`].
    pub async fn read(
        changes: &dyn ChangeRepository,
        room_id: RoomId,
        user_id: &UserId,
        messages: impl Iterator<Item = &Message>,
    ) -> Result<Self, StorageError> {
        let with_reactions: Vec<Seq> = messages
            .filter(|message| has_reactions(message))
            .map(|message| message.seq)
            .collect();
        let mut own = Self::default();
        if !with_reactions.is_empty() {
            let reading = changes.own_reactions(room_id, user_id, &with_reactions);
            for (seq, key) in reading.await? {
                own.0.entry(seq).or_default().push(key);
            }
        }
        Ok(own)
    }

    /// Returns the reactions to the message at this position.
    pub fn to(&self, seq: Seq) -> &[ReactionKey] {
        self.0.get(&seq).map_or(&[], Vec::as_slice)
    }
}

fn has_reactions(message: &Message) -> bool {
    let changes = message.changes.as_deref();
    changes.is_some_and(|changes| !changes.reactions.is_empty())
}
