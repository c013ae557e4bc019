//! The product erases a user: what is stored about it goes in the background.

use std::sync::Arc;

use super::{DisconnectUser, RevokeTokens, RulesChange};
use crate::ports::{
    AuthoredMessages, ChangeError, Changed, ChangedRoom, ErasureStage, Hint, RoomChange,
    RoomDirectory, RoomEvents, UserErasure,
};
use crate::{RoomEntry, RoomId, StorageError, UserId};

/// Requests the erasure of users, and carries it out step by step.
#[derive(Clone)]
pub struct EraseUser {
    erasure: Arc<dyn UserErasure>,
    directory: Arc<dyn RoomDirectory>,
    events: Arc<dyn RoomEvents>,
    disconnect: DisconnectUser,
    revoke: RevokeTokens,
}

/// Why an erasure was not requested.
#[derive(Debug, thiserror::Error)]
pub enum EraseUserError {
    /// The user is the one that stands for all erased users.
    #[error("the user `deleted` stands for erased users and cannot be erased")]
    Deleted,
    /// It may not be stored that the user is to be erased.
    #[error("the user cannot be erased now")]
    Storage(#[from] StorageError),
}

/// A step of an erasure.
#[derive(Debug)]
pub struct ErasureStep {
    /// The user.
    pub user_id: UserId,
    /// How many rows were erased.
    pub rows: u64,
    /// Where the user has no standing any more. The nodes have to be notified.
    pub ended: Vec<EndedStanding>,
    /// Whether nothing is stored about the user any more.
    pub is_over: bool,
}

/// A change of a room's rules that ended what a user was there.
#[derive(Debug)]
pub struct EndedStanding {
    /// The room.
    pub room_id: RoomId,
    /// What became of the user.
    pub change: RulesChange,
    /// The state after that.
    pub changed: Changed,
}

/// How many rooms one step leaves at most.
const ROOMS_AT_ONCE: usize = 20;
/// How often a change is made again because the rules changed meanwhile, before another step.
const ATTEMPTS: usize = 10;

impl EraseUser {
    /// Creates the use case.
    pub fn new(
        erasure: Arc<dyn UserErasure>,
        directory: Arc<dyn RoomDirectory>,
        events: Arc<dyn RoomEvents>,
        disconnect: DisconnectUser,
        revoke: RevokeTokens,
    ) -> Self {
        Self {
            erasure,
            directory,
            events,
            disconnect,
            revoke,
        }
    }

    /// Stores that the user is to be erased, and closes its connections on all nodes.
    ///
    /// # Errors
    /// [`EraseUserError`]. A retry is harmless.
    pub async fn request(
        &self,
        user_id: &UserId,
        messages: AuthoredMessages,
    ) -> Result<(), EraseUserError> {
        if *user_id == UserId::deleted() {
            return Err(EraseUserError::Deleted);
        }
        self.erasure.request(user_id, messages).await?;
        self.disconnect.execute(user_id).await?;
        Ok(())
    }

    /// Does the next part of the erasure that was requested first, and announces which messages
    /// have changed. Returns `None` if nothing is due.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    pub async fn step(&self, rows: usize) -> Result<Option<ErasureStep>, StorageError> {
        let Some(batch) = self.erasure.erase_batch(rows).await? else {
            return Ok(None);
        };
        let user_id = batch.user_id;
        let (mut ended, mut is_over) = (Vec::new(), false);
        match batch.stage {
            ErasureStage::Standing => ended = self.end_standing(&user_id).await?,
            ErasureStage::Content(changed) => self.announce(changed),
            ErasureStage::Over => {
                // Nodes that keep the revocation in memory forget it.
                self.revoke.lift(&user_id).await?;
                is_over = self.erasure.finish(&user_id).await?;
            }
        }
        Ok(Some(ErasureStep {
            user_id,
            rows: batch.rows,
            ended,
            is_over,
        }))
    }

    fn announce(&self, changed: Option<ChangedRoom>) {
        if let Some(ChangedRoom {
            room_id,
            generation,
            rev,
        }) = changed
        {
            self.events.announce(Hint {
                room_id,
                generation,
                entry: RoomEntry::Changes { rev },
            });
        }
    }

    async fn end_standing(&self, user_id: &UserId) -> Result<Vec<EndedStanding>, StorageError> {
        let mut ended = Vec::new();
        for room_id in self.erasure.standing(user_id, ROOMS_AT_ONCE).await? {
            self.leave(user_id, room_id, &mut ended).await?;
        }
        Ok(ended)
    }

    /// Ends what the user is in a room, also if it is its last owner. Each is a change of the
    /// room's rules, as if the product had asked for it.
    async fn leave(
        &self,
        user_id: &UserId,
        room_id: RoomId,
        ended: &mut Vec<EndedStanding>,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS {
            let users = [user_id.clone()];
            let snapshot = self.directory.snapshot(room_id, &users).await?;
            let record = snapshot.users.first().copied().unwrap_or_default();
            let (change, stored) = match record {
                _ if snapshot.is_closed() => break,
                _ if record.role.is_some() => (
                    RulesChange::Remove,
                    RoomChange::RemoveMember {
                        user_id: user_id.clone(),
                    },
                ),
                _ if record.banned.is_some() => (
                    RulesChange::Unban,
                    RoomChange::Unban {
                        user_id: user_id.clone(),
                    },
                ),
                _ if record.muted.is_some() => (
                    RulesChange::Unmute,
                    RoomChange::Unmute {
                        user_id: user_id.clone(),
                    },
                ),
                _ => break,
            };
            match self
                .directory
                .change(room_id, snapshot.rules, &stored, None)
                .await
            {
                Ok(changed) => ended.push(EndedStanding {
                    room_id,
                    change,
                    changed,
                }),
                Err(ChangeError::RulesChanged) => {}
                Err(ChangeError::Storage(error)) => return Err(error),
            }
        }
        self.erasure.forget_standing(user_id, room_id).await
    }
}

#[cfg(test)]
mod tests;
