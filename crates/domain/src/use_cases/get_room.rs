//! A user looks at a room.

use super::Permits;
use crate::ports::RoomSettings;
use crate::{AccessDenied, Action, Identity, RoomId, RoomRules, StorageError};

/// Returns what a room is like.
#[derive(Clone)]
pub struct GetRoom {
    permits: Permits,
}

/// A room as its users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// The rules that apply.
    pub rules: RoomRules,
    /// The settings; `None` for a room that never had any.
    pub settings: Option<RoomSettings>,
}

/// Why a room is not returned.
#[derive(Debug, thiserror::Error)]
pub enum GetRoomError {
    /// The user may not see the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The room could not be read.
    #[error("the room cannot be read now")]
    Storage(#[source] StorageError),
}

impl GetRoom {
    /// Creates the use case over these permits.
    pub fn new(permits: Permits) -> Self {
        Self { permits }
    }

    /// Returns the room, if the user may see it.
    ///
    /// # Errors
    /// [`GetRoomError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<RoomView, GetRoomError> {
        if !identity.may_join(room_id) {
            return Err(AccessDenied::NotFound.into());
        }
        let users = std::slice::from_ref(&identity.user.id);
        let snapshot = self.permits.directory().snapshot(room_id, users).await;
        let snapshot = snapshot.map_err(GetRoomError::Storage)?;
        let record = snapshot.users.first().copied().unwrap_or_default();
        let permit = self.permits.of(identity, room_id, &snapshot, record);
        permit.decide(Action::Read)?;
        Ok(RoomView {
            rules: permit.rules,
            settings: snapshot.settings,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::{MockRoomDirectory, RoomSnapshot, UserRecord};
    use crate::use_cases::permits::tests::{
        directory, identity, room, settings, snapshot, with_role,
    };
    use crate::{Generation, Permit, Role, RoomKind, RulesNumber, Until};

    async fn get(directory: MockRoomDirectory, number: u64) -> Result<RoomView, GetRoomError> {
        let permits = Permits::new(Arc::new(directory), RoomKind::Open);
        let get = GetRoom::new(permits);
        get.execute(&identity(), room(number)).await
    }

    #[pollster::test]
    async fn a_room_that_the_token_does_not_allow_is_not_found_without_a_query() {
        assert!(matches!(
            get(MockRoomDirectory::new(), 2).await,
            Err(GetRoomError::Denied(AccessDenied::NotFound))
        ));
    }

    #[pollster::test]
    async fn a_room_is_returned_to_those_who_may_see_it() {
        let banned = UserRecord {
            banned: Some(Until::Lifted),
            ..UserRecord::default()
        };
        for (kind, record, may_see) in [
            (RoomKind::Private, with_role(None), false),
            (RoomKind::Private, with_role(Some(Role::Reader)), true),
            (RoomKind::Open, with_role(None), true),
            (RoomKind::Open, banned, false),
        ] {
            match get(directory(snapshot(kind, vec![record])), 1).await {
                Ok(view) => {
                    assert!(may_see, "{kind:?} {record:?}");
                    assert_eq!(view.rules.kind, kind);
                    assert_eq!(view.settings, Some(settings(kind)));
                }
                Err(error) => {
                    assert!(!may_see, "{kind:?} {record:?}");
                    let hidden = matches!(error, GetRoomError::Denied(AccessDenied::NotFound));
                    assert!(hidden, "{error}");
                }
            }
        }
    }

    #[pollster::test]
    async fn a_room_that_never_had_rules_has_those_of_its_kind() {
        let found = RoomSnapshot {
            rules: RulesNumber::NONE,
            generation: Generation::FIRST,
            settings: None,
            owners: 0,
            users: vec![UserRecord::default()],
        };
        let view = get(directory(found), 1).await.unwrap();
        assert_eq!(view.rules, Permit::OPEN.rules);
        assert_eq!(view.settings, None);
    }

    #[pollster::test]
    async fn unavailable_storage_is_an_error_and_not_a_missing_room() {
        let mut directory = MockRoomDirectory::new();
        let gone = StorageError::unavailable("gone");
        directory.expect_snapshot().return_once(|_, _| Err(gone));
        assert!(matches!(
            get(directory, 1).await,
            Err(GetRoomError::Storage(_))
        ));
    }
}
