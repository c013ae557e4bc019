//! A user lists the members of a room.

use super::{PageLimit, Permits};
use crate::ports::MemberPage;
use crate::{AccessDenied, Action, Identity, RoomId, StorageError, UserId};

/// Returns pages of a room's members.
#[derive(Clone)]
pub struct ListMembers {
    permits: Permits,
}

/// Why members are not returned.
#[derive(Debug, thiserror::Error)]
pub enum ListMembersError {
    /// The user may not see the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The members could not be read.
    #[error("the members cannot be read now")]
    Storage(#[source] StorageError),
}

impl ListMembers {
    /// Creates the use case over these permits.
    pub fn new(permits: Permits) -> Self {
        Self { permits }
    }

    /// Returns the room's members after this user, at most `limit` of them, if the user may
    /// see the room.
    ///
    /// # Errors
    /// [`ListMembersError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        room_id: RoomId,
        after: Option<UserId>,
        limit: PageLimit,
    ) -> Result<MemberPage, ListMembersError> {
        if !identity.may_join(room_id) {
            return Err(AccessDenied::NotFound.into());
        }
        let permit = self.permits.read(identity, room_id).await;
        permit
            .map_err(ListMembersError::Storage)?
            .decide(Action::Read)?;
        let page = self
            .permits
            .directory()
            .members(room_id, after, limit.get());
        page.await.map_err(ListMembersError::Storage)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::{MockRoomDirectory, UserRecord};
    use crate::use_cases::permits::tests::{directory, identity, room, snapshot, with_role};
    use crate::{Role, RoomKind, Until};

    async fn list(
        directory: MockRoomDirectory,
        number: u64,
    ) -> Result<MemberPage, ListMembersError> {
        let list = ListMembers::new(Permits::new(Arc::new(directory), RoomKind::Open));
        let after = Some(UserId::new("7").unwrap());
        list.execute(&identity(), room(number), after, PageLimit::default())
            .await
    }

    #[pollster::test]
    async fn a_room_that_the_token_does_not_allow_is_not_found_without_a_query() {
        assert!(matches!(
            list(MockRoomDirectory::new(), 2).await,
            Err(ListMembersError::Denied(AccessDenied::NotFound))
        ));
    }

    #[pollster::test]
    async fn members_are_not_read_for_users_who_may_not_see_the_room() {
        let banned = UserRecord {
            banned: Some(Until::Lifted),
            ..UserRecord::default()
        };
        for (kind, record) in [
            (RoomKind::Private, with_role(None)),
            (RoomKind::Open, banned),
        ] {
            let outcome = list(directory(snapshot(kind, vec![record])), 1).await;
            let hidden = matches!(
                outcome,
                Err(ListMembersError::Denied(AccessDenied::NotFound))
            );
            assert!(hidden, "{kind:?} {record:?}");
        }
    }

    #[pollster::test]
    async fn those_who_may_see_the_room_see_its_members() {
        for (kind, role) in [
            (RoomKind::Private, Some(Role::Reader)),
            (RoomKind::Open, None),
        ] {
            let mut directory = directory(snapshot(kind, vec![with_role(role)]));
            directory
                .expect_members()
                .once()
                .withf(|asked, after, limit| {
                    let after = after.as_ref().map(UserId::as_str);
                    (*asked, after, *limit) == (room(1), Some("7"), 50)
                })
                .return_once(|_, _, _| {
                    Ok(MemberPage {
                        members: Vec::new(),
                        has_more: true,
                    })
                });
            assert!(list(directory, 1).await.unwrap().has_more);
        }
    }

    #[pollster::test]
    async fn unavailable_storage_is_an_error_and_not_an_empty_page() {
        let gone = || StorageError::unavailable("gone");
        let mut without_rules = MockRoomDirectory::new();
        let asked = without_rules.expect_snapshot();
        asked.return_once(move |_, _| Err(gone()));
        let mut without_members = directory(snapshot(RoomKind::Open, vec![with_role(None)]));
        let asked = without_members.expect_members();
        asked.return_once(move |_, _, _| Err(gone()));
        for directory in [without_rules, without_members] {
            let outcome = list(directory, 1).await;
            assert!(matches!(outcome, Err(ListMembersError::Storage(_))));
        }
    }
}
