//! The task that owns the connection: it subscribes to the rooms that this node serves,
//! publishes what waits, passes on what arrives, and reconnects.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_domain::ports::{Hint, RoomEvents as _};
use chat_domain::{BoxError, RoomId, one_line};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, Value, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};

use super::Shared;
use super::channels::Channel;
use super::connection::Connection;
use super::payload::{Payload, Received, parse_command};
use super::presence;
use super::roster::{self, REPORT_INTERVAL};
use super::served::Subscribed;

/// The pause before the next attempt to connect. It does not grow: an attempt is cheap, and
/// when the server is back, hints must flow again within a second.
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// How often the server must prove that it answers. A connection that a firewall swallows,
/// or whose server is suspended, reports no error by itself.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// How many channels one command names.
const CHANNELS_PER_COMMAND: usize = 1000;

/// Exchanges hints. Never ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut log = Log::default();
    loop {
        let lost = match shared.server.connect(on_push(&shared)).await {
            Ok(connection) => {
                let Err(error) = exchange(&shared, connection, &mut log).await;
                one_line(&*error)
            }
            Err(error) => one_line(&error),
        };
        log.lost(&lost);
        sleep(RECONNECT_DELAY).await;
    }
}

/// Logs once when the server is lost and once when it is back.
#[derive(Default)]
struct Log {
    is_lost: Option<bool>,
}

impl Log {
    fn lost(&mut self, error: &str) {
        if self.is_lost.replace(true) != Some(true) {
            tracing::warn!(
                error,
                "Redis is lost: until it is back, messages of other nodes are found in the log"
            );
        }
    }

    /// Called when the server has answered for a while: one that accepts connections but
    /// refuses commands must not be reported as back again and again.
    fn works(&mut self) {
        match self.is_lost.replace(false) {
            Some(true) => tracing::info!("Redis is back"),
            Some(false) => {}
            None => tracing::info!("Redis is connected"),
        }
    }
}

/// Uses a connection until it breaks.
async fn exchange(
    shared: &Shared,
    mut connection: Connection,
    log: &mut Log,
) -> Result<Infallible, BoxError> {
    let _connected = Connected::begin(shared);
    connection
        .run(async |commands| use_connection(shared, commands, log).await)
        .await
}

/// Marks the connection as usable. Whatever ends it, the queue is closed: nothing may wait
/// for the next connection.
struct Connected<'a>(&'a Shared);

impl<'a> Connected<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.queue.open();
        shared.counters.connections.add(1);
        shared.counters.is_connected.store(true, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.counters.is_connected.store(false, Ordering::Relaxed);
        shared.served.disconnected();
        shared.roster.disconnected();
        shared.presence.disconnected();
        let waiting = shared.queue.close() as u64;
        shared.counters.lost_disconnected.add(waiting);
    }
}

async fn use_connection(
    shared: &Shared,
    commands: &mut MultiplexedConnection,
    log: &mut Log,
) -> Result<Infallible, BoxError> {
    let mut subscribed = shared.served.connected();
    let nodes = shared.channels.name(Channel::Nodes);
    commands.subscribe(nodes).await?;
    let reports = shared.channels.name(Channel::Reports);
    commands.subscribe(reports).await?;
    shared.roster.connected();
    for channel in [Channel::Presence, Channel::Answers] {
        commands.subscribe(shared.channels.name(channel)).await?;
    }
    shared.presence.connected();
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reports = interval(REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        update_subscriptions(shared, commands, &mut subscribed).await?;
        publish(shared, commands).await?;
        let has_news = presence::publish(shared, commands).await?;
        if has_news || shared.served.has_changes() {
            continue;
        }
        tokio::select! {
            () = shared.work.notified() => {}
            _ = pings.tick() => {
                let _: Value = cmd("PING").query_async(commands).await?;
                log.works();
            }
            _ = reports.tick() => roster::report(shared, commands).await?,
        }
    }
}

/// Subscribes to rooms that are served since, and unsubscribes from others: so many of them
/// that what waits to be published does not wait long.
async fn update_subscriptions(
    shared: &Shared,
    commands: &mut MultiplexedConnection,
    subscribed: &mut Subscribed,
) -> Result<(), BoxError> {
    let changes = shared.served.take_changes(subscribed, CHANNELS_PER_COMMAND);
    let names = |rooms: Vec<RoomId>| -> Vec<String> {
        let names = rooms.into_iter().map(Channel::Room);
        names.map(|channel| shared.channels.name(channel)).collect()
    };
    if !changes.subscribe.is_empty() {
        commands.subscribe(names(changes.subscribe)).await?;
    }
    if !changes.unsubscribe.is_empty() {
        commands.unsubscribe(names(changes.unsubscribe)).await?;
    }
    Ok(())
}

/// Publishes everything that waits, in one round trip.
async fn publish(shared: &Shared, commands: &mut MultiplexedConnection) -> Result<(), BoxError> {
    let hints = shared.queue.take();
    if hints.is_empty() {
        return Ok(());
    }
    let payloads = join_by_room(shared, hints);
    let mut unconfirmed = Unconfirmed {
        shared,
        hints: payloads.iter().map(|(_, payload)| payload.hints()).sum(),
    };
    let mut pipeline = Pipeline::with_capacity(payloads.len());
    for (room_id, payload) in payloads {
        let channel = shared.channels.name(Channel::Room(room_id));
        pipeline
            .cmd("PUBLISH")
            .arg(channel)
            .arg(payload.finish())
            .ignore();
    }
    let () = pipeline.query_async(commands).await?;
    let published = std::mem::take(&mut unconfirmed.hints);
    shared.counters.published.add(published);
    Ok(())
}

/// Joins the hints of each room, in their order.
fn join_by_room(shared: &Shared, hints: Vec<Hint>) -> Vec<(RoomId, Payload)> {
    let mut payloads: Vec<(RoomId, Payload)> = Vec::new();
    let mut places = HashMap::new();
    for hint in hints {
        let room_id = hint.room_id;
        let place = *places.entry(room_id).or_insert_with(|| {
            payloads.push((room_id, shared.node.begin()));
            payloads.len() - 1
        });
        if payloads[place]
            .1
            .push(hint.generation, &hint.entry)
            .is_err()
        {
            shared.counters.invalid.add(1);
        }
    }
    payloads.retain(|(_, payload)| payload.hints() > 0);
    payloads
}

/// Hints that were sent. Unless they are taken out, they count as lost, also when the
/// connection ends meanwhile.
struct Unconfirmed<'a> {
    shared: &'a Shared,
    hints: u64,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        self.shared.counters.lost_unconfirmed.add(self.hints);
    }
}

/// Returns what processes the server's pushes. It runs in the exchanging task, while that
/// task reads the connection, so nothing is queued in this process: if this node cannot keep
/// up, the server's buffer for it grows until the server closes the connection
/// (`client-output-buffer-limit pubsub`).
fn on_push(shared: &Arc<Shared>) -> impl Fn(PushInfo) + Send + Sync + 'static {
    let shared = shared.clone();
    move |push| {
        if push.kind != PushKind::Message {
            return;
        }
        let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..] else {
            return shared.counters.invalid.add(1);
        };
        match shared.channels.parse(channel) {
            Some(Channel::Room(room_id)) => receive_hints(&shared, room_id, payload),
            Some(Channel::Nodes) => match parse_command(payload) {
                Some(command) => shared.notify(&command),
                None => shared.counters.invalid.add(1),
            },
            Some(Channel::Reports) => {
                if !shared.roster.receive(shared.node.number(), payload) {
                    shared.counters.invalid.add(1);
                }
            }
            Some(Channel::Presence | Channel::Answers) => {
                if !shared.presence.receive(shared.node.number(), payload) {
                    shared.counters.invalid.add(1);
                }
            }
            None => shared.counters.invalid.add(1),
        }
    }
}

fn receive_hints(shared: &Shared, room_id: RoomId, payload: &[u8]) {
    // The listeners of this process have this node's own hints already.
    if shared.node.sent(payload) {
        return;
    }
    let Received { entries, invalid } = Received::parse(payload);
    shared.counters.invalid.add(invalid);
    shared.counters.received.add(entries.len() as u64);
    for (generation, entry) in entries {
        shared.local.announce(Hint {
            room_id,
            generation,
            entry,
        });
    }
}
