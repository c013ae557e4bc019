//! What follows a change of rules: connections whose users may not see the room any longer are
//! excluded from it, and all nodes are notified.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use chat_delivery::{Recipient as _, RulesListener};
use chat_domain::ports::{Changed, Hint, MembersSet, RoomSettings, RoomSnapshot, SetMember};
use chat_domain::use_cases::{Actor, RulesRequest};
use chat_domain::{
    Action, ChangeSubject, Generation, RoomEntry, RoomId, RoomKind, RulesNumber, StorageError,
    StoredChange, UserId, one_line,
};
use tokio::sync::Notify;

use crate::clients::Clients;
use crate::gateway::Gateway;
use crate::limits::RULES_RETRY_INTERVAL;
use crate::lock;
use crate::socket::client::Client;
use crate::socket::objects::{LeftRoom, MemberChanged, MemberObject, RoomChanged, json};
use crate::socket::packet;

/// How many users one query looks up.
const USERS_AT_ONCE: usize = 1000;
/// If the standing of more users than this may have changed in a room, all of its connections
/// are looked at.
const MAX_USERS: usize = 100;

/// How many changes of members are announced before other tasks have their turn.
const ANNOUNCED_AT_ONCE: usize = 64;

/// The users whose standing with a room may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concerned {
    /// These.
    Users(BTreeSet<UserId>),
    /// Any.
    Everyone,
}

impl Concerned {
    pub(crate) fn user(user_id: &UserId) -> Self {
        Self::Users([user_id.clone()].into())
    }

    fn includes(&self, user_id: &UserId) -> bool {
        match self {
            Self::Users(users) => users.contains(user_id),
            Self::Everyone => true,
        }
    }

    fn extend(&mut self, other: Self) {
        *self = match (std::mem::replace(self, Self::Everyone), other) {
            (Self::Users(mut users), Self::Users(others)) => {
                users.extend(others);
                match users.len() > MAX_USERS {
                    true => Self::Everyone,
                    false => Self::Users(users),
                }
            }
            _ => Self::Everyone,
        };
    }
}

/// The rooms whose rules have changed, and those that were closed, and that this node has not
/// looked at since. At most one entry of each for each active room.
#[derive(Default)]
pub(crate) struct ChangedRules {
    rooms: Mutex<HashMap<RoomId, Concerned>>,
    closed: Mutex<HashSet<RoomId>>,
    has_rooms: Notify,
}

impl RulesListener for ChangedRules {
    fn rules_changed(&self, room_id: RoomId, _: RulesNumber, user: Option<&UserId>) {
        self.add(room_id, user.map_or(Concerned::Everyone, Concerned::user));
    }

    fn room_closed(&self, room_id: RoomId) {
        lock(&self.closed).insert(room_id);
        self.has_rooms.notify_one();
    }
}

impl ChangedRules {
    fn add(&self, room_id: RoomId, concerned: Concerned) {
        let mut rooms = lock(&self.rooms);
        match rooms.get_mut(&room_id) {
            Some(known) => known.extend(concerned),
            None => {
                rooms.insert(room_id, concerned);
            }
        }
        drop(rooms);
        self.has_rooms.notify_one();
    }
}

/// Lets a change that this node has made take effect: connections of this node are excluded, and
/// then all nodes are notified. When this returns, nothing from the room reaches a connection of
/// this node that is excluded. Sockets and the server API both end their changes here.
pub(crate) async fn changed(
    gateway: &Gateway,
    clients: &Clients,
    actor: Actor<'_>,
    room_id: RoomId,
    request: &RulesRequest,
    changed: &Changed,
) {
    if !changed.has_changed {
        return;
    }
    if let Some(concerned) = concerned(request, changed) {
        apply(gateway, clients, room_id, concerned).await;
    }
    let by = match actor {
        Actor::User(identity) => Some(&identity.user.id),
        Actor::Product => None,
    };
    let change = match request {
        RulesRequest::Settings(_) => room_changed(room_id, &changed.settings),
        RulesRequest::User { user_id, .. } => {
            let member = MemberObject::of_change(user_id, changed);
            let event = MemberChanged::new(room_id, member, by);
            StoredChange::new(ChangeSubject::Member(user_id.clone()), json(&event))
        }
    };
    announce(gateway, room_id, changed.generation, changed.rules, change);
}

/// Lets members that the product has set take effect: all nodes are notified. No connection is
/// excluded, because every role may read.
pub(crate) async fn members_set(gateway: &Gateway, room_id: RoomId, set: &MembersSet) {
    let changed: Vec<_> = set.members.iter().filter(|set| set.has_changed).collect();
    if changed.len() > 1 {
        announce_settings(gateway, room_id).await;
    }
    for (place, SetMember { member, .. }) in changed.into_iter().enumerate() {
        let object = MemberObject::of_member(member);
        let event = MemberChanged::new(room_id, object, None);
        let subject = ChangeSubject::Member(member.user.id.clone());
        let change = StoredChange::new(subject, json(&event));
        announce(gateway, room_id, set.generation, set.rules, change);
        if place % ANNOUNCED_AT_ONCE == ANNOUNCED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Announces a room's settings as they are now, so that the nodes learn that the standing of
/// several users may have changed, and clients that there are more members.
async fn announce_settings(gateway: &Gateway, room_id: RoomId) {
    match gateway.permits.snapshot(room_id, &[]).await {
        Ok(RoomSnapshot {
            rules,
            generation,
            settings: Some(settings),
            ..
        }) => announce(
            gateway,
            room_id,
            generation,
            rules,
            room_changed(room_id, &settings),
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(error = %one_line(&error), room = %room_id, "changed rules cannot be read");
        }
    }
}

/// Returns the users whom a change may exclude.
fn concerned(request: &RulesRequest, changed: &Changed) -> Option<Concerned> {
    match request {
        RulesRequest::User { user_id, .. } => Some(Concerned::user(user_id)),
        RulesRequest::Settings(_) => match changed.settings.rules.kind {
            RoomKind::Open => None,
            RoomKind::Private => Some(Concerned::Everyone),
        },
    }
}

fn room_changed(room_id: RoomId, settings: &RoomSettings) -> StoredChange {
    let event = RoomChanged::new(room_id, settings);
    StoredChange::new(ChangeSubject::Room, json(&event))
}

fn announce(
    gateway: &Gateway,
    room_id: RoomId,
    generation: Generation,
    number: RulesNumber,
    change: StoredChange,
) {
    gateway.events.announce(Hint {
        room_id,
        generation,
        entry: RoomEntry::Rules {
            number,
            change: Arc::new(change),
        },
    });
}

/// Applies what other nodes change, and what could not be applied at once. Runs until it is
/// dropped.
pub(crate) async fn apply_changes(gateway: Arc<Gateway>, clients: Arc<Clients>) {
    let changed = &gateway.changed_rules;
    loop {
        changed.has_rooms.notified().await;
        let closed = std::mem::take(&mut *lock(&changed.closed));
        for room_id in closed {
            exclude_from_closed(&gateway, &clients, room_id);
        }
        let rooms = std::mem::take(&mut *lock(&changed.rooms));
        let mut has_failed = false;
        for (room_id, concerned) in rooms {
            has_failed |= !apply(&gateway, &clients, room_id, concerned).await;
        }
        if has_failed {
            tokio::time::sleep(RULES_RETRY_INTERVAL).await;
        }
    }
}

/// Excludes the connections of this node whose users may not see the room any longer, also from
/// watching it. If the rules cannot be read, it is tried again later. Returns whether they were.
pub(crate) async fn apply(
    gateway: &Gateway,
    clients: &Clients,
    room_id: RoomId,
    concerned: Concerned,
) -> bool {
    match &concerned {
        Concerned::Users(users) => gateway.watchers.recheck(room_id, users),
        Concerned::Everyone => gateway.watchers.recheck_room(room_id),
    }
    let outcome = exclude(gateway, clients, room_id, &concerned).await;
    if let Err(error) = &outcome {
        tracing::warn!(error = %one_line(error), room = %room_id, "changed rules cannot be read");
        gateway.changed_rules.add(room_id, concerned);
    }
    outcome.is_ok()
}

/// Excludes the connections of this node that are in a room which was closed. Nothing is read:
/// whatever the room with its number is now, it is not the one that they joined.
pub(crate) fn exclude_from_closed(gateway: &Gateway, clients: &Clients, room_id: RoomId) {
    let members = gateway.rooms.members_of_closed(room_id);
    let ids = members.iter().map(|member| member.id()).collect();
    for client in clients.with_ids(&ids) {
        let farewell = packet::event("leftRoom", &LeftRoom::closed(room_id));
        client.exclusions.add(room_id, || {
            let excluded = gateway.rooms.exclude_closed(room_id, client.id(), farewell);
            end_grant_if(excluded, &client, room_id)
        });
    }
}

/// Ends what the access hook has granted to a connection, if that was excluded. Returns whether
/// it was.
fn end_grant_if(excluded: bool, client: &Client, room_id: RoomId) -> bool {
    if excluded {
        client.identity().end_grant(room_id);
    }
    excluded
}

async fn exclude(
    gateway: &Gateway,
    clients: &Clients,
    room_id: RoomId,
    concerned: &Concerned,
) -> Result<(), StorageError> {
    let recipients = gateway.rooms.recipients(room_id);
    let ids = recipients.iter().map(|recipient| recipient.id()).collect();
    let mut inside: BTreeMap<UserId, Vec<Arc<Client>>> = BTreeMap::new();
    for client in clients.with_ids(&ids) {
        let user_id = client.identity().user.id.clone();
        if concerned.includes(&user_id) {
            inside.entry(user_id).or_default().push(client);
        }
    }
    let users: Vec<UserId> = inside.keys().cloned().collect();
    for users in users.chunks(USERS_AT_ONCE) {
        let snapshot = gateway.permits.snapshot(room_id, users).await?;
        if !gateway.rooms.note_generation(room_id, snapshot.generation) {
            exclude_from_closed(gateway, clients, room_id);
            return Ok(());
        }
        for (user_id, record) in users.iter().zip(&snapshot.users) {
            for client in inside.get(user_id).into_iter().flatten() {
                let identity = client.identity();
                if record.role.is_some() {
                    // From now on, membership alone decides, also when it ends.
                    identity.end_grant(room_id);
                }
                let permit = gateway.permits.of(&identity, room_id, &snapshot, *record);
                if permit.decide(Action::Read).is_err() {
                    let left = match record.banned {
                        // It has not joined it yet.
                        _ if snapshot.is_closed() => LeftRoom::closed(room_id),
                        Some(_) => LeftRoom::banned(room_id),
                        None => LeftRoom::removed(room_id),
                    };
                    let farewell = packet::event("leftRoom", &left);
                    client.exclusions.add(room_id, || {
                        let excluded = gateway.rooms.exclude(room_id, client.id(), farewell);
                        end_grant_if(excluded, client, room_id)
                    });
                }
            }
        }
    }
    Ok(())
}
