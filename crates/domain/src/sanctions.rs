//! What an operator imposes on a user: its tokens are revoked, or its connections are closed.

use crate::{Identity, Timestamp, UserId};

/// Which tokens of a user are revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The user.
    pub user_id: UserId,
    /// Counts the changes of this user's revocation: of two states, the one with the larger
    /// number is the newer one, in whatever order they arrive.
    pub number: u64,
    /// The user's tokens that were issued before this, or state no time, are refused. `None`:
    /// the revocation is lifted.
    pub issued_before: Option<Timestamp>,
}

impl Revocation {
    /// Returns whether this revokes the token that states the identity, which is this user's.
    /// See [`Identity::was_issued_before`].
    pub fn revokes(&self, identity: &Identity) -> bool {
        self.issued_before
            .is_some_and(|time| identity.was_issued_before(time))
    }
}

/// That a user's connections are to be closed, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnection {
    /// The user.
    pub user_id: UserId,
    /// Grows with every disconnection of this user. `None`: it was not stored, so each node
    /// learns of it at most once.
    pub number: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DisplayName, RoomAccess, User};

    #[test]
    fn tokens_issued_before_the_revocation_and_those_without_a_time_are_revoked() {
        let revocation = |issued_before: Option<i64>| Revocation {
            user_id: UserId::new("42").unwrap(),
            number: 1,
            issued_before: issued_before.map(Timestamp::from_unix_millis),
        };
        let issued = |at: Option<i64>| Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            visibility: crate::Visibility::Visible,
            issued_at: at.map(Timestamp::from_unix_millis),
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        };
        for (issued_at, before, is_revoked) in [
            (Some(999), Some(1500), true),
            // Issued at 1.9 seconds, rounded down.
            (Some(1000), Some(1500), true),
            (Some(1499), Some(1500), true),
            (Some(1500), Some(1500), false),
            (Some(2000), Some(1500), false),
            (None, Some(1500), true),
            (None, Some(0), true),
            (None, None, false),
            (Some(0), None, false),
        ] {
            assert_eq!(
                revocation(before).revokes(&issued(issued_at)),
                is_revoked,
                "{issued_at:?} {before:?}"
            );
        }
    }
}
