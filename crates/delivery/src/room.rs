//! One active room: its state, and what each change of it causes.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use chat_domain::{Generation, RoomId, Seq};
use tokio::sync::Notify;

use crate::changes::MessageChanges;
use crate::claim::Claimed;
use crate::member::Member;
use crate::members::Members;
use crate::order::Order;
use crate::read_pointers::ReadPointers;
use crate::recipient::Recipient;
use crate::rules::Rules;
use crate::typing::Typing;
use crate::unfinished::UnfinishedRooms;

/// An active room.
pub(crate) struct Room<R> {
    pub(crate) id: RoomId,
    pub(crate) state: Mutex<State<R>>,
    pub(crate) claimed: Claimed,
    /// Where the room is added when its work stops before it is done.
    pub(crate) unfinished: Arc<UnfinishedRooms>,
    /// Wakes the task that paces read pointers.
    pub(crate) reads_changed: Notify,
    /// Wakes the task that paces who is typing.
    pub(crate) typing_changed: Notify,
}

/// A room's state. Lock order: the map of rooms, then a room's state.
pub(crate) struct State<R> {
    /// The newest generation that is known. Everything else here is of it, unless the room was
    /// closed.
    pub(crate) generation: Generation,
    /// Whether the members are of an earlier generation, and have to be excluded. Nothing is
    /// handed out meanwhile.
    pub(crate) is_closed: bool,
    pub(crate) order: Order,
    /// While a task walks the members with a batch of messages: what they all have.
    pub(crate) walked: Seq,
    pub(crate) members: Members<R>,
    pub(crate) reads: ReadPointers,
    pub(crate) typing: Typing,
    pub(crate) rules: Rules,
    pub(crate) changes: MessageChanges,
    /// The connections that are about to join, from the opening of their entrance on. They
    /// are handed nothing but their replays.
    pub(crate) entering: Members<R>,
    /// Whether the last page that filled a gap was cut short: the log is ahead of the
    /// hints, so waiting for them is pointless.
    pub(crate) is_log_ahead: bool,
    /// When the first message was announced that is not handed out yet.
    pub(crate) announced: Option<Instant>,
    /// Members that have fallen behind and lost the task that served them.
    pub(crate) unserved: Vec<Arc<Member<R>>>,
}

impl<R: Recipient> Room<R> {
    pub(crate) fn new(id: RoomId, unfinished: Arc<UnfinishedRooms>) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                generation: Generation::FIRST,
                is_closed: false,
                order: Order::default(),
                walked: Seq::START,
                members: Members::default(),
                reads: ReadPointers::default(),
                typing: Typing::default(),
                rules: Rules::default(),
                changes: MessageChanges::default(),
                entering: Members::default(),
                is_log_ahead: false,
                announced: None,
                unserved: Vec::new(),
            }),
            claimed: Claimed::default(),
            unfinished,
            reads_changed: Notify::new(),
            typing_changed: Notify::new(),
        }
    }
}

impl<R: Recipient> State<R> {
    /// Returns whether no connection is in the room or about to join.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.entering.is_empty()
    }

    /// Returns the last message that every member that keeps up has been handed. What is released
    /// after it is on its way to them.
    pub(crate) fn handed_out(&self, room: &Room<R>) -> Seq {
        match room.claimed.is_handing_out() {
            true => self.walked,
            false => self.order.released(),
        }
    }
}
