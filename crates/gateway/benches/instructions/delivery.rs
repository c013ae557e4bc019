//! The delivery of a room: order, members, replay and read pointers, to recipients that
//! take everything.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_adapters::LocalRoomEvents;
use chat_delivery::{Gone, LiveGive, Recipient, Rooms};
use chat_domain::ports::{Hint, RoomEvents as _};
use chat_domain::use_cases::{CatchUp, Joining};
use chat_domain::{
    ConnectionId, Membership, Permit, ReadState, RoomEntry, RoomId, RoomSequencer, Seq,
    StoredMessage, UserId,
};
use chat_gateway::bench;
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::log::Log;
use crate::piece::{Entry, Piece};
use crate::samples::{message, paused_runtime, room, seq};

/// Messages per run.
const MESSAGES: u64 = 100;
/// Messages per run of the sequencer.
const SEQUENCED: usize = 1024;
/// How far a hint arrives from its place, as happens with several nodes.
const DISTANCE: usize = 256;
/// Messages per replay.
const REPLAYED: u64 = 1000;
/// Users whose read pointers move at the same time.
const READERS: u64 = 1000;
/// After this time, the next pointer of the same user may be handed out.
const READ_POINTER_PAUSE: Duration = Duration::from_secs(2);

pub(crate) const PIECES: &[Entry] = &[
    Entry("sequencer_in_order", || sequence(1)),
    Entry("sequencer_shuffled", || sequence(DISTANCE)),
    Entry("delivery_to_1_member", || hand_out(1)),
    Entry("delivery_to_each_of_1000_members", || hand_out(1000)),
    Entry("replay_of_a_message", replay),
    Entry("read_pointer_to_1_member", read_pointers),
];

/// Turns hints into one order. Groups of this size arrive in reverse.
fn sequence(distance: usize) -> Piece {
    let mut seqs: Vec<Seq> = (1..=SEQUENCED as u64).map(seq).collect();
    for group in seqs.chunks_mut(distance) {
        group.reverse();
    }
    Piece::new(SEQUENCED, move || {
        let mut sequencer = RoomSequencer::start(Seq::START, SEQUENCED);
        let mut released = 0;
        for seq in &seqs {
            sequencer.offer(*seq, *seq);
            while sequencer.release().is_some() {
                released += 1;
            }
        }
        assert_eq!(released, SEQUENCED);
    })
}

/// Announces messages, one after another, to a room with this many members.
fn hand_out(members: u64) -> Piece {
    let world = World::new(0);
    let members: Vec<_> = (0..members).map(Sink::new).collect();
    for member in &members {
        world.join(member, CatchUp::None);
    }
    // One run warms up, and one is counted.
    let stored = |n| StoredMessage::encode(&message(World::room(), n), bench::encode_message);
    let messages: Vec<_> = (1..=2 * MESSAGES).map(|n| Arc::new(stored(n))).collect();
    let mut messages = messages.into_iter();
    let deliveries = MESSAGES as usize * members.len();
    Piece::new(deliveries, move || {
        world.runtime.block_on(async {
            for message in messages.by_ref().take(MESSAGES as usize) {
                let before: usize = members.last().map_or(0, |member| member.bytes());
                world.announce(RoomEntry::Message(message));
                while members.last().is_some_and(|last| last.bytes() == before) {
                    yield_now().await;
                }
            }
        });
    })
}

/// Joins a room whose log is replayed.
fn replay() -> Piece {
    let world = World::new(REPLAYED);
    let member = Sink::new(0);
    Piece::new(REPLAYED as usize, move || {
        let before = member.bytes();
        world.join(&member, CatchUp::Replay { after: Seq::START });
        assert!(member.bytes() > before + REPLAYED as usize * 100);
    })
}

/// Moves the read pointers of many users at the same time.
fn read_pointers() -> Piece {
    let world = World::new(2);
    let member = Sink::new(0);
    world.join(&member, CatchUp::None);
    let users: Vec<_> = (0..READERS)
        .map(|n| UserId::new(format!("user-{n}")).expect("a valid user id"))
        .collect();
    let mut position = Seq::START;
    Piece::new(READERS as usize, move || {
        position = position.next();
        let before = member.bytes();
        world.runtime.block_on(async {
            for user_id in users.iter().cloned() {
                let seq = position;
                world.announce(RoomEntry::ReadPointer { user_id, seq });
            }
            tokio::time::sleep(READ_POINTER_PAUSE).await;
        });
        assert!(member.bytes() > before + READERS as usize * "markedRead".len());
    })
}

/// The delivery of one room.
struct World {
    runtime: Runtime,
    rooms: Arc<Rooms<Sink>>,
    events: Arc<LocalRoomEvents>,
    newest: Seq,
}

impl World {
    fn room() -> RoomId {
        room(7)
    }

    /// Creates a room with this many stored messages.
    fn new(newest: u64) -> Self {
        let runtime = paused_runtime();
        let log = Arc::new(runtime.block_on(async { Log::start(newest) }));
        let events = Arc::new(LocalRoomEvents::default());
        let rooms = Rooms::new(
            log.clone(),
            log,
            Arc::new(chat_domain::ports::MockChangeRepository::new()),
            events.clone(),
            bench::encoder(),
            Arc::new(()),
            Arc::new(()),
            TaskTracker::new(),
        );
        Self {
            runtime,
            rooms,
            events,
            newest: seq(newest),
        }
    }

    fn join(&self, member: &Arc<Sink>, catch_up: CatchUp) {
        let state = ReadState {
            newest: self.newest,
            read: Seq::START,
        };
        let joining = Joining {
            user_id: UserId::new("1").expect("a valid id"),
            state,
            permit: Permit::OPEN,
            catch_up,
            rev: chat_domain::Rev::START,
            changed: None,
        };
        let mut membership = Membership::default();
        self.runtime
            .block_on(async {
                let entrance = self.rooms.open(Self::room(), member);
                let welcome = |_| Bytes::new();
                entrance.admit(&mut membership, joining, welcome).await
            })
            .expect("the member is connected");
    }

    fn announce(&self, entry: RoomEntry) {
        self.events.announce(Hint {
            room_id: Self::room(),
            generation: chat_domain::Generation::FIRST,
            entry,
        });
    }
}

/// A recipient that takes everything.
struct Sink {
    id: ConnectionId,
    bytes: AtomicUsize,
}

impl Sink {
    fn new(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id: ConnectionId::new(id),
            bytes: AtomicUsize::new(0),
        })
    }

    /// Returns the number of bytes taken so far.
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, frames: &Bytes) {
        self.bytes.fetch_add(frames.len(), Ordering::Relaxed);
    }
}

impl Recipient for Sink {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn give(&self, frames: Bytes) {
        self.take(&frames);
    }

    fn give_live(&self, frames: &Bytes) -> LiveGive {
        // A queue keeps a reference.
        self.take(&black_box(frames.clone()));
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}
