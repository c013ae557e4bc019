//! The evidence of a test: each client's own log, and the rows of the database.

/// A message, as a client received it or as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) room: u64,
    pub(crate) seq: u64,
    pub(crate) user: String,
    pub(crate) client_message_id: Option<String>,
    /// Unique in a test, so that it identifies the message even if the sender gave it no
    /// `clientMessageId`.
    pub(crate) content: String,
}

/// `joinedRoom.missed`: the range that was not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// One event at a client. A history has them in the order in which the client observed them.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A new connection, to which everything up to the next `Connected` belongs.
    Connected,
    /// `joinRoom` was sent. Clients never send it in a room that they have joined, because
    /// messages that arrive in between could belong to either join.
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
    /// The positive acknowledgement of this attempt.
    Acknowledged { attempt: u64, message: Message },
    /// The negative acknowledgement of this attempt.
    Refused { attempt: u64, code: String },
    /// The event `markedRead`.
    MarkedRead { room: u64, user: String, seq: u64 },
}

/// The log of one client, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The client's name in reports.
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
    /// The table `rooms`: each room and the newest number that it assigned.
    pub(crate) counters: Vec<(u64, u64)>,
}
