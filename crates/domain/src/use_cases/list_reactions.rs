//! A user lists who has reacted to a message.

use std::sync::Arc;

use super::PageLimit;
use crate::{
    Access, AccessDenied, Action, ReactionKey, RoomId, Seq, StorageError, UserId,
    ports::{ChangeRepository, ReactingUsers},
};

/// Returns pages of the users who have set a reaction.
#[derive(Clone)]
pub struct ListReactions {
    changes: Arc<dyn ChangeRepository>,
}

/// Why the users are not returned.
#[derive(Debug, thiserror::Error)]
pub enum ListReactionsError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The room has no message at this position.
    #[error("the message does not exist")]
    NotFound,
    /// Storage failed.
    #[error("the reactions cannot be read now")]
    Storage(#[from] StorageError),
}

impl ListReactions {
    /// Creates the use case over these changes.
    pub fn new(changes: Arc<dyn ChangeRepository>) -> Self {
        Self { changes }
    }

    /// Returns the users after this one who have set the reaction, by user id.
    ///
    /// # Errors
    /// [`ListReactionsError`].
    pub async fn execute(
        &self,
        access: Access,
        room_id: RoomId,
        seq: Seq,
        key: ReactionKey,
        after: Option<UserId>,
        limit: PageLimit,
    ) -> Result<ReactingUsers, ListReactionsError> {
        access.require_joined()?.decide(Action::Read)?;
        let reading = self
            .changes
            .reacting_users(room_id, seq, key, after, limit.get());
        let found = reading.await?;
        if found.users.is_empty() && self.changes.message(room_id, seq).await?.is_none() {
            return Err(ListReactionsError::NotFound);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::use_cases::change_message::tests::message;
    use crate::{DisplayName, Permit, User, ports::MockChangeRepository};

    async fn list(
        changes: MockChangeRepository,
        access: Access,
    ) -> Result<ReactingUsers, ListReactionsError> {
        let list = ListReactions::new(Arc::new(changes));
        let (room, seq) = (RoomId::new(1).unwrap(), Seq::new(3).unwrap());
        let key = ReactionKey::new("👍").unwrap();
        list.execute(access, room, seq, key, None, PageLimit::default())
            .await
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_not_read() {
        let listed = list(MockChangeRepository::new(), Access::NotJoined).await;
        let denied = matches!(
            listed,
            Err(ListReactionsError::Denied(AccessDenied::NotInRoom))
        );
        assert!(denied);
    }

    #[pollster::test]
    async fn a_message_that_does_not_exist_differs_from_one_without_reactions() {
        for exists in [true, false] {
            let mut changes = MockChangeRepository::new();
            let asked = changes.expect_reacting_users();
            asked.returning(|_, _, _, _, _| Ok(ReactingUsers::default()));
            let asked = changes.expect_message();
            asked.returning(move |_, _| Ok(exists.then(|| message("42"))));
            match list(changes, Access::Joined(Permit::OPEN)).await {
                Ok(found) => assert!(exists && found.users.is_empty()),
                Err(ListReactionsError::NotFound) => assert!(!exists),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[pollster::test]
    async fn users_are_returned_without_asking_for_the_message() {
        let mut changes = MockChangeRepository::new();
        let asked = changes.expect_reacting_users();
        asked
            .withf(|_, seq, key, after, limit| {
                (seq.get(), key.as_str(), after, *limit) == (3, "👍", &None, 50)
            })
            .returning(|_, _, _, _, _| {
                Ok(ReactingUsers {
                    users: vec![User {
                        id: UserId::new("7").unwrap(),
                        name: DisplayName::from_text("Bob"),
                    }],
                    has_more: true,
                })
            });
        let found = list(changes, Access::Joined(Permit::OPEN)).await.unwrap();
        assert!(found.has_more);
        assert_eq!(found.users[0].name.as_str(), "Bob");
    }
}
