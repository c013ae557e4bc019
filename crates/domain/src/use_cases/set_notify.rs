//! A member sets about which messages of a room it wants to be notified.

use std::sync::Arc;

use super::Permits;
use crate::ports::Inbox;
use crate::{AccessDenied, Action, Forbidden, Identity, Notify, RoomId, StorageError};

/// Sets a member's `notify` in a room.
#[derive(Clone)]
pub struct SetNotify {
    inbox: Arc<dyn Inbox>,
    permits: Permits,
}

/// Why it was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetNotifyError {
    /// The user may not see the room, or has no membership in it.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// Storage failed.
    #[error("notify was not set")]
    Storage(#[source] StorageError),
}

impl SetNotify {
    /// Creates the use case over this inbox and these permits.
    pub fn new(inbox: Arc<dyn Inbox>, permits: Permits) -> Self {
        Self { inbox, permits }
    }

    /// Sets it, if the user has membership. In an open room, a user without membership has no
    /// role for which it could be kept: that is [`Forbidden::Role`].
    ///
    /// # Errors
    /// [`SetNotifyError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        room_id: RoomId,
        notify: Notify,
    ) -> Result<(), SetNotifyError> {
        if !identity.may_join(room_id) {
            return Err(AccessDenied::NotFound.into());
        }
        let user_id = &identity.user.id;
        let set = self.inbox.set_notify(room_id, user_id, notify).await;
        // Each role may see the room, and a ban ends membership.
        if set.map_err(SetNotifyError::Storage)? {
            return Ok(());
        }
        let permit = self.permits.read(identity, room_id).await;
        permit
            .map_err(SetNotifyError::Storage)?
            .decide(Action::Read)?;
        Err(AccessDenied::from(Forbidden::Role).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockInbox, MockRoomDirectory, UserRecord};
    use crate::use_cases::permits::tests::{directory, identity, room, snapshot, with_role};
    use crate::{RoomKind, Until};

    async fn set(
        is_member: Result<bool, StorageError>,
        directory: MockRoomDirectory,
        number: u64,
    ) -> Result<(), SetNotifyError> {
        let mut inbox = MockInbox::new();
        if number == 1 {
            inbox
                .expect_set_notify()
                .once()
                .withf(|asked, user, notify| {
                    (*asked, user, *notify) == (room(1), &identity().user.id, Notify::None)
                })
                .return_once(|_, _, _| is_member);
        }
        let permits = Permits::new(Arc::new(directory), RoomKind::Open);
        let set = SetNotify::new(Arc::new(inbox), permits);
        set.execute(&identity(), room(number), Notify::None).await
    }

    #[pollster::test]
    async fn a_member_sets_it_with_one_call() {
        set(Ok(true), MockRoomDirectory::new(), 1).await.unwrap();
    }

    #[pollster::test]
    async fn a_room_that_the_token_does_not_allow_is_not_found_without_a_query() {
        let outcome = set(Ok(true), MockRoomDirectory::new(), 2).await;
        assert!(matches!(
            outcome,
            Err(SetNotifyError::Denied(AccessDenied::NotFound))
        ));
    }

    #[pollster::test]
    async fn without_membership_the_answer_depends_on_whether_the_user_may_see_the_room() {
        let banned = UserRecord {
            banned: Some(Until::Lifted),
            ..UserRecord::default()
        };
        let role = AccessDenied::from(Forbidden::Role);
        for (kind, record, expected) in [
            (RoomKind::Private, with_role(None), AccessDenied::NotFound),
            (RoomKind::Open, banned, AccessDenied::NotFound),
            (RoomKind::Open, with_role(None), role),
        ] {
            let directory = directory(snapshot(kind, vec![record]));
            let Err(SetNotifyError::Denied(denied)) = set(Ok(false), directory, 1).await else {
                panic!("{kind:?} {record:?}");
            };
            assert_eq!(denied, expected);
        }
    }

    #[pollster::test]
    async fn failed_storage_is_an_error() {
        let gone = || StorageError::unavailable("gone");
        let mut without_rules = MockRoomDirectory::new();
        let asked = without_rules.expect_snapshot();
        asked.return_once(move |_, _| Err(gone()));
        for (is_member, directory) in [
            (Err(gone()), MockRoomDirectory::new()),
            (Ok(false), without_rules),
        ] {
            let outcome = set(is_member, directory, 1).await;
            assert!(matches!(outcome, Err(SetNotifyError::Storage(_))));
        }
    }
}
