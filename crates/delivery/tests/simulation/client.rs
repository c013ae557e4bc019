//! A simulated client: it queues what it is handed, reads at its own pace, and joins, leaves
//! and vanishes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chat_delivery::{Admission, Gone, LiveGive, Recipient, Rooms};
use chat_domain::use_cases::{JoinRoom, LeaveRoom};
use chat_domain::{
    ConnectionId, DisplayName, Identity, Membership, RoomAccess, RoomId, Timestamp, User, UserId,
};
use tokio::sync::{Notify, mpsc};

use crate::changes::rev;
use crate::frames::parse;
use crate::judge::Judge;
use crate::log::seq;
use crate::views::Claim;

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
    Join { room_id: RoomId, from: From },
    Leave { room_id: RoomId },
    Vanish,
}

/// Where a client that joins asks to catch up from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Nowhere,
    /// It claims to have this.
    Claim(Claim),
    /// What this client, or this earlier connection of its user, has been handed.
    View(u64),
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
            visibility: chat_domain::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(i64::MAX),
            valid_until: Timestamp::from_unix_millis(i64::MAX),
            grants: None,
        };
        while let Some(act) = acts.recv().await {
            self.judge.note(format_args!("{} {act:?}", self.number));
            match act {
                Act::Join { room_id, from } => {
                    self.judge.begins_to_join(self.number, room_id);
                    let (claim, states) = match from {
                        From::Nowhere => (None, None),
                        From::Claim(claim) => (Some(claim), None),
                        From::View(client) => self.judge.has(client, room_id).unzip(),
                    };
                    let after = claim.map(|claim| seq(claim.after));
                    let after_rev = claim.and_then(|claim| claim.rev.map(rev));
                    let enter = || rooms.open(room_id, &self);
                    let joining = join.execute(&identity, room_id, after, after_rev, enter);
                    let Ok((entrance, joining)) = joining.await else {
                        continue;
                    };
                    let (newest, rev) = (joining.state.newest.get(), joining.rev.get());
                    let claim = claim.map(|claim| claim.within(newest, rev));
                    self.judge.joins(self.number, room_id, claim, rev, states);
                    let welcome = |admission: Admission| {
                        let missed = admission.missed.map(|m| format!("{}-{}", m.from, m.to));
                        let changes = admission.changes_missed;
                        let changes =
                            changes.map(|(from, to)| format!("{}-{}", from.get(), to.get()));
                        Bytes::from(format!(
                            "j:{room_id}:{}:{}:{}:{};",
                            admission.seam,
                            missed.unwrap_or_default(),
                            admission.rev.get(),
                            changes.unwrap_or_default(),
                        ))
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
