//! The inboxes that a history leads to, in memory.

use std::collections::BTreeMap;

use chat_domain::ports::SettingsPatch;
use chat_domain::{
    DisplayName, MemberView, Message, Metadata, Notify, Role, RoomAccess, RoomKind, RoomName,
    RoomOverview,
};

use crate::{room, seq};

/// Rooms and users by their ids. Moments are numbers that grow.
#[derive(Default)]
pub(super) struct Model {
    rooms: BTreeMap<u64, Room>,
    pointers: BTreeMap<(u64, String), u64>,
    names: BTreeMap<String, DisplayName>,
    /// The messages of a room that mention a user.
    mentions: BTreeMap<(u64, String), Vec<u64>>,
    moment: u64,
}

#[derive(Default)]
struct Room {
    has_rules: bool,
    is_private: bool,
    name: Option<RoomName>,
    metadata: Metadata,
    last_message: Option<Message>,
    active: Option<u64>,
    members: BTreeMap<String, Member>,
}

struct Member {
    role: Role,
    notify: Notify,
    joined: u64,
}

impl Model {
    pub(super) fn send(&mut self, message: Message) {
        self.moment += 1;
        let author = message.author.id.as_str().to_owned();
        self.names
            .insert(author.clone(), message.author.name.clone());
        let number = message.room_id.get();
        assert_eq!(message.seq.get(), self.newest(number) + 1);
        self.pointers.insert((number, author), message.seq.get());
        for user in message.extras.iter().flat_map(|extras| &extras.mentions) {
            let mentions = self.mentions.entry((number, user.as_str().to_owned()));
            mentions.or_default().push(message.seq.get());
        }
        let moment = self.moment;
        let room = self.room(number);
        room.active = Some(moment);
        room.last_message = Some(message);
    }

    pub(super) fn mark_read(&mut self, number: u64, user: &str, to: u64) {
        let to = to.min(self.newest(number));
        let pointer = self.pointers.entry((number, user.to_owned())).or_default();
        *pointer = to.max(*pointer);
    }

    pub(super) fn set_member(&mut self, number: u64, user: &str, role: Role) {
        self.moment += 1;
        let joined = self.moment;
        let members = &mut self.room(number).members;
        let member = members.entry(user.to_owned()).or_insert(Member {
            role,
            notify: Notify::All,
            joined,
        });
        member.role = role;
    }

    pub(super) fn remove_member(&mut self, number: u64, user: &str) {
        self.room(number).members.remove(user);
    }

    pub(super) fn delete_room(&mut self, number: u64) {
        self.rooms.remove(&number);
    }

    pub(super) fn has_rules(&mut self, number: u64) {
        self.room(number).has_rules = true;
    }

    pub(super) fn set_room(&mut self, number: u64, patch: &SettingsPatch) {
        let room = self.room(number);
        if let Some(kind) = patch.kind {
            room.is_private = kind == RoomKind::Private;
        }
        if let Some(name) = &patch.name {
            room.name = Some(name.clone());
        }
        if let Some(metadata) = &patch.metadata {
            room.metadata = metadata.clone();
        }
    }

    /// Returns whether the user has membership.
    pub(super) fn set_notify(&mut self, number: u64, user: &str, notify: Notify) -> bool {
        let member = self.room(number).members.get_mut(user);
        member.map(|member| member.notify = notify).is_some()
    }

    pub(super) fn newest(&self, number: u64) -> u64 {
        let room = self.rooms.get(&number);
        let message = room.and_then(|room| room.last_message.as_ref());
        message.map_or(0, |message| message.seq.get())
    }

    pub(super) fn overview(&self, number: u64) -> Option<RoomOverview> {
        let state = self.rooms.get(&number).filter(|room| room.has_rules)?;
        let mut last_message = state.last_message.clone();
        if let Some(message) = &mut last_message {
            message.author.name = self.names[message.author.id.as_str()].clone();
        }
        Some(RoomOverview {
            room_id: room(number),
            kind: match state.is_private {
                true => RoomKind::Private,
                false => RoomKind::Open,
            },
            name: state.name.clone(),
            metadata: state.metadata.clone(),
            newest: seq(self.newest(number)),
            rev: chat_domain::Rev::START,
            last_message,
        })
    }

    pub(super) fn view(&self, number: u64, user: &str) -> Option<MemberView> {
        let member = self.rooms.get(&number)?.members.get(user)?;
        Some(MemberView {
            role: member.role,
            notify: member.notify,
            read: seq(self.pointer(number, user)),
            mentions: self.unread_mentions(number, user),
        })
    }

    /// Returns the user's rooms, those with the newest activity first.
    pub(super) fn inbox(&self, user: &str, access: &RoomAccess) -> Vec<u64> {
        let rooms = self.rooms.iter().filter_map(|(number, state)| {
            let is_allowed = match access {
                RoomAccess::All => true,
                RoomAccess::Only(allowed) => allowed.contains(&room(*number)),
            };
            let member = state.members.get(user).filter(|_| is_allowed)?;
            Some((state.active.unwrap_or(member.joined), *number))
        });
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_unstable();
        rooms.into_iter().rev().map(|(_, number)| number).collect()
    }

    pub(super) fn unread_total(&self, user: &str, access: &RoomAccess) -> u64 {
        let rooms = self.inbox(user, access).into_iter();
        let unread = rooms.map(|number| self.newest(number) - self.pointer(number, user));
        unread.sum()
    }

    fn unread_mentions(&self, number: u64, user: &str) -> u64 {
        let mentions = self.mentions.get(&(number, user.to_owned()));
        let unread = mentions.into_iter().flatten();
        let read = self.pointer(number, user);
        unread.filter(|position| **position > read).count() as u64
    }

    fn pointer(&self, number: u64, user: &str) -> u64 {
        let pointer = self.pointers.get(&(number, user.to_owned()));
        pointer.copied().unwrap_or_default()
    }

    fn room(&mut self, number: u64) -> &mut Room {
        self.rooms.entry(number).or_default()
    }
}
