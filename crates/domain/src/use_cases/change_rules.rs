//! A user or the product changes a room's rules, its members, bans or mutes.

use super::Permits;
use crate::ports::{
    ChangeError, Changed, MembersSet, RoomChange, RoomSnapshot, SettingsPatch, UserRecord,
};
use crate::{
    AccessDenied, Action, Identity, NewMember, Role, RoomId, RoomKind, RulesNumber, Sanction,
    StorageError, UserId,
};

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

/// What a request for a room's settings has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The room had no settings before.
    Created,
    /// It had settings before, perhaps the same.
    Changed,
}

/// What is to become of a user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesChange {
    /// A member with this role.
    Role(Role),
    /// Not a member.
    Remove,
    /// Banned.
    Ban(Sanction),
    /// Not banned.
    Unban,
    /// Muted.
    Mute(Sanction),
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
    /// The room is being deleted. Users do not see it.
    #[error("the room is being deleted")]
    Closed,
    /// The rules could not be read, or not be changed.
    #[error("the rules cannot be changed now")]
    Storage(#[source] StorageError),
}

impl ChangeRules {
    /// Creates the use case over these permits.
    pub fn new(permits: Permits) -> Self {
        Self { permits }
    }

    /// Gives a room these settings at the product's request, and returns whether it had any
    /// before.
    ///
    /// # Errors
    /// [`ChangeRulesError::Closed`] and [`ChangeRulesError::Storage`].
    pub async fn put_room(
        &self,
        room_id: RoomId,
        patch: SettingsPatch,
    ) -> Result<(Changed, Put), ChangeRulesError> {
        let request = RulesRequest::Settings(patch);
        let (snapshot, changed) = self.decide(Actor::Product, room_id, &request).await?;
        let put = match snapshot.settings {
            Some(_) => Put::Changed,
            None => Put::Created,
        };
        Ok((changed, put))
    }

    /// Adds these members at the product's request, or changes their roles: all of them, or
    /// none. They are in ascending order of their ids, each once.
    ///
    /// # Errors
    /// [`ChangeRulesError`], except for [`ChangeRulesError::Denied`].
    pub async fn set_members(
        &self,
        room_id: RoomId,
        members: &[NewMember],
    ) -> Result<MembersSet, ChangeRulesError> {
        let users: Vec<UserId> = members.iter().map(|new| new.user_id.clone()).collect();
        for _ in 0..ATTEMPTS {
            let snapshot = self.permits.directory().snapshot(room_id, &users).await;
            let snapshot = snapshot.map_err(ChangeRulesError::Storage)?;
            if snapshot.is_closed() {
                return Err(ChangeRulesError::Closed);
            }
            keep_owner(&snapshot, members)?;
            match self.try_to_set(room_id, &snapshot, members).await {
                Ok(set) => return Ok(set),
                Err(ChangeError::RulesChanged) => {}
                Err(ChangeError::Storage(error)) => return Err(ChangeRulesError::Storage(error)),
            }
        }
        Err(busy())
    }

    /// Sets members as was decided by this snapshot.
    async fn try_to_set(
        &self,
        room_id: RoomId,
        snapshot: &RoomSnapshot,
        members: &[NewMember],
    ) -> Result<MembersSet, ChangeError> {
        let decided_by = match self.needs_kind(snapshot) {
            Some(kind) => self.set_kind(room_id, snapshot.rules, kind, None).await?,
            None => snapshot.rules,
        };
        let directory = self.permits.directory();
        directory.set_members(room_id, decided_by, members).await
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
        let (_, changed) = self.decide(actor, room_id, request).await?;
        Ok(changed)
    }

    /// Makes the change, and returns by which snapshot it was decided.
    async fn decide(
        &self,
        actor: Actor<'_>,
        room_id: RoomId,
        request: &RulesRequest,
    ) -> Result<(RoomSnapshot, Changed), ChangeRulesError> {
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
                        own_action(own, change)
                    }
                    RulesRequest::User { change, .. } => action(target, change),
                })?;
            }
            if snapshot.is_closed() {
                return Err(ChangeRulesError::Closed);
            }
            keep_order(&snapshot, target, request)?;
            match self
                .change(room_id, &snapshot, request, own_id.cloned())
                .await
            {
                Ok(changed) => return Ok((snapshot, changed)),
                Err(ChangeError::RulesChanged) => {}
                Err(ChangeError::Storage(error)) => return Err(ChangeRulesError::Storage(error)),
            }
        }
        Err(busy())
    }

    /// Makes the change that was decided by this snapshot. A room's first change makes it open
    /// unless it says otherwise; if rooms are private by default, it has to say so.
    async fn change(
        &self,
        room_id: RoomId,
        snapshot: &RoomSnapshot,
        request: &RulesRequest,
        by: Option<UserId>,
    ) -> Result<Changed, ChangeError> {
        let directory = self.permits.directory();
        let mut decided_by = snapshot.rules;
        let mut change = change(request);
        if let Some(kind) = self.needs_kind(snapshot) {
            if let RoomChange::Settings(patch) = &mut change {
                patch.kind.get_or_insert(kind);
            } else {
                decided_by = self.set_kind(room_id, decided_by, kind, by.clone()).await?;
            }
        }
        directory.change(room_id, decided_by, &change, by).await
    }

    /// Returns the kind that the room's first change has to give it, if it must.
    fn needs_kind(&self, snapshot: &RoomSnapshot) -> Option<RoomKind> {
        let kind = self.permits.default_kind();
        (snapshot.settings.is_none() && kind == RoomKind::Private).then_some(kind)
    }

    /// Gives a room without settings its kind. What was decided by the previous number holds for
    /// the one that this returns: nothing else has changed.
    async fn set_kind(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        kind: RoomKind,
        by: Option<UserId>,
    ) -> Result<RulesNumber, ChangeError> {
        let first = RoomChange::Settings(SettingsPatch {
            kind: Some(kind),
            ..SettingsPatch::default()
        });
        let directory = self.permits.directory();
        let changed = directory.change(room_id, decided_by, &first, by).await?;
        Ok(changed.rules)
    }
}

fn busy() -> ChangeRulesError {
    let busy = StorageError::unavailable("others change the room's rules without pause");
    ChangeRulesError::Storage(busy)
}

/// Checks that these members may be set: none is banned, and an owner is left.
fn keep_owner(snapshot: &RoomSnapshot, members: &[NewMember]) -> Result<(), ChangeRulesError> {
    if snapshot.users.iter().any(|record| record.banned.is_some()) {
        return Err(ChangeRulesError::Banned);
    }
    let is_owner = |role: Option<Role>| u64::from(role == Some(Role::Owner));
    let named: u64 = members.iter().map(|new| is_owner(Some(new.role))).sum();
    let before: u64 = snapshot.users.iter().map(|user| is_owner(user.role)).sum();
    let others = snapshot.owners.saturating_sub(before);
    match snapshot.owners > 0 && named + others == 0 {
        true => Err(ChangeRulesError::LastOwner),
        false => Ok(()),
    }
}

/// Returns what a user does that changes its own standing.
fn own_action(own: UserRecord, change: &RulesChange) -> Action {
    match change {
        RulesChange::Role(role) if own.role == Some(*role) => Action::Read,
        RulesChange::Role(role) if own.role.is_none() => Action::JoinAs(*role),
        RulesChange::Role(_) => Action::ChangeRole,
        RulesChange::Remove => Action::Leave,
        RulesChange::Ban(_) | RulesChange::Unban | RulesChange::Mute(_) | RulesChange::Unmute => {
            Action::Sanction(own.role)
        }
    }
}

/// Returns what a user does that changes the standing of another one. A user may repeat a request
/// that it could make, as long as its own role is the same.
fn action(target: UserRecord, change: &RulesChange) -> Action {
    match (change, target.role) {
        (RulesChange::Role(role), None) => Action::Add(*role),
        // Owners are not added, but made by a change of their role.
        (RulesChange::Role(role), Some(current)) if *role == current && *role < Role::Owner => {
            Action::Add(*role)
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
        RulesRequest::User { user_id, change } => (user_id.clone(), change.clone()),
    };
    match change {
        RulesChange::Role(role) => RoomChange::SetMember { user_id, role },
        RulesChange::Remove => RoomChange::RemoveMember { user_id },
        RulesChange::Ban(sanction) => RoomChange::Ban { user_id, sanction },
        RulesChange::Unban => RoomChange::Unban { user_id },
        RulesChange::Mute(sanction) => RoomChange::Mute { user_id, sanction },
        RulesChange::Unmute => RoomChange::Unmute { user_id },
    }
}

#[cfg(test)]
mod tests;
