//! A simulated client: it queues what it is handed, reads at its own pace, and joins, leaves
//! and vanishes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chat_delivery::{Admission, Encoder, Gone, LiveGive, Recipient, Rooms};
use chat_domain::use_cases::{JoinRoom, LeaveRoom};
use chat_domain::{
    ChangedMessage, ConnectionId, DisplayName, Identity, Membership, Message, ReactionKey,
    RoomAccess, RoomId, Seq, StoredChange, StoredMessage, Timestamp, User, UserId,
};
use tokio::sync::{Notify, mpsc};

use crate::judge::{Frame, Judge};
use crate::log::seq;

/// A client takes what is live while fewer frames are queued, and more from the log while
/// fewer still are.
const LIVE_FRAMES: usize = 20;
const SPACE_FRAMES: usize = 8;

/// How fast a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    /// This many frames per tick.
    Slow(usize),
    Stopped,
}

/// What a client does, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Join { room_id: RoomId, after: Option<u64> },
    Leave { room_id: RoomId },
    Vanish,
}

/// A connection.
pub(crate) struct Client {
    pub(crate) number: u64,
    judge: Arc<Judge>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    queued: usize,
    pace: Pace,
    is_gone: bool,
}

impl Client {
    pub(crate) fn new(number: u64, judge: Arc<Judge>) -> Arc<Self> {
        Arc::new(Self {
            number,
            judge,
            state: Mutex::new(State {
                queued: 0,
                pace: Pace::AtOnce,
                is_gone: false,
            }),
            changed: Notify::new(),
        })
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.state.lock().unwrap().pace = pace;
        self.tick();
    }

    /// Reads for one tick.
    pub(crate) fn tick(&self) {
        let mut state = self.state.lock().unwrap();
        let read = match state.pace {
            Pace::AtOnce => state.queued,
            Pace::Slow(frames) => frames.min(state.queued),
            Pace::Stopped => 0,
        };
        state.queued -= read;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Carries out acts as they arrive.
    pub(crate) async fn act(
        self: Arc<Self>,
        mut acts: mpsc::UnboundedReceiver<Act>,
        rooms: Arc<Rooms<Client>>,
        join: JoinRoom,
    ) {
        let leave = LeaveRoom::new(rooms.clone());
        let mut membership = Membership::default();
        let identity = Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(i64::MAX),
            valid_until: Timestamp::from_unix_millis(i64::MAX),
            grants: None,
        };
        while let Some(act) = acts.recv().await {
            self.judge.note(format_args!("{} {act:?}", self.number));
            match act {
                Act::Join { room_id, after } => {
                    self.judge.begins_to_join(self.number, room_id);
                    let enter = || rooms.open(room_id, &self);
                    let joining = join.execute(&identity, room_id, after.map(seq), None, enter);
                    let Ok((entrance, joining)) = joining.await else {
                        continue;
                    };
                    let after = after.map(|after| after.min(joining.state.newest.get()));
                    self.judge.joins(self.number, room_id, after);
                    let welcome = |Admission { seam, missed, .. }| {
                        let missed = missed.map(|m| format!("{}-{}", m.from, m.to));
                        let missed = missed.unwrap_or_default();
                        Bytes::from(format!("j:{room_id}:{seam}:{missed};"))
                    };
                    match entrance.admit(&mut membership, joining, welcome).await {
                        Ok(()) => self.judge.is_admitted(self.number, room_id),
                        Err(_) => self.judge.left(self.number, room_id),
                    }
                }
                Act::Leave { room_id } => {
                    leave.execute(self.id(), &mut membership, room_id);
                    self.judge.left(self.number, room_id);
                }
                Act::Vanish => {
                    leave.execute_for_all(self.id(), &mut membership);
                    for room_id in self.judge.rooms_of(self.number) {
                        self.judge.left(self.number, room_id);
                    }
                    return;
                }
            }
        }
    }

    /// Disconnects: nothing that is handed over from now on arrives.
    pub(crate) fn disconnect(&self) {
        self.state.lock().unwrap().is_gone = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.state.lock().unwrap().is_gone
    }
}

impl Recipient for Client {
    fn id(&self) -> ConnectionId {
        ConnectionId::new(self.number)
    }

    fn give(&self, frames: Bytes) {
        let frames: Vec<_> = parse(&frames).collect();
        let mut state = self.state.lock().unwrap();
        if state.is_gone {
            return;
        }
        if state.pace != Pace::AtOnce {
            state.queued += frames.len();
        }
        drop(state);
        for frame in frames {
            self.judge.handed(self.number, frame);
        }
    }

    fn give_live(&self, frames: &Bytes) -> LiveGive {
        if self.state.lock().unwrap().queued >= LIVE_FRAMES {
            return LiveGive::Full;
        }
        self.give(frames.clone());
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state.lock().unwrap();
                if state.is_gone {
                    return Err(Gone);
                }
                if state.queued < SPACE_FRAMES {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    fn is_gone(&self) -> bool {
        !self.is_connected()
    }
}

fn parse(frames: &Bytes) -> impl Iterator<Item = Frame> + '_ {
    let text = std::str::from_utf8(frames).unwrap();
    text.split_terminator(';').map(|frame| {
        let fields: Vec<&str> = frame.split(':').collect();
        let number = |n: usize| fields[n].parse::<u64>().unwrap();
        let room_id = RoomId::new(number(1)).unwrap();
        match fields[0] {
            "m" => Frame::Message {
                room_id,
                seq: number(2),
            },
            "r" => Frame::ReadPointer {
                room_id,
                user: number(2),
                seq: number(3),
            },
            "c" => Frame::RulesChange {
                room_id,
                user: number(2),
                rules: number(3),
            },
            "x" => Frame::Farewell { room_id },
            "j" => Frame::Joined {
                room_id,
                seam: number(2),
                missed: fields[3].split_once('-').map(|(from, to)| {
                    let number = |text: &str| text.parse().unwrap();
                    (number(from), number(to))
                }),
            },
            other => unreachable!("{other}"),
        }
    })
}

/// Returns the frame of a message.
pub(crate) fn frame(room_id: RoomId, seq: Seq) -> String {
    format!("m:{room_id}:{seq};")
}

/// Frames that name their room, message and user.
pub(crate) struct Text;

impl Encoder for Text {
    fn message(&self, message: &StoredMessage) -> Bytes {
        Bytes::from(message.encoded().to_owned())
    }

    fn logged_message(&self, message: Message, _: &[ReactionKey]) -> Bytes {
        frame(message.room_id, message.seq).into()
    }

    fn changed_message(
        &self,
        room_id: RoomId,
        changed: ChangedMessage,
        is_merged: bool,
        _: &[ReactionKey],
    ) -> Bytes {
        let rev = changed
            .message
            .changes
            .as_ref()
            .map_or(0, |changes| changes.rev.get());
        let by = changed
            .by
            .filter(|_| !is_merged)
            .map(|by| format!(" by {by}"));
        let by = by.unwrap_or_default();
        Bytes::from(format!("{room_id}/{}@{rev}{by};", changed.message.seq))
    }

    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        Bytes::from(format!("r:{room_id}:{user_id}:{seq};"))
    }

    fn rules_change(&self, change: &StoredChange) -> Bytes {
        Bytes::from(change.encoded().to_owned())
    }
}
