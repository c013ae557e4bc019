//! All limits and deadlines of the gateway, in one place. Those of the contract itself are
//! beside the types that they limit, in the domain; those of delivery and of the databases
//! are in their crates.

use std::num::NonZeroU32;
use std::time::Duration;

/// The limits that the operator sets; 0 for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// The events that write, and joins, per second and user.
    pub message_rate: u32,
    /// The handshakes per second from one address.
    pub connect_rate: u32,
    /// The maximum number of events in progress per connection.
    pub max_in_flight: usize,
    /// The maximum number of rooms that a connection has joined.
    pub max_rooms: usize,
    /// The maximum number of connections per user.
    pub max_connections_per_user: usize,
    /// The maximum number of connections.
    pub max_connections: usize,
    /// The maximum size of an incoming packet in bytes, on both transports.
    pub max_packet_bytes: usize,
}

/// A user may save up the events of this many seconds.
pub(crate) const MESSAGE_BURST: NonZeroU32 = nonzero(4);
/// An address may save up the handshakes of this many seconds.
pub(crate) const CONNECT_BURST: NonZeroU32 = nonzero(10);
/// How often users and addresses that have been quiet are forgotten.
pub(crate) const RATE_CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Long-polling sessions, and sessions that have not completed CONNECT, may each take one
/// in this many of the connections.
pub(crate) const SHARE_OF_CHEAP_SESSIONS: usize = 4;
/// However few connections are allowed, this many may carry HTTP requests, so that health
/// and metrics stay reachable.
pub(crate) const MIN_HTTP_CONNECTIONS: usize = 64;
/// How long a client that is refused because the node is full should wait.
pub(crate) const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often the refusals of one limit are logged.
pub(crate) const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

const fn nonzero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

// What a client that stops reading may cost, in bytes of this process's memory. The sum of
// what waits for it (at most `CONGESTED_BYTES` and one answer), of the answer in the making
// and of its events in progress stays below 1 MiB.

/// Up to here, a member that has fallen behind is given more from the log.
pub(crate) const SPACE_BYTES: usize = 64 * 1024;
/// Up to here, a member is given what is live; beyond, it falls behind.
pub(crate) const LIVE_BYTES: usize = 256 * 1024;
/// From here on, nothing more is read from the client and none of its events is carried
/// out, so that its own requests cannot fill the outbox.
pub(crate) const CONGESTED_BYTES: usize = 256 * 1024;
/// From here on, nothing more is read from the client until some of its events are done.
pub(crate) const MAX_BYTES_IN_PROGRESS: usize = 128 * 1024;

/// How long a client may take nothing while something waits for it.
pub(crate) const STALL_DEADLINE: Duration = Duration::from_secs(10);
/// How often clients are checked for it.
pub(crate) const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of our packets in socketioxide's queue, which go into one response:
/// python-socketio closes a connection whose response has more than 16 packets, including
/// a heartbeat.
pub(crate) const MAX_HANDED_OVER: usize = 15;
/// The maximum number of bytes in that queue, plus one packet.
pub(crate) const MAX_HANDED_OVER_BYTES: usize = 128 * 1024;
/// How many packets socketioxide's queue holds: those handed over, and its own (heartbeats,
/// the answer to CONNECT).
pub(crate) const SOCKETIOXIDE_QUEUE: usize = 128;

/// A peer that takes nothing for this long, with data waiting for it, is disconnected.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// A connection whose data the peer's kernel does not acknowledge for this long is closed.
pub(crate) const UNACKNOWLEDGED_DEADLINE: Duration = Duration::from_secs(20);
/// The kernel's buffer for what a peer has not taken yet, in bytes; Linux doubles it for its
/// own bookkeeping.
pub(crate) const SEND_BUFFER: usize = 128 * 1024;
/// How much is read at once from a peer on a WebSocket, in bytes.
pub(crate) const READ_AHEAD: usize = 4096;
/// The buffer that socketioxide keeps for each WebSocket, in bytes. What was read from the
/// kernel beyond it waits in the connection.
pub(crate) const WEBSOCKET_READ_BUFFER: usize = 128;

/// How long a frame of a WebSocket takes, on average, until the next one is read: 50,000 are
/// read a second.
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_micros(20);
/// After how many frames the average is taken.
pub(crate) const FRAMES_AT_ONCE: u32 = 512;

/// How long it takes, on average, from the beginning of one session to the next, on one
/// processor: many clients that connect at once do not delay the others.
pub(crate) const BEGINNING_INTERVAL: Duration = Duration::from_millis(1);
/// When the next session has to wait for longer, further connections wait in the kernel.
pub(crate) const BEGINNINGS_AHEAD: Duration = Duration::from_millis(20);
/// A handshake that would wait for longer is refused.
pub(crate) const MAX_BEGINNING_WAIT: Duration = Duration::from_secs(2);
/// How long it takes, on average, from the end of one WebSocket that its peer closed to the
/// next: many that are closed at once do not delay the others.
pub(crate) const DEPARTURE_INTERVAL: Duration = Duration::from_micros(250);

/// How long a client may take to send a request's head: the first one, and the next one on
/// a connection that is kept alive.
pub(crate) const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request's body may take to arrive and to be processed.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take from its first request to CONNECT, so that its transport is
/// closed within ten seconds.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(9);

/// The largest body of a request of the server API, in bytes.
pub(crate) const API_BODY_BYTES: usize = 1024 * 1024;
/// How long a request of the server API may take once its body has arrived.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// The longest line of an import, in bytes: a message whose characters are all escaped is shorter.
pub(crate) const IMPORT_LINE_BYTES: usize = 64 * 1024;
/// How many imports a node carries out at the same time.
pub(crate) const MAX_IMPORTS: usize = 4;
/// How long what follows a line that is refused may take to arrive: it is read, so that the client
/// gets to the answer.
pub(crate) const IMPORT_REST_DEADLINE: Duration = Duration::from_secs(60);
/// How many connections `API_PORT` has.
pub(crate) const MAX_API_CONNECTIONS: usize = 1024;
/// How many requests without a valid key are answered per second and address, besides a burst;
/// more are answered with less.
pub(crate) const REFUSED_KEY_RATE: NonZeroU32 = nonzero(1);
/// How many such requests an address may save up.
pub(crate) const REFUSED_KEY_BURST: NonZeroU32 = nonzero(20);

/// How long the last packets may take to leave before the transport is closed.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_millis(500);
/// How many clients of one user are ended at once.
pub(crate) const ENDED_AT_ONCE: usize = 50;
/// For how long the next ones wait, at most, until these have received their last packets: ten
/// thousand are ended within four seconds.
pub(crate) const ENDING_INTERVAL: Duration = Duration::from_millis(20);
/// Over how long a shutdown spreads the closing of its clients if they reconnect to other
/// nodes. The last events still have five seconds, as long as a statement of the database.
pub(crate) const DRAIN_SPREAD: Duration = Duration::from_secs(3);
/// How long a shutdown may take to finish what clients asked for.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(8);
/// How long it waits, after that, for the connections to close.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example with too many open files.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the process checks how much memory it occupies.
pub(crate) const FREE_MEMORY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after it has grown the process returns free memory to the operating system.
pub(crate) const FREE_MEMORY_DELAY: Duration = Duration::from_secs(5);
/// How much free memory it keeps for the next peak.
pub(crate) const KEPT_FREE_BYTES: usize = 512 * 1024;

/// How often a node looks for closed rooms to delete, and counts them.
pub(crate) const DELETION_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long one batch of a deletion should take, which is how long others may have to wait for
/// it: its size follows.
pub(crate) const DELETION_BATCH_TIME: Duration = Duration::from_millis(5);

/// How many rows a batch of a deletion has at least, and at first.
pub(crate) const DELETION_MIN_ROWS: usize = 100;

/// How many rows a batch of a deletion has at most.
pub(crate) const DELETION_MAX_ROWS: usize = 1000;

/// The pause after a batch of a deletion, in relation to the time that the batch took.
pub(crate) const DELETION_PAUSE_FACTOR: u32 = 9;

/// How many webhooks are in flight, over all nodes: at most one per room.
pub(crate) const WEBHOOKS_IN_FLIGHT: usize = 32;
/// How many of them may be repetitions, so that a receiver that fails for many rooms leaves room
/// for the others.
pub(crate) const WEBHOOKS_IN_RETRY: usize = 16;
/// For how long a node holds a room whose webhooks it sends: how long those of a node that was
/// killed wait. Longer than a call may take.
pub(crate) const WEBHOOK_LEASE: Duration = Duration::from_secs(20);
/// How many webhooks of a room are sent until it is the turn of another room, and how long they
/// may take together.
pub(crate) const WEBHOOK_TURN: usize = 100;
pub(crate) const WEBHOOK_TURN_TIME: Duration = Duration::from_secs(4);
/// How many bytes of messages are read at once.
pub(crate) const WEBHOOK_PAGE_BYTES: usize = 256 * 1024;
/// How often a node looks for webhooks to send.
pub(crate) const WEBHOOK_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The pause between two such looks when there is much to send.
pub(crate) const WEBHOOK_PAUSE: Duration = Duration::from_millis(10);
/// How often the backlog is measured.
pub(crate) const WEBHOOK_BACKLOG_INTERVAL: Duration = Duration::from_secs(5);
/// How often a node tries to note what it has sent, and the pause after a failure.
pub(crate) const WEBHOOK_SETTLE_ATTEMPTS: usize = 5;
pub(crate) const WEBHOOK_SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// When a room is due again whose webhooks cannot be read.
pub(crate) const WEBHOOK_READ_PAUSE: Duration = Duration::from_secs(5);
/// How often a line states that webhooks are not delivered.
pub(crate) const WEBHOOK_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How often a node looks for users to erase.
pub(crate) const ERASURE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many rows a batch of an erasure has at least, and at first: each may be a change of a message.
pub(crate) const ERASURE_MIN_ROWS: usize = 10;

/// How many rows a batch of an erasure has at most.
pub(crate) const ERASURE_MAX_ROWS: usize = 1000;

/// After how long changed rules are read again that could not be read.
pub(crate) const RULES_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How often a node reads which revocations and disconnections are new: how long it takes until
/// they take effect on a node that Redis does not reach.
pub(crate) const SANCTIONS_INTERVAL: Duration = Duration::from_secs(2);
/// After how long they are read again if that has failed.
pub(crate) const SANCTIONS_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// For how long after it has read them a node knows which tokens are revoked. A token that was
/// revoked longer ago is certainly refused.
pub(crate) const SANCTIONS_MAX_AGE: Duration = Duration::from_secs(10);
/// How long a handshake waits until the node knows which tokens are revoked.
pub(crate) const SANCTIONS_PATIENCE: Duration = Duration::from_secs(2);

/// How often connections are checked for expired tokens: no timer per connection.
pub(crate) const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_millis(100);
