//! A user or the product changes a room's rules, its members, bans or mutes.

use super::Permits;
use crate::ports::{ChangeError, Changed, RoomChange, RoomSnapshot, SettingsPatch, UserRecord};
use crate::{AccessDenied, Action, Identity, Role, RoomId, RoomKind, StorageError, UserId};

/// How often a change is decided again because the rules changed meanwhile.
const ATTEMPTS: usize = 10;

/// Decides whether a room's rules may be changed, and changes them.
#[derive(Clone)]
pub struct ChangeRules {
    permits: Permits,
}

/// The party that asks for a change.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// A user, whom the rules bind.
    User(&'a Identity),
    /// The product's backend, which may change everything.
    Product,
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesRequest {
    /// The room's settings.
    Settings(SettingsPatch),
    /// A user in the room.
    User {
        /// The user.
        user_id: UserId,
        /// What is to become of it.
        change: RulesChange,
    },
}

/// What is to become of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesChange {
    /// A member with this role.
    Role(Role),
    /// Not a member.
    Remove,
    /// Banned, for this many seconds or until the ban is lifted.
    Ban(Option<u32>),
    /// Not banned.
    Unban,
    /// Muted, for this many seconds or until the mute is lifted.
    Mute(Option<u32>),
    /// Not muted.
    Unmute,
}

/// Why rules were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRulesError {
    /// The actor may not do this.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The room would be left without an owner.
    #[error("the room's last owner cannot be removed or demoted")]
    LastOwner,
    /// A banned user cannot become a member.
    #[error("the user is banned: lift the ban first")]
    Banned,
    /// The rules could not be read, or not be changed.
    #[error("the rules cannot be changed now")]
    Storage(#[source] StorageError),
}

impl ChangeRules {
    /// Creates the use case over these permits.
    pub fn new(permits: Permits) -> Self {
        Self { permits }
    }

    /// Makes the change if the actor may. When it returns, no process stores what the change
    /// forbids. What is so already is not changed, and the room keeps its number.
    ///
    /// # Errors
    /// [`ChangeRulesError`].
    pub async fn execute(
        &self,
        actor: Actor<'_>,
        room_id: RoomId,
        request: &RulesRequest,
    ) -> Result<Changed, ChangeRulesError> {
        let own_id = match actor {
            Actor::User(identity) if !identity.may_join(room_id) => {
                return Err(AccessDenied::NotFound.into());
            }
            Actor::User(identity) => Some(&identity.user.id),
            Actor::Product => None,
        };
        let target_id = match request {
            RulesRequest::Settings(_) => None,
            RulesRequest::User { user_id, .. } => Some(user_id),
        };
        let mut users: Vec<UserId> = own_id.into_iter().chain(target_id).cloned().collect();
        // A user that changes its own standing is both the first and the last.
        users.dedup();
        for _ in 0..ATTEMPTS {
            let snapshot = self.permits.directory().snapshot(room_id, &users).await;
            let snapshot = snapshot.map_err(ChangeRulesError::Storage)?;
            let own = snapshot.users.first().copied().unwrap_or_default();
            let target = snapshot.users.last().copied().unwrap_or_default();
            if let Actor::User(identity) = actor {
                let permit = self.permits.of(identity, room_id, &snapshot, own);
                permit.decide(match request {
                    RulesRequest::Settings(_) => Action::ChangeRoom,
                    RulesRequest::User { change, .. } if own_id == target_id => {
                        own_action(own, *change)
                    }
                    RulesRequest::User { change, .. } => action(target, *change),
                })?;
            }
            keep_order(&snapshot, target, request)?;
            match self.change(room_id, &snapshot, request).await {
                Ok(changed) => return Ok(changed),
                Err(ChangeError::RulesChanged) => {}
                Err(ChangeError::Storage(error)) => return Err(ChangeRulesError::Storage(error)),
            }
        }
        let busy = StorageError::unavailable("others change the room's rules without pause");
        Err(ChangeRulesError::Storage(busy))
    }

    /// Makes the change that was decided by this snapshot. A room's first change makes it open
    /// unless it says otherwise; if rooms are private by default, it has to say so.
    async fn change(
        &self,
        room_id: RoomId,
        snapshot: &RoomSnapshot,
        request: &RulesRequest,
    ) -> Result<Changed, ChangeError> {
        let directory = self.permits.directory();
        let mut decided_by = snapshot.rules;
        let mut change = change(request);
        let kind = self.permits.default_kind();
        if snapshot.settings.is_none() && kind == RoomKind::Private {
            if let RoomChange::Settings(patch) = &mut change {
                patch.kind.get_or_insert(kind);
            } else {
                let first = RoomChange::Settings(SettingsPatch {
                    kind: Some(kind),
                    ..SettingsPatch::default()
                });
                // The decision holds for the number that follows: nothing else has changed.
                decided_by = directory.change(room_id, decided_by, &first).await?.rules;
            }
        }
        directory.change(room_id, decided_by, &change).await
    }
}

/// Returns what a user does that changes its own standing.
fn own_action(own: UserRecord, change: RulesChange) -> Action {
    match change {
        RulesChange::Role(role) if own.role == Some(role) => Action::Read,
        RulesChange::Role(role) if own.role.is_none() => Action::JoinAs(role),
        RulesChange::Role(_) => Action::ChangeRole,
        RulesChange::Remove => Action::Leave,
        RulesChange::Ban(_) | RulesChange::Unban | RulesChange::Mute(_) | RulesChange::Unmute => {
            Action::Sanction(own.role)
        }
    }
}

/// Returns what a user does that changes the standing of another one. A user may repeat a request
/// that it could make, as long as its own role is the same.
fn action(target: UserRecord, change: RulesChange) -> Action {
    match (change, target.role) {
        (RulesChange::Role(role), None) => Action::Add(role),
        // Owners are not added, but made by a change of their role.
        (RulesChange::Role(role), Some(current)) if role == current && role < Role::Owner => {
            Action::Add(role)
        }
        (RulesChange::Role(_), Some(_)) => Action::ChangeRole,
        (RulesChange::Remove, role) => Action::Remove(role.unwrap_or(Role::Reader)),
        (
            RulesChange::Ban(_) | RulesChange::Unban | RulesChange::Mute(_) | RulesChange::Unmute,
            role,
        ) => Action::Sanction(role),
    }
}

/// Checks what no actor may do.
fn keep_order(
    snapshot: &RoomSnapshot,
    target: UserRecord,
    request: &RulesRequest,
) -> Result<(), ChangeRulesError> {
    let RulesRequest::User { change, .. } = request else {
        return Ok(());
    };
    let is_last_owner = target.role == Some(Role::Owner) && snapshot.owners <= 1;
    match change {
        RulesChange::Role(_) if target.banned.is_some() => Err(ChangeRulesError::Banned),
        RulesChange::Role(Role::Owner) => Ok(()),
        RulesChange::Role(_) | RulesChange::Remove | RulesChange::Ban(_) if is_last_owner => {
            Err(ChangeRulesError::LastOwner)
        }
        _ => Ok(()),
    }
}

fn change(request: &RulesRequest) -> RoomChange {
    let (user_id, change) = match request {
        RulesRequest::Settings(patch) => return RoomChange::Settings(patch.clone()),
        RulesRequest::User { user_id, change } => (user_id.clone(), *change),
    };
    match change {
        RulesChange::Role(role) => RoomChange::SetMember { user_id, role },
        RulesChange::Remove => RoomChange::RemoveMember { user_id },
        RulesChange::Ban(seconds) => RoomChange::Ban { user_id, seconds },
        RulesChange::Unban => RoomChange::Unban { user_id },
        RulesChange::Mute(seconds) => RoomChange::Mute { user_id, seconds },
        RulesChange::Unmute => RoomChange::Unmute { user_id },
    }
}

#[cfg(test)]
mod tests;
