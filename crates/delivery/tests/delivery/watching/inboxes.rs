//! Inboxes in memory, and watchers of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chat_delivery::{
    ChangesListener as _, Moment, Recipient as _, RemovalReason, SummaryEncoder, SummaryEvent,
    Watchers,
};
use chat_domain::ports::{
    Changes, Inbox, InboxPage, InboxPosition, ListedRoom, LogCursor, MemberChange, MemberPart,
    MockRoomDirectory, RoomPosition, RoomSnapshot, UserRecord,
};
use chat_domain::{
    DisplayName, Generation, Identity, MemberView, Metadata, Notify, Role, RoomAccess, RoomId,
    RoomKind, RoomOverview, RulesNumber, StorageError, Summary, Timestamp, Until, User, UserId,
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::world::seq;

pub(crate) fn room(number: u64) -> RoomId {
    RoomId::new(number).unwrap()
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// A token of a user that allows every room, or only these.
pub(crate) fn token(id: &str, rooms: Option<&[u64]>) -> Arc<Identity> {
    Arc::new(Identity {
        user: User {
            id: user(id),
            name: DisplayName::from_text(id),
        },
        rooms: match rooms {
            None => RoomAccess::All,
            Some(rooms) => RoomAccess::Only(rooms.iter().map(|n| room(*n)).collect()),
        },
        expires_at: Timestamp::from_unix_millis(0),
        valid_until: Timestamp::from_unix_millis(0),
        grants: None,
        visibility: chat_domain::Visibility::Visible,
        issued_at: None,
    })
}

/// What is stored.
#[derive(Default)]
struct Stored {
    /// The newest position of each room, and when that was stored.
    rooms: BTreeMap<RoomId, (u64, u64)>,
    /// The read pointer of each member.
    members: BTreeMap<(RoomId, UserId), u64>,
    bans: Vec<UserId>,
    activity: u64,
}

/// Inboxes in memory.
pub(crate) struct Inboxes {
    stored: Mutex<Stored>,
    /// So many of the next reads fail.
    pub(crate) failing: AtomicUsize,
    /// This room cannot be read: what is stored is not valid.
    pub(crate) corrupt: AtomicUsize,
    pub(crate) views_read: AtomicUsize,
    pub(crate) pages_read: AtomicUsize,
    /// Views are read while there are permits.
    pub(crate) gate: Semaphore,
}

impl Inboxes {
    fn check(&self, rooms: &[RoomId]) -> Result<(), StorageError> {
        let take = |n: usize| n.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.failing.fetch_update(set, fetch, take).is_ok() {
            return Err(StorageError::unavailable("on purpose"));
        }
        let corrupt = self.corrupt.load(Ordering::SeqCst) as u64;
        match rooms.iter().any(|room_id| room_id.get() == corrupt) {
            true => Err(StorageError::corrupt("on purpose")),
            false => Ok(()),
        }
    }

    fn view(&self, pair: &(RoomId, UserId)) -> Option<MemberView> {
        let read = self.stored.lock().unwrap().members.get(pair).copied()?;
        Some(MemberView {
            role: Role::Member,
            notify: Notify::All,
            read: seq(read),
            mentions: 0,
        })
    }

    fn overview(&self, room_id: RoomId) -> Option<RoomOverview> {
        let (newest, _) = *self.stored.lock().unwrap().rooms.get(&room_id)?;
        Some(RoomOverview {
            room_id,
            kind: RoomKind::Private,
            name: None,
            metadata: Metadata::default(),
            newest: seq(newest),
            rev: chat_domain::Rev::START,
            last_message: None,
        })
    }
}

#[async_trait]
impl Inbox for Inboxes {
    async fn page(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        after: Option<InboxPosition>,
        limit: usize,
    ) -> Result<InboxPage, StorageError> {
        tokio::task::yield_now().await;
        self.pages_read.fetch_add(1, Ordering::SeqCst);
        self.check(&[])?;
        let mut placed: Vec<(u64, RoomId)> = {
            let stored = self.stored.lock().unwrap();
            let own = stored.members.keys().filter(|(_, id)| id == user_id);
            own.map(|(room_id, _)| (stored.rooms[room_id].1, *room_id))
                .collect()
        };
        placed.sort_unstable_by(|one, other| other.cmp(one));
        placed.retain(|(activity, room_id)| {
            let is_allowed = match access {
                RoomAccess::All => true,
                RoomAccess::Only(rooms) => rooms.contains(room_id),
            };
            let is_after = after.is_none_or(|p| (*activity, *room_id) < (p.activity, p.room_id));
            is_allowed && is_after
        });
        let has_more = placed.len() > limit;
        let rooms = placed.into_iter().take(limit).map(|(activity, room_id)| {
            let summary = Summary {
                room: Arc::new(self.overview(room_id).unwrap()),
                member: self.view(&(room_id, user_id.clone())).unwrap(),
            };
            let position = InboxPosition { activity, room_id };
            ListedRoom { position, summary }
        });
        Ok(InboxPage {
            rooms: rooms.collect(),
            has_more,
            unread_total: 0,
        })
    }

    async fn unread_total(&self, _: &UserId, _: &RoomAccess) -> Result<u64, StorageError> {
        unreachable!("a handler reads it")
    }

    async fn overviews(&self, rooms: &[RoomId]) -> Result<Vec<RoomOverview>, StorageError> {
        self.check(rooms)?;
        tokio::task::yield_now().await;
        Ok(rooms.iter().filter_map(|id| self.overview(*id)).collect())
    }

    async fn views(
        &self,
        pairs: &[(RoomId, UserId)],
    ) -> Result<Vec<Option<MemberView>>, StorageError> {
        self.check(&[])?;
        self.views_read.fetch_add(pairs.len(), Ordering::SeqCst);
        let views = pairs.iter().map(|pair| self.view(pair)).collect();
        // What is changed from here on is not in them.
        self.gate.acquire().await.unwrap().forget();
        self.gate.add_permits(1);
        Ok(views)
    }

    async fn set_notify(&self, _: RoomId, _: &UserId, _: Notify) -> Result<bool, StorageError> {
        unreachable!("a use case sets it")
    }
}

/// Frames that a test can read: `1@5/3;` for room 1 at position 5 of which the user has read 3,
/// with `+` for a room that was added; `-1 banned;` for one that was removed.
struct Text;

impl SummaryEncoder for Text {
    fn shared(&self, room: &RoomOverview) -> Box<str> {
        format!("{}@{}", room.room_id, room.newest).into()
    }

    fn summary(
        &self,
        event: SummaryEvent,
        _: &RoomOverview,
        shared: &str,
        member: MemberView,
    ) -> Bytes {
        let sign = match event {
            SummaryEvent::Added => "+",
            SummaryEvent::Updated => "",
            SummaryEvent::Removed(_) => unreachable!("it has no summary"),
        };
        Bytes::from(format!("{sign}{shared}/{};", member.read))
    }

    fn removed(&self, room_id: RoomId, reason: RemovalReason) -> Bytes {
        let reason = match reason {
            RemovalReason::Removed => "removed",
            RemovalReason::Banned => "banned",
            RemovalReason::Closed => "closed",
        };
        Bytes::from(format!("-{room_id} {reason};"))
    }
}

/// Watchers, and what they read.
pub(crate) struct World {
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) watchers: Arc<Watchers<Client>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let inboxes = Arc::new(Inboxes {
            stored: Mutex::default(),
            failing: AtomicUsize::new(0),
            corrupt: AtomicUsize::new(0),
            views_read: AtomicUsize::new(0),
            pages_read: AtomicUsize::new(0),
            gate: Semaphore::new(1),
        });
        let mut directory = MockRoomDirectory::new();
        let stored = inboxes.clone();
        directory.expect_snapshot().returning(move |_, users| {
            let stored = stored.stored.lock().unwrap();
            let record = |user: &UserId| UserRecord {
                banned: stored.bans.contains(user).then_some(Until::Lifted),
                ..UserRecord::default()
            };
            Ok(RoomSnapshot {
                rules: RulesNumber::NONE,
                generation: Generation::FIRST,
                settings: None,
                owners: 0,
                users: users.iter().map(record).collect(),
            })
        });
        let watchers = Watchers::new(
            inboxes.clone(),
            Arc::new(directory),
            Arc::new(Text),
            TaskTracker::new(),
        );
        tokio::spawn(watchers.clone().run());
        tokio::spawn(watchers.clone().keep_windows());
        Self { inboxes, watchers }
    }

    /// Rooms of a user, each at position 1.
    pub(crate) fn with_rooms(id: &str, rooms: std::ops::RangeInclusive<u64>) -> Self {
        let world = Self::new();
        rooms.for_each(|number| world.store_member(number, id));
        world
    }

    pub(crate) async fn watch(&self, client: &Arc<Client>, token: &Arc<Identity>) {
        self.watch_since(client, token, None).await;
    }

    pub(crate) async fn watch_since(
        &self,
        client: &Arc<Client>,
        token: &Arc<Identity>,
        since: Option<Moment>,
    ) {
        self.watchers.watch(client, token, since).await.unwrap();
    }

    /// A client that watches the rooms of a user.
    pub(crate) async fn watching(&self, number: u64, id: &str) -> Arc<Client> {
        let client = Client::new(number);
        self.watch(&client, &token(id, None)).await;
        client
    }

    pub(crate) fn store_member(&self, number: u64, id: &str) {
        let mut stored = self.inboxes.stored.lock().unwrap();
        stored.activity += 1;
        let activity = stored.activity;
        stored.rooms.entry(room(number)).or_insert((1, activity));
        stored.members.insert((room(number), user(id)), 0);
    }

    pub(crate) fn store_removal(&self, number: u64, id: &str) {
        let mut stored = self.inboxes.stored.lock().unwrap();
        stored.members.remove(&(room(number), user(id)));
    }

    pub(crate) fn store_message(&self, number: u64) {
        let mut stored = self.inboxes.stored.lock().unwrap();
        stored.activity += 1;
        let activity = stored.activity;
        let room = stored.rooms.get_mut(&room(number)).unwrap();
        *room = (room.0 + 1, activity);
    }

    pub(crate) fn store_pointer(&self, number: u64, id: &str, read: u64) {
        let mut stored = self.inboxes.stored.lock().unwrap();
        stored.members.insert((room(number), user(id)), read);
    }

    pub(crate) fn ban(&self, number: u64, id: &str) {
        self.store_removal(number, id);
        self.inboxes.stored.lock().unwrap().bans.push(user(id));
    }

    pub(crate) fn close(&self, number: u64) {
        let mut stored = self.inboxes.stored.lock().unwrap();
        stored.rooms.remove(&room(number));
        stored.members.retain(|(id, _), _| *id != room(number));
    }

    /// Reports these rooms and memberships as changed.
    pub(crate) fn report(&self, rooms: &[u64], members: &[(u64, &str)]) {
        self.report_parts(rooms, members, MemberPart::Membership);
    }

    fn report_parts(&self, rooms: &[u64], members: &[(u64, &str)], part: MemberPart) {
        let position = |number: &u64| RoomPosition {
            rev: chat_domain::Rev::START,
            room_id: room(*number),
            newest: seq(1),
            rules: RulesNumber::NONE,
            generation: None,
        };
        let member = |(number, id): &(u64, &str)| MemberChange {
            room_id: room(*number),
            user_id: user(id),
            part,
        };
        self.watchers.changed(&Changes {
            cursor: LogCursor::new(String::new()),
            rooms: Some(rooms.iter().map(position).collect()),
            members: members.iter().map(member).collect(),
        });
    }

    /// Reports that it is not known what has changed.
    pub(crate) fn report_unknown(&self) {
        self.watchers.changed(&Changes {
            cursor: LogCursor::new(String::new()),
            rooms: None,
            members: Vec::new(),
        });
    }

    /// Stores a message and reports it.
    pub(crate) fn send(&self, number: u64) {
        self.store_message(number);
        self.report(&[number], &[]);
    }

    /// Moves a read pointer and reports it.
    pub(crate) fn read(&self, number: u64, id: &str, read: u64) {
        self.store_pointer(number, id, read);
        self.report_pointer(number, id);
    }

    /// Reports that a read pointer has moved.
    pub(crate) fn report_pointer(&self, number: u64, id: &str) {
        self.report_parts(&[], &[(number, id)], MemberPart::ReadPointer);
    }

    pub(crate) fn end(&self, client: &Client) {
        self.watchers.unwatch(client.id());
    }
}
