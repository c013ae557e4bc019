//! Clients that write and read while their nodes come and go, as `docs/clients.md` tells
//! clients to: each reconnects to another node, catches up, and sends again what was not
//! acknowledged. Whatever a user would notice fails the test.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::client::{Socket, event_of};
use super::{DEADLINE, Database, token};

/// The room of all of them.
const ROOM: u64 = 1;
/// How often each sends.
const SEND_INTERVAL: Duration = Duration::from_millis(20);
/// How many of its messages may be unacknowledged.
const MAX_PENDING: usize = 8;
/// The acknowledgement id of the join; those of messages are their numbers.
const JOIN: usize = 0;

/// What the clients are to do.
#[derive(Clone, Copy)]
enum Goal {
    Send,
    /// Wait for all acknowledgements.
    Settle,
    /// Wait until this message has arrived.
    Reach(usize),
}

/// Clients under way.
pub(crate) struct Crowd {
    clients: JoinSet<Roamer>,
    goal: watch::Sender<Goal>,
    progress: watch::Sender<Progress>,
}

/// What all clients of a crowd have done so far.
#[derive(Default)]
struct Progress {
    acknowledged: usize,
    settled: usize,
}

/// One client, and what it has seen.
pub(crate) struct Roamer {
    user: String,
    nodes: Vec<SocketAddr>,
    /// The index of the node to which it connects next.
    next_node: usize,
    /// The messages of the room, in the order in which they arrived: `seq` counts from 1.
    received: Vec<Value>,
    /// How many messages it has begun to send.
    begun: usize,
    /// The numbers of those without an acknowledgement, and when each was sent first.
    pending: VecDeque<(usize, Instant)>,
    /// How long the slowest acknowledgement took, reconnecting included.
    pub(crate) slowest: Duration,
    /// The connections that the nodes have ended, oldest first.
    pub(crate) ended: Vec<EndedConnection>,
    goal: watch::Receiver<Goal>,
    progress: watch::Sender<Progress>,
}

/// A connection that its node has ended.
pub(crate) struct EndedConnection {
    pub(crate) at: Instant,
    /// When the last acknowledgement arrived on it.
    pub(crate) last_answer: Instant,
}

impl Crowd {
    /// Starts clients and waits until each has sent something. Client `n` begins on node
    /// `first_node(n)`.
    pub(crate) async fn start(
        size: usize,
        nodes: &[SocketAddr],
        first_node: impl Fn(usize) -> usize,
    ) -> Self {
        let mut crowd = Self {
            clients: JoinSet::new(),
            goal: watch::channel(Goal::Send).0,
            progress: watch::Sender::default(),
        };
        for n in 0..size {
            let roamer = Roamer {
                user: n.to_string(),
                nodes: nodes.to_vec(),
                next_node: first_node(n),
                received: Vec::new(),
                begun: 0,
                pending: VecDeque::new(),
                slowest: Duration::ZERO,
                ended: Vec::new(),
                goal: crowd.goal.subscribe(),
                progress: crowd.progress.clone(),
            };
            crowd.clients.spawn(roamer.roam());
        }
        crowd.wait_for_acknowledgements(5 * size).await;
        crowd
    }

    /// Waits until this many more messages are acknowledged.
    pub(crate) async fn wait_for_acknowledgements(&mut self, count: usize) {
        let wanted = self.progress.borrow().acknowledged + count;
        self.wait_for(|progress| progress.acknowledged >= wanted)
            .await;
    }

    async fn wait_for(&mut self, is_reached: impl Fn(&Progress) -> bool) {
        let mut progress = self.progress.subscribe();
        tokio::select! {
            biased;
            // A client ends early only by failing.
            Some(ended) = self.clients.join_next() => match ended {
                Ok(roamer) => panic!("client {} has ended", roamer.user),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            reached = timeout(DEADLINE, progress.wait_for(is_reached)) => {
                drop(reached.expect("the clients make progress").unwrap());
            }
        }
    }

    /// Lets the clients finish and compares what each saw with the rows: nothing is lost,
    /// doubled or out of order. Returns the clients.
    pub(crate) async fn finish(mut self, database: &Database) -> Vec<Roamer> {
        let size = self.clients.len();
        self.goal.send_replace(Goal::Settle);
        self.wait_for(|progress| progress.settled == size).await;
        let rows = database.sql(&format!(
            "SELECT seq, user_id, client_message_id, content FROM messages \
             WHERE room_id = {ROOM} ORDER BY seq"
        ));
        let rows: Vec<&str> = rows.lines().collect();
        self.goal.send_replace(Goal::Reach(rows.len()));
        let roamers = timeout(DEADLINE, self.clients.join_all());
        let roamers = roamers.await.expect("every client catches up");
        for roamer in &roamers {
            let received: Vec<String> = roamer.received.iter().map(row_of).collect();
            assert_eq!(received, rows, "what client {} saw", roamer.user);
            let own = rows
                .iter()
                .filter_map(|row| row.split_once('|'))
                .filter_map(|(_, row)| row.strip_prefix(&format!("{}|", roamer.user)));
            let sent = (1..=roamer.begun).map(|number| format!("{number}|message {number}"));
            assert!(own.eq(sent), "client {}: {rows:?}", roamer.user);
        }
        roamers
    }
}

fn row_of(message: &Value) -> String {
    format!(
        "{}|{}|{}|{}",
        message["seq"],
        message["userId"].as_str().unwrap(),
        message["clientMessageId"].as_str().unwrap(),
        message["content"].as_str().unwrap()
    )
}

/// The connection has ended.
struct Gone;

impl Roamer {
    async fn roam(mut self) -> Self {
        loop {
            let mut socket = timeout(DEADLINE, self.connect())
                .await
                .expect("one of the nodes accepts the client");
            let mut last_answer = Instant::now();
            match self.converse(&mut socket, &mut last_answer).await {
                Ok(()) => return self,
                Err(Gone) => {
                    let at = Instant::now();
                    self.ended.push(EndedConnection { at, last_answer });
                    self.next_node += 1;
                }
            }
        }
    }

    /// Opens a WebSocket on the next node that begins sessions.
    async fn connect(&mut self) -> Socket {
        loop {
            let node = self.nodes[self.next_node % self.nodes.len()];
            let url = format!("ws://{node}/socket.io/?EIO=4&transport=websocket");
            match connect_async(url).await {
                Ok((socket, _)) => return socket,
                Err(Error::Http(response)) => assert_eq!(response.status(), 503),
                Err(_) => {}
            }
            self.next_node += 1;
            // A client waits for longer before it tries again.
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Joins, sends again what is pending, and goes on until the goal is reached.
    async fn converse(
        &mut self,
        socket: &mut Socket,
        last_answer: &mut Instant,
    ) -> Result<(), Gone> {
        let auth = json!({ "token": token(&self.user, "x") });
        send(socket, format!("40{auth}")).await?;
        let opening = self.receive(socket).await?;
        let connected = self.receive(socket).await?;
        let is_expected = opening.starts_with("0{") && connected.starts_with("40{");
        assert!(
            is_expected,
            "client {} receives {opening}, {connected}",
            self.user
        );
        let seen = self.received.len();
        let join = json!(["joinRoom", { "roomId": ROOM, "afterSeq": seen }]);
        send(socket, format!("42{JOIN}{join}")).await?;
        for (number, _) in self.pending.clone() {
            send(socket, message(number)).await?;
        }
        let mut ticks = interval(SEND_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_settled = false;
        let mut goal = self.goal.clone();
        loop {
            let current = *goal.borrow_and_update();
            match current {
                Goal::Reach(newest) if self.received.len() >= newest => return Ok(()),
                Goal::Settle if self.pending.is_empty() && !is_settled => {
                    is_settled = true;
                    self.progress.send_modify(|progress| progress.settled += 1);
                }
                _ => {}
            }
            tokio::select! {
                _ = goal.changed() => {}
                packet = self.receive(socket) => self.take(&packet?, last_answer),
                _ = ticks.tick(), if matches!(current, Goal::Send)
                    && self.pending.len() < MAX_PENDING =>
                {
                    self.begun += 1;
                    self.pending.push_back((self.begun, Instant::now()));
                    send(socket, message(self.begun)).await?;
                }
            }
        }
    }

    /// Receives a packet that is not a heartbeat, and not the end.
    async fn receive(&self, socket: &mut Socket) -> Result<String, Gone> {
        loop {
            let packet = timeout(DEADLINE, socket.next()).await;
            match packet.expect("there are heartbeats") {
                Some(Ok(Message::Text(packet))) => match packet.as_str() {
                    "1" => return Err(Gone),
                    "2" => send(socket, "3".to_owned()).await?,
                    _ => return Ok(packet.as_str().to_owned()),
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                Some(Ok(_)) => {}
            }
        }
    }

    fn take(&mut self, packet: &str, last_answer: &mut Instant) {
        if let Some((name, payload)) = event_of(packet) {
            match name.as_str() {
                "newMessage" => {
                    let next = self.received.len() + 1;
                    assert_eq!(payload["seq"], next, "client {}: {payload}", self.user);
                    self.received.push(payload);
                }
                "joinedRoom" => assert_eq!(payload["missed"], Value::Null, "{payload}"),
                _ => panic!("client {} receives {packet}", self.user),
            }
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (id, answer) = ack.split_at(ack.find('[').unwrap());
            let [answer]: [Value; 1] = serde_json::from_str(answer).expect(ack);
            assert_eq!(answer["ok"], true, "client {}: {answer}", self.user);
            let id: usize = id.parse().unwrap();
            if id != JOIN {
                let (number, sent) = self.pending.pop_front().unwrap();
                assert_eq!(id, number, "acknowledgements keep their order");
                *last_answer = Instant::now();
                self.slowest = self.slowest.max(sent.elapsed());
                self.progress
                    .send_modify(|progress| progress.acknowledged += 1);
            }
        } else {
            panic!("client {} receives {packet}", self.user);
        }
    }
}

/// The packet of a client's message with this number.
fn message(number: usize) -> String {
    let message = json!({
        "roomId": ROOM,
        "content": format!("message {number}"),
        "clientMessageId": number.to_string(),
    });
    format!("42{number}{}", json!(["sendMessage", message]))
}

async fn send(socket: &mut Socket, packet: String) -> Result<(), Gone> {
    let sent = timeout(DEADLINE, socket.send(Message::text(packet))).await;
    sent.expect("the node reads").map_err(|_| Gone)
}
