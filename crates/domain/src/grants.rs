//! What the access hook knows of a connection, and what it has granted to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Role, RoomId};

/// The claims of a connection's token, and the roles that the access hook has granted to the
/// connection: each until it leaves the room. Clones share the roles. `Debug` omits the claims,
/// which may be personal.
#[derive(Clone)]
pub struct Grants {
    claims: Arc<str>,
    roles: Arc<Mutex<BTreeMap<RoomId, Role>>>,
}

impl Grants {
    /// Creates the grants of a new connection: none. `claims` is a JSON object, which the
    /// boundary has checked.
    pub fn new(claims: impl Into<Arc<str>>) -> Self {
        Self {
            claims: claims.into(),
            roles: Arc::default(),
        }
    }

    /// Returns these claims with the roles of a connection that has renewed its token.
    #[must_use]
    pub fn continuing(self, connection: &Self) -> Self {
        Self {
            roles: connection.roles.clone(),
            ..self
        }
    }

    /// Returns all claims of the token, a JSON object.
    pub fn claims(&self) -> &str {
        &self.claims
    }

    /// Returns the role that was granted in a room.
    pub fn role(&self, room_id: RoomId) -> Option<Role> {
        self.lock().get(&room_id).copied()
    }

    /// Grants a role, which replaces an earlier one.
    pub fn grant(&self, room_id: RoomId, role: Role) {
        self.lock().insert(room_id, role);
    }

    /// Ends a grant, if there is one.
    pub fn end(&self, room_id: RoomId) {
        self.lock().remove(&room_id);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomId, Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("roles", &*self.lock())
            .finish_non_exhaustive()
    }
}

/// Two are equal if they state the same claims and belong to one connection.
impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        self.claims == other.claims && Arc::ptr_eq(&self.roles, &other.roles)
    }
}

impl Eq for Grants {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_lasts_until_it_ends_and_survives_a_new_token() {
        let (one, two) = (RoomId::new(1).unwrap(), RoomId::new(2).unwrap());
        let grants = Grants::new(r#"{"plan":"a"}"#);
        grants.grant(one, Role::Reader);
        grants.grant(two, Role::Member);
        grants.grant(one, Role::Owner);
        let renewed = Grants::new(r#"{"plan":"b"}"#).continuing(&grants);
        assert_eq!(renewed.claims(), r#"{"plan":"b"}"#);
        assert_eq!(renewed.role(one), Some(Role::Owner));
        renewed.end(one);
        renewed.end(one);
        assert_eq!(grants.role(one), None);
        assert_eq!(grants.role(two), Some(Role::Member));
        assert!(!format!("{grants:?}").contains("plan"));
    }
}
