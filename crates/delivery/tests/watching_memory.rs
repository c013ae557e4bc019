//! What watching costs in memory: a process of its own, whose inboxes are computed and not
//! stored.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chat_delivery::{
    Gone, LiveGive, Recipient, RemovalReason, SummaryEncoder, SummaryEvent, Watchers,
};
use chat_domain::ports::{Inbox, InboxPage, InboxPosition, ListedRoom, MockRoomDirectory};
use chat_domain::{
    ConnectionId, DisplayName, Identity, MemberView, Metadata, Notify, Role, RoomAccess, RoomId,
    RoomKind, RoomOverview, Seq, StorageError, Summary, Timestamp, User, UserId,
};
use tokio_util::task::TaskTracker;

/// The rooms of each user.
const ROOMS: u64 = 1000;
/// What a user and a room may cost, in bytes, and what a room may.
const MAX_PER_PAIR: u64 = 100;
const MAX_PER_ROOM: u64 = 2048;

/// Inboxes of users whose ids are numbers.
struct Inboxes {
    /// Whether no two users share a room.
    are_distinct: bool,
}

#[async_trait]
impl Inbox for Inboxes {
    async fn page(
        &self,
        user_id: &UserId,
        _: &RoomAccess,
        after: Option<InboxPosition>,
        limit: usize,
    ) -> Result<InboxPage, StorageError> {
        let user: u64 = user_id.as_str().parse().unwrap();
        let base = if self.are_distinct { user * ROOMS } else { 0 };
        let first = after.map_or(1, |position| position.activity + 1);
        let last = ROOMS.min(first + limit as u64 - 1);
        let rooms = (first..=last).map(|place| {
            let room_id = RoomId::new(base + place).unwrap();
            let room = RoomOverview {
                room_id,
                kind: RoomKind::Private,
                name: None,
                metadata: Metadata::default(),
                newest: Seq::START,
                rev: chat_domain::Rev::START,
                last_message: None,
            };
            let member = MemberView {
                role: Role::Member,
                notify: Notify::All,
                read: Seq::START,
                mentions: 0,
            };
            ListedRoom {
                position: InboxPosition {
                    activity: place,
                    room_id,
                },
                summary: Summary {
                    room: Arc::new(room),
                    member,
                },
            }
        });
        Ok(InboxPage {
            rooms: rooms.collect(),
            has_more: last < ROOMS,
            unread_total: 0,
        })
    }

    async fn unread_total(&self, _: &UserId, _: &RoomAccess) -> Result<u64, StorageError> {
        unreachable!("a handler reads it")
    }

    async fn overviews(&self, _: &[RoomId]) -> Result<Vec<RoomOverview>, StorageError> {
        unreachable!("nothing changes")
    }

    async fn views(&self, _: &[(RoomId, UserId)]) -> Result<Vec<Option<MemberView>>, StorageError> {
        unreachable!("nothing changes")
    }

    async fn set_notify(&self, _: RoomId, _: &UserId, _: Notify) -> Result<bool, StorageError> {
        unreachable!("a use case sets it")
    }
}

struct Encoder;

impl SummaryEncoder for Encoder {
    fn shared(&self, room: &RoomOverview) -> Box<str> {
        room.room_id.to_string().into()
    }

    fn summary(&self, _: SummaryEvent, _: &RoomOverview, _: &str, _: MemberView) -> Bytes {
        unreachable!("nothing changes")
    }

    fn removed(&self, _: RoomId, _: RemovalReason) -> Bytes {
        unreachable!("nothing changes")
    }
}

struct Client(ConnectionId);

impl Recipient for Client {
    fn id(&self) -> ConnectionId {
        self.0
    }

    fn give(&self, _: Bytes) {}

    fn give_live(&self, _: &Bytes) -> LiveGive {
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

/// Lets users watch. Returns what they watch with, and by how many bytes the process has grown for
/// each user and room.
async fn growth(users: u64, are_distinct: bool) -> (Arc<Watchers<Client>>, u64) {
    let watchers = Watchers::new(
        Arc::new(Inboxes { are_distinct }),
        Arc::new(MockRoomDirectory::new()),
        Arc::new(Encoder),
        TaskTracker::new(),
    );
    let before = resident();
    for number in 0..users {
        let identity = Arc::new(Identity {
            user: User {
                id: UserId::new(number.to_string()).unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
            visibility: chat_domain::Visibility::Visible,
            issued_at: None,
        });
        let client = Arc::new(Client(ConnectionId::new(number)));
        watchers.watch(&client, &identity, None).await.unwrap();
    }
    let rooms = if are_distinct { users * ROOMS } else { ROOMS };
    assert_eq!(
        watchers.counts(),
        (
            usize::try_from(users).unwrap(),
            usize::try_from(rooms).unwrap()
        )
    );
    let grown = resident().saturating_sub(before);
    (watchers, grown / (users * ROOMS))
}

async fn check(users: u64) {
    // Both are kept, so that neither reuses the memory of the other.
    let (_shared, per_pair) = growth(users, false).await;
    let (_distinct, per_room) = growth(users, true).await;
    println!(
        "{users} users with {ROOMS} rooms each: the same rooms, {per_pair} bytes per user and \
         room; different rooms, {per_room} bytes per room and its user"
    );
    assert!(per_pair < MAX_PER_PAIR, "{per_pair}");
    assert!(per_room < MAX_PER_ROOM + MAX_PER_PAIR, "{per_room}");
}

#[tokio::test]
async fn a_watched_room_costs_little_memory() {
    check(100).await;
}

#[tokio::test]
#[ignore = "the same at full size; docs/performance.md has its figures"]
async fn a_million_watched_rooms_cost_little_memory() {
    check(1000).await;
}
