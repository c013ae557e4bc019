//! What a user may do in a room, read from storage.

use std::sync::Arc;

use crate::ports::{MemberPage, RoomDirectory, RoomSnapshot, UserRecord};
use crate::{
    Identity, Permit, Role, RoomId, RoomKind, RoomRules, RulesNumber, Standing, StorageError,
    UserId,
};

/// Determines what users may do in rooms. Every use case that depends on rules asks it.
#[derive(Clone)]
pub struct Permits {
    directory: Arc<dyn RoomDirectory>,
    default_kind: RoomKind,
}

impl Permits {
    /// Reads rules from this directory. Rooms without rules are of this kind.
    pub fn new(directory: Arc<dyn RoomDirectory>, default_kind: RoomKind) -> Self {
        Self {
            directory,
            default_kind,
        }
    }

    /// Returns what a user may do in a room whose rules have this number, if the access hook
    /// grants this role. For an open room that never had rules, nothing is read.
    ///
    /// # Errors
    /// Those of [`RoomDirectory::snapshot`].
    pub async fn at(
        &self,
        identity: &Identity,
        room_id: RoomId,
        number: RulesNumber,
        granted: Option<Role>,
    ) -> Result<Permit, StorageError> {
        if number != RulesNumber::NONE || self.default_kind != RoomKind::Open {
            let (snapshot, record) = self.snapshot_for(identity, room_id).await?;
            return Ok(self.permit(identity, room_id, &snapshot, record, granted));
        }
        Ok(Permit {
            standing: standing(identity, room_id, UserRecord::default(), granted),
            ..Permit::OPEN
        })
    }

    /// Reads what a user may do in a room now.
    ///
    /// # Errors
    /// Those of [`RoomDirectory::snapshot`].
    pub async fn read(&self, identity: &Identity, room_id: RoomId) -> Result<Permit, StorageError> {
        let (snapshot, record) = self.snapshot_for(identity, room_id).await?;
        Ok(self.of(identity, room_id, &snapshot, record))
    }

    /// Reads what the rules alone allow a user that has not joined the room. Whether the access
    /// hook admits it is not known before it joins, and makes no difference to this.
    ///
    /// # Errors
    /// Those of [`RoomDirectory::snapshot`].
    pub async fn before_joining(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<Permit, StorageError> {
        let (snapshot, record) = self.snapshot_for(identity, room_id).await?;
        let permit = self.permit(identity, room_id, &snapshot, record, None);
        Ok(Permit {
            standing: Standing {
                is_admitted: identity.may_join(room_id),
                ..permit.standing
            },
            ..permit
        })
    }

    /// Reads a room, and where this user stands with it.
    async fn snapshot_for(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<(RoomSnapshot, UserRecord), StorageError> {
        let users = std::slice::from_ref(&identity.user.id);
        let snapshot = self.directory.snapshot(room_id, users).await?;
        let record = snapshot.users.first().copied().unwrap_or_default();
        Ok((snapshot, record))
    }

    /// Reads a room, and where these users stand with it.
    ///
    /// # Errors
    /// Those of [`RoomDirectory::snapshot`].
    pub async fn snapshot(
        &self,
        room_id: RoomId,
        users: &[UserId],
    ) -> Result<RoomSnapshot, StorageError> {
        self.directory.snapshot(room_id, users).await
    }

    /// Returns the room's members after this user, at most `limit` of them.
    ///
    /// # Errors
    /// Those of [`RoomDirectory::members`].
    pub async fn members(
        &self,
        room_id: RoomId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<MemberPage, StorageError> {
        self.directory.members(room_id, after, limit).await
    }

    /// Returns what a user with this record may do in the room of the snapshot. Without
    /// membership, that is what the access hook has granted to its connection, if there is a hook.
    pub fn of(
        &self,
        identity: &Identity,
        room_id: RoomId,
        snapshot: &RoomSnapshot,
        record: UserRecord,
    ) -> Permit {
        self.permit(
            identity,
            room_id,
            snapshot,
            record,
            identity.granted(room_id),
        )
    }

    fn permit(
        &self,
        identity: &Identity,
        room_id: RoomId,
        snapshot: &RoomSnapshot,
        record: UserRecord,
        granted: Option<Role>,
    ) -> Permit {
        Permit {
            number: snapshot.rules,
            generation: snapshot.generation,
            rules: self.rules_of(snapshot),
            standing: standing(identity, room_id, record, granted),
        }
    }

    /// Returns the rules that apply in the room of the snapshot.
    pub fn rules_of(&self, snapshot: &RoomSnapshot) -> RoomRules {
        let without_rules = RoomRules {
            kind: self.default_kind,
            ..Permit::OPEN.rules
        };
        let settings = snapshot.settings.as_ref();
        settings.map_or(without_rules, |settings| settings.rules)
    }

    /// Returns where the rules of rooms are stored.
    pub(super) fn directory(&self) -> &dyn RoomDirectory {
        &*self.directory
    }

    /// Returns the kind of rooms without rules.
    pub(super) fn default_kind(&self) -> RoomKind {
        self.default_kind
    }
}

/// Returns where a user with this record stands. Membership decides, and without it the access
/// hook, if there is one.
fn standing(
    identity: &Identity,
    room_id: RoomId,
    record: UserRecord,
    granted: Option<Role>,
) -> Standing {
    let role = record.role.or(granted);
    Standing {
        role,
        is_banned: record.banned.is_some(),
        muted: record.muted,
        is_admitted: identity.may_join(room_id) && (role.is_some() || identity.grants.is_none()),
    }
}

#[cfg(test)]
mod hook_tests;
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ports::{MockRoomDirectory, RoomSettings};
    use crate::{
        AccessDenied, Action, DisplayName, Generation, Metadata, Role, RoomAccess, Timestamp,
        Until, User, UserId,
    };

    pub(in crate::use_cases) fn room(number: u64) -> RoomId {
        RoomId::new(number).unwrap()
    }

    /// User 42, with a token for room 1.
    pub(in crate::use_cases) fn identity() -> Identity {
        Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::Only([room(1)].into()),
            visibility: crate::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        }
    }

    pub(in crate::use_cases) fn with_role(role: Option<Role>) -> UserRecord {
        UserRecord {
            role,
            ..UserRecord::default()
        }
    }

    pub(in crate::use_cases) fn settings(kind: RoomKind) -> RoomSettings {
        RoomSettings {
            rules: RoomRules {
                kind,
                ..Permit::OPEN.rules
            },
            name: None,
            metadata: Metadata::default(),
            created_at: Timestamp::from_unix_millis(0),
            member_count: 2,
        }
    }

    /// A room with rules of number 7 and with two owners.
    pub(in crate::use_cases) fn snapshot(kind: RoomKind, users: Vec<UserRecord>) -> RoomSnapshot {
        RoomSnapshot {
            rules: RulesNumber::new(7),
            generation: Generation::FIRST,
            settings: Some(settings(kind)),
            owners: 2,
            users,
        }
    }

    /// A directory that is asked once, about room 1 and user 42.
    pub(in crate::use_cases) fn directory(snapshot: RoomSnapshot) -> MockRoomDirectory {
        let mut directory = MockRoomDirectory::new();
        directory
            .expect_snapshot()
            .once()
            .withf(|asked, users| *asked == room(1) && users == [identity().user.id])
            .return_once(|_, _| Ok(snapshot));
        directory
    }

    /// A room that never had rules, as a directory returns it.
    fn without_rules() -> RoomSnapshot {
        RoomSnapshot {
            rules: RulesNumber::NONE,
            generation: Generation::FIRST,
            settings: None,
            owners: 0,
            users: vec![UserRecord::default()],
        }
    }

    async fn at(directory: MockRoomDirectory, default: RoomKind, number: u64) -> Permit {
        let permits = Permits::new(Arc::new(directory), default);
        let number = RulesNumber::new(number);
        permits
            .at(&identity(), room(1), number, None)
            .await
            .unwrap()
    }

    #[pollster::test]
    async fn nothing_is_read_for_an_open_room_that_never_had_rules() {
        let nothing = MockRoomDirectory::new();
        assert_eq!(at(nothing, RoomKind::Open, 0).await, Permit::OPEN);
    }

    #[pollster::test]
    async fn a_token_that_does_not_allow_the_room_allows_nothing_there() {
        let permits = Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open);
        let number = RulesNumber::NONE;
        let permit = permits.at(&identity(), room(2), number, None).await;
        let denied = permit.unwrap().decide(Action::Read);
        assert_eq!(denied, Err(AccessDenied::NotFound));

        let owner = with_role(Some(Role::Owner));
        let found = snapshot(RoomKind::Open, vec![owner]);
        let permit = permits.of(&identity(), room(2), &found, owner);
        assert_eq!(permit.decide(Action::Read), Err(AccessDenied::NotFound));
    }

    #[pollster::test]
    async fn a_room_without_rules_is_of_the_default_kind() {
        for number in [0, 7] {
            let private = at(directory(without_rules()), RoomKind::Private, number).await;
            assert_eq!(private.rules.kind, RoomKind::Private);
            assert_eq!(private.decide(Action::Read), Err(AccessDenied::NotFound));
        }
        let open = at(directory(without_rules()), RoomKind::Open, 7).await;
        assert_eq!(open, Permit::OPEN);
        let stored = directory(snapshot(RoomKind::Open, vec![UserRecord::default()]));
        let stored = at(stored, RoomKind::Private, 7).await;
        assert_eq!(stored.rules.kind, RoomKind::Open);
    }

    #[pollster::test]
    async fn a_permit_has_the_rules_and_the_standing_that_were_read() {
        let record = UserRecord {
            role: Some(Role::Moderator),
            banned: Some(Until::Lifted),
            muted: Some(Until::Time(Timestamp::from_unix_millis(5))),
        };
        let read = RoomSnapshot {
            rules: RulesNumber::new(8),
            ..snapshot(RoomKind::Private, vec![record])
        };
        // It was 7 when the caller learned of it.
        let permit = at(directory(read), RoomKind::Open, 7).await;
        let expected = Permit {
            number: RulesNumber::new(8),
            generation: Generation::FIRST,
            rules: settings(RoomKind::Private).rules,
            standing: Standing {
                role: record.role,
                is_banned: true,
                muted: record.muted,
                is_admitted: true,
            },
        };
        assert_eq!(permit, expected);
    }

    #[pollster::test]
    async fn a_room_that_is_being_deleted_does_not_exist_for_its_owner() {
        let owner = with_role(Some(Role::Owner));
        for (generation, expected) in [(7, Ok(())), (8, Err(AccessDenied::NotFound))] {
            let found = RoomSnapshot {
                generation: Generation::new(generation),
                ..snapshot(RoomKind::Open, vec![owner])
            };
            assert_eq!(found.is_closed(), expected.is_err());
            let permit = at(directory(found), RoomKind::Open, 7).await;
            for action in [Action::Read, Action::Write, Action::ChangeRoom] {
                assert_eq!(permit.decide(action), expected);
            }
        }
    }

    #[pollster::test]
    async fn unavailable_storage_is_an_error_and_not_a_room_without_rules() {
        let mut directory = MockRoomDirectory::new();
        let gone = StorageError::unavailable("gone");
        directory.expect_snapshot().return_once(|_, _| Err(gone));
        let permits = Permits::new(Arc::new(directory), RoomKind::Open);
        let number = RulesNumber::new(7);
        let permit = permits.at(&identity(), room(1), number, None).await;
        assert!(matches!(permit, Err(StorageError::Unavailable(_))));
    }
}
