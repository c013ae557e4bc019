//! The evidence of a test: each client's own log, the rows of the database, and when the
//! fault struck.

use std::time::Duration;

pub(crate) use self::changes::{Edit, Shown, State, States, edited, original};
pub(crate) use self::rules::{Change, Member, Rules, Seen, Tables};

mod changes;
mod rules;

/// The character that fills a message up to its length. It has four bytes, the maximum.
pub(crate) const PADDING: char = '🦀';

/// A message, as a client received it or as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) room: u64,
    pub(crate) seq: u64,
    pub(crate) user: String,
    /// The author's display name.
    pub(crate) name: String,
    pub(crate) client_message_id: Option<String>,
    /// Unique in a test, so that it identifies the message even if the sender gave it no
    /// `clientMessageId`. See [`compact`].
    pub(crate) content: String,
    pub(crate) created_at: String,
}

/// Returns a content with its padding as a number, which loses nothing and saves gigabytes.
pub(crate) fn compact(content: &str) -> String {
    let text = content.trim_end_matches(PADDING);
    let padding = content[text.len()..].chars().count();
    format!("{text}+{padding}")
}

/// `joinedRoom.missed`: the range that was not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// `joinedRoom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) room: u64,
    pub(crate) seq: u64,
    pub(crate) read: u64,
    pub(crate) unread: u64,
    pub(crate) missed: Option<Missed>,
}

/// A request that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Send {
        attempt: u64,
    },
    Join {
        room: u64,
    },
    Leave {
        room: u64,
    },
    List {
        room: u64,
    },
    Mark {
        room: u64,
    },
    /// A change of rules; `event` is its event.
    Change {
        change: u64,
        event: &'static str,
    },
    /// `getRoom` or `listMembers`; `event` is which.
    Look {
        room: u64,
        event: &'static str,
    },
    /// A change of a message, or `listChanges`; `event` is which.
    Edit {
        event: &'static str,
    },
}

impl Operation {
    /// Returns the name of the operation's event.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Send { .. } => "sendMessage",
            Self::Join { .. } => "joinRoom",
            Self::Leave { .. } => "leaveRoom",
            Self::List { .. } => "listMessages",
            Self::Mark { .. } => "markRead",
            Self::Change { event, .. } | Self::Look { event, .. } | Self::Edit { event } => event,
        }
    }
}

/// One event at a client. A history has them in the order in which the client observed them.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An attempt to connect to this node, to which everything up to the next `Connecting`
    /// belongs.
    Connecting { node: usize },
    /// A new connection, to which everything up to the next `Connected` belongs.
    Connected,
    /// The connection ended, and the client did not end it.
    Disconnected,
    /// An attempt to connect failed.
    NotConnected,
    /// The client ended the connection, or the attempt to connect, because it waited in vain
    /// for as long as it waits.
    GaveUp,
    /// The client ended the connection in order to connect to another node.
    Moved,
    /// `joinRoom` was sent, possibly in a room that the connection has joined.
    Joining { room: u64, after: Option<u64> },
    /// The event `joinedRoom`.
    Joined(Joined),
    /// `leaveRoom` was sent.
    Leaving { room: u64 },
    /// The event `leftRoom` without a reason.
    Left { room: u64 },
    /// The event `leftRoom` with a reason.
    Excluded { room: u64, reason: String },
    /// A change of rules was sent; `change` is unique in this log.
    Changing {
        change: u64,
        room: u64,
        what: Change,
    },
    /// The positive acknowledgement of this change.
    Changed { change: u64 },
    /// The event `roomChanged` or `memberChanged`.
    Announced { room: u64 },
    /// `getRoom` or `listMembers` was sent.
    Looking { room: u64 },
    /// The acknowledgement of the last `getRoom` or `listMembers` of this room.
    Looked { room: u64, seen: Seen },
    /// The event `newMessage`, replayed or live.
    Received(Message),
    /// `listMessages` was sent.
    Listing { room: u64 },
    /// The acknowledgement of the last `listMessages` of this room.
    Listed {
        room: u64,
        after: u64,
        messages: Vec<Message>,
        has_more: bool,
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
    /// `markRead` was sent.
    Marking { room: u64, seq: u64 },
    /// The acknowledgement of `markRead` with the number `requested`.
    Marked {
        room: u64,
        requested: u64,
        seq: u64,
        unread: u64,
    },
    /// The event `markedRead`.
    MarkedRead { room: u64, user: String, seq: u64 },
    /// Something about a message that may have changed.
    Edit { room: u64, edit: Edit },
    /// The event `error`; `event` is the one that it is about.
    Error { event: Option<String>, code: String },
    /// A negative acknowledgement.
    Refused { operation: Operation, code: String },
}

/// An event, and when it was observed: the time since the test began.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

/// The log of one client, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The client's name in reports.
    pub(crate) client: String,
    pub(crate) user: String,
    pub(crate) entries: Vec<Entry>,
}

impl History {
    /// Returns the events without their times.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().map(|entry| &entry.event)
    }

    /// Returns the entries, each with the node to which the client was connected or connecting.
    pub(crate) fn by_node(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let mut current = 0;
        self.entries.iter().map(move |entry| {
            if let Event::Connecting { node } = entry.event {
                current = node;
            }
            (current, entry)
        })
    }
}

/// A period in which the fault strikes.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    pub(crate) reach: Reach,
    /// Whether a gateway shuts down in it, and answers what is in progress.
    pub(crate) is_graceful: bool,
}

/// What a strike affects.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    Everything,
    /// These clients, on whichever node.
    Clients(Vec<String>),
    /// The connections to this node.
    Node(usize),
}

impl Window {
    /// Returns whether it affects a client while the client is connected to this node.
    pub(crate) fn affects(&self, client: &str, on: usize) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Clients(clients) => clients.iter().any(|affected| affected == client),
            Reach::Node(node) => *node == on,
        }
    }
}

/// Whose connections a fault may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    Nothing,
    /// Those that a window affects, in that window.
    Affected,
    /// As many as the proxy broke.
    ByProxy,
}

/// What a fault explains. Everything else is a violation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explains {
    /// The codes of refusals and `error` events, in a window.
    pub(crate) codes: &'static [&'static str],
    pub(crate) breaks: Breaks,
    /// Whether reads may fail in a window, so that a replay ends early with `missed`.
    pub(crate) failed_reads: bool,
}

/// A row of the table of read pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) room: u64,
    pub(crate) user: String,
    pub(crate) seq: u64,
}

/// A period in which this process should have run and did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
}

/// Everything that the checker compares.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) histories: Vec<History>,
    /// The table `messages` with the authors' names, by room and number, read after the
    /// clients had ended.
    pub(crate) rows: Vec<Message>,
    /// The table `rooms`: each room and the newest number that it assigned.
    pub(crate) counters: Vec<(u64, u64)>,
    /// The table `read_pointers`.
    pub(crate) pointers: Vec<Pointer>,
    pub(crate) states: States,
    /// Ascending by their beginnings.
    pub(crate) windows: Vec<Window>,
    pub(crate) explains: Explains,
    /// The number of TCP connections that the proxy broke.
    pub(crate) broken: u64,
    /// How long a client waits for an answer before it gives up, if it ever does.
    pub(crate) patience: Option<Duration>,
    /// When the machine woke this process late, for which no gateway is to blame.
    pub(crate) lags: Vec<Lag>,
    pub(crate) rules: Rules,
}
