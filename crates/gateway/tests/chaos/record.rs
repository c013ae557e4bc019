//! What a run leaves behind: each client's own log, and the rows of the database.

/// A message, as a client received it or as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) room: u64,
    pub(crate) seq: u64,
    pub(crate) user: String,
    pub(crate) client_message_id: Option<String>,
    /// No two messages of a run have the same, so that it says which message this is
    /// even where the sender picked no id.
    pub(crate) content: String,
}

/// `joinedRoom.missed`: what was not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What happened at one client, in the order in which it happened there.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A new connection; everything up to the next `Connected` is its.
    Connected,
    /// `joinRoom` was sent. (Never while the room is joined: what comes between the two
    /// joins would be of either.)
    Joining { room: u64, after: Option<u64> },
    /// `joinRoom` was refused.
    JoinRefused { room: u64 },
    /// The event `joinedRoom`.
    Joined {
        room: u64,
        seq: u64,
        missed: Option<Missed>,
    },
    /// The event `leftRoom`.
    Left { room: u64 },
    /// The event `newMessage`, replayed or live.
    Received(Message),
    /// The acknowledgement of `listMessages` with this `afterSeq`.
    Listed {
        room: u64,
        after: u64,
        messages: Vec<Message>,
    },
    /// `sendMessage` was sent; `attempt` is unique in this log.
    Sent {
        attempt: u64,
        room: u64,
        client_message_id: Option<String>,
        content: String,
    },
    /// A positive acknowledgement of this attempt.
    Acknowledged { attempt: u64, message: Message },
    /// A negative one.
    Refused { attempt: u64, code: String },
    /// The event `markedRead`.
    MarkedRead { room: u64, user: String, seq: u64 },
}

/// The log of one client, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The client's name in what the checker reports.
    pub(crate) client: String,
    pub(crate) user: String,
    pub(crate) events: Vec<Event>,
}

/// Everything that the checker compares.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) histories: Vec<History>,
    /// The table `messages`, by room and number, read after the clients had ended.
    pub(crate) rows: Vec<Message>,
    /// The table `rooms`: the newest number that each room gave.
    pub(crate) counters: Vec<(u64, u64)>,
}
