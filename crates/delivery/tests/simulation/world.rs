//! A simulated world: rooms, clients and faults, all from one seed, in virtual time.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chat_delivery::{Recipient as _, Rooms};
use chat_domain::ports::{Hint, HintListener, MockRoomDirectory, RoomEvents};
use chat_domain::use_cases::{JoinRoom, Permits};
use chat_domain::{
    ChangeSubject, Generation, RoomEntry, RoomId, RoomKind, RulesNumber, StoredChange,
    StoredMessage, UserId,
};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::client::{Act, Client, Pace, Text, frame};
use crate::judge::Judge;
use crate::log::{Log, Reads, seq};
use crate::random::Random;

/// How often clients that read slowly read.
const TICK: Duration = Duration::from_millis(5);
/// How long after the last fault everything must have settled.
const SETTLING: Duration = Duration::from_secs(1);

/// What became of a world.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
}

/// Runs the world of a seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    // The world is made within the runtime, where time is virtual.
    runtime.block_on(async { World::new(seed).run().await })
}

/// Hints, which reach the listener when the world says so.
#[derive(Default)]
struct Events {
    listener: Mutex<Option<Weak<dyn HintListener>>>,
}

impl Events {
    fn deliver(&self, hint: Hint) {
        let listener = self.listener.lock().unwrap().clone();
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.on_hint(hint);
        }
    }
}

impl RoomEvents for Events {
    fn announce(&self, hint: Hint) {
        self.deliver(hint);
    }

    fn serve(&self, _: RoomId) {}

    fn release(&self, _: RoomId) {}

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        *self.listener.lock().unwrap() = Some(listener);
    }
}

struct World {
    random: Random,
    log: Arc<Log>,
    judge: Arc<Judge>,
    events: Arc<Events>,
    rooms: Arc<Rooms<Client>>,
    room_ids: Vec<RoomId>,
    clients: Vec<(Arc<Client>, mpsc::UnboundedSender<Act>)>,
    /// The number of the next client.
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let log = Log::new(Random::new(random.next()));
        let judge = Judge::new(log.clone());
        let events = Arc::new(Events::default());
        let rooms = Rooms::new(
            log.clone(),
            log.clone(),
            Arc::new(chat_domain::ports::MockChangeRepository::new()),
            events.clone(),
            Arc::new(Text),
            Arc::new(()),
            judge.clone(),
            TaskTracker::new(),
        );
        let room_ids = (1..=random.within(1..4)).map(|n| RoomId::new(n).unwrap());
        Self {
            room_ids: room_ids.collect(),
            random,
            log,
            judge,
            events,
            rooms,
            clients: Vec::new(),
            next: 1,
        }
    }

    async fn run(mut self) -> Outcome {
        let reconciliation = tokio::spawn(self.rooms.clone().reconcile(Arc::new(())));
        for n in 0..self.random.within(0..60) {
            self.log
                .append(self.room_ids[n as usize % self.room_ids.len()]);
        }
        let sizes = [1, 2, 3, 5, 8, 20, 40, 60];
        let clients = match self.random.within(0..200) {
            0 => 1000,
            1..5 => 300,
            _ => self.random.pick(&sizes),
        };
        for _ in 0..clients {
            self.connect();
        }
        let steps = self.random.within(30..200);
        for _ in 0..steps {
            self.step();
            let pause = self.random.within(0..8_000);
            sleep(Duration::from_micros(pause)).await;
            for (client, _) in &self.clients {
                client.tick();
            }
            if self.judge.first_violation().is_some() {
                break;
            }
        }
        if self.random.percent(20) {
            self.join_a_growing_room().await;
        }
        self.settle().await;
        reconciliation.abort();
        Outcome {
            violation: self.judge.first_violation(),
            trace: self.judge.trace(),
        }
    }

    /// Ends all faults, and checks that every client is soon up to date.
    async fn settle(&mut self) {
        // Some faults last longer than it takes until rooms are compared with the log.
        if self.random.percent(20) {
            sleep(Duration::from_millis(self.random.within(0..1500))).await;
        }
        self.log.set_reads(Reads::Well);
        for (client, _) in &self.clients {
            client.set_pace(Pace::AtOnce);
        }
        // What the log began slowly ends first: the fault lasts until then.
        sleep(Duration::from_millis(400)).await;
        self.judge.note("the last fault has ended");
        let mut waited = Duration::ZERO;
        while waited < SETTLING && !self.is_settled() {
            sleep(TICK).await;
            waited += TICK;
        }
        for (client, _) in &self.clients {
            for room_id in &self.room_ids {
                if !self.judge.is_up_to_date(client.number, *room_id) {
                    let number = client.number;
                    self.judge.accuse(format!(
                        "client {number} is not up to date in room {room_id}"
                    ));
                }
            }
        }
        // Without clients, nothing is left of the rooms.
        for (client, acts) in self.clients.drain(..) {
            client.disconnect();
            acts.send(Act::Vanish).ok();
        }
        sleep(SETTLING).await;
        if self.rooms.count() != 0 {
            self.judge
                .accuse("a room stays active without members".to_owned());
        }
    }

    fn is_settled(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.all(|(client, _)| {
            let mut rooms = self.room_ids.iter();
            rooms.all(|room_id| self.judge.is_up_to_date(client.number, *room_id))
        })
    }

    /// A client joins a room of its own, to which messages are added without a hint while
    /// its newest position is read.
    async fn join_a_growing_room(&mut self) {
        self.log.set_reads(Reads::Slow(Duration::from_millis(400)));
        let room_id = RoomId::new(self.room_ids.len() as u64 + 1).unwrap();
        self.room_ids.push(room_id);
        self.connect_to(room_id);
        sleep(Duration::from_millis(self.random.within(0..400))).await;
        self.log.append(room_id);
    }

    fn connect(&mut self) {
        let room_id = self.random.pick(&self.room_ids);
        self.connect_to(room_id);
    }

    fn connect_to(&mut self, room_id: RoomId) {
        let client = Client::new(self.next, self.judge.clone());
        self.next += 1;
        let (acts, received) = mpsc::unbounded_channel();
        let join = JoinRoom::new(self.log.clone(), open_rooms());
        tokio::spawn(client.clone().act(received, self.rooms.clone(), join));
        let after = self.after(room_id);
        acts.send(Act::Join { room_id, after }).ok();
        self.clients.push((client, acts));
    }

    /// Where a client asks to catch up from, if it does.
    fn after(&mut self, room_id: RoomId) -> Option<u64> {
        let newest = self.log.newest(room_id);
        let is_asking = self.random.percent(60);
        is_asking.then(|| self.random.within(0..newest + 2))
    }

    fn step(&mut self) {
        let room_id = self.random.pick(&self.room_ids);
        match self.random.within(0..110) {
            0..50 => {
                for _ in 0..self.random.within(1..6) {
                    let n = self.log.append(room_id);
                    self.announce(room_id, n);
                }
                if self.random.percent(20) {
                    self.read_at_once(room_id);
                }
                if self.random.percent(10) {
                    self.exclude(room_id);
                }
            }
            50..53 => {
                let n = self.random.within(0..self.log.newest(room_id) + 1);
                self.judge
                    .note(format_args!("room {room_id}: {n} is deleted"));
                self.log.delete(room_id, n);
            }
            53..60 => {
                let n = self.random.within(0..self.log.newest(room_id) + 1);
                self.read(room_id, n);
            }
            60..62 => self.connect(),
            62..78 => self.act(room_id),
            78..92 => {
                let paces = [
                    Pace::AtOnce,
                    Pace::AtOnce,
                    Pace::Slow(1),
                    Pace::Slow(5),
                    Pace::Stopped,
                ];
                let pace = self.random.pick(&paces);
                if let Some((client, _)) = self.any_client() {
                    client.set_pace(pace);
                }
            }
            92..96 => self.exclude(room_id),
            96..102 => {
                self.change_rules(room_id);
                if self.random.percent(30) {
                    self.exclude(room_id);
                }
            }
            _ => {
                let reads = [
                    Reads::Well,
                    Reads::Well,
                    Reads::Slow(Duration::from_millis(400)),
                    Reads::Fail,
                    Reads::OnlyChanges,
                    Reads::Stale,
                ];
                let reads = self.random.pick(&reads);
                self.judge.note(format_args!("reads: {reads:?}"));
                self.log.set_reads(reads);
            }
        }
    }

    fn any_client(&mut self) -> Option<(Arc<Client>, mpsc::UnboundedSender<Act>)> {
        if self.clients.is_empty() {
            return None;
        }
        let index = self.random.within(0..self.clients.len() as u64) as usize;
        Some(self.clients[index].clone())
    }

    fn act(&mut self, room_id: RoomId) {
        let Some((client, acts)) = self.any_client() else {
            return;
        };
        let act = match self.random.within(0..10) {
            0..6 => Act::Join {
                room_id,
                after: self.after(room_id),
            },
            6..9 => Act::Leave { room_id },
            _ => {
                client.disconnect();
                self.clients
                    .retain(|(other, _)| other.number != client.number);
                Act::Vanish
            }
        };
        acts.send(act).ok();
    }

    /// Excludes a client, perhaps while messages are being handed out.
    fn exclude(&mut self, room_id: RoomId) {
        let Some((client, _)) = self.any_client() else {
            return;
        };
        let (rooms, judge) = (self.rooms.clone(), self.judge.clone());
        let turns = self.random.within(0..12);
        tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            // One that has disconnected receives no farewell.
            if client.is_connected() {
                judge.exclude(client.number, room_id, || {
                    rooms.exclude(room_id, client.id(), format!("x:{room_id};").into())
                });
            }
        });
    }

    /// Changes a room's rules, for a user or for all, and announces it like a message.
    fn change_rules(&mut self, room_id: RoomId) {
        let number = self.log.change_rules(room_id);
        let user = self.random.within(0..3);
        let subject = match user {
            0 => ChangeSubject::Room,
            _ => ChangeSubject::Member(UserId::new(user.to_string()).unwrap()),
        };
        let encoded = format!("c:{room_id}:{user}:{number};").into();
        self.announce_entry(
            room_id,
            RoomEntry::Rules {
                number: RulesNumber::new(number),
                change: Arc::new(StoredChange::new(subject, encoded)),
            },
        );
    }

    /// Announces a message.
    fn announce(&mut self, room_id: RoomId, n: u64) {
        let message = StoredMessage::new(seq(n), frame(room_id, seq(n)).into());
        self.announce_entry(room_id, RoomEntry::Message(Arc::new(message)));
    }

    /// Announces a change: at once, late, twice, or never.
    fn announce_entry(&mut self, room_id: RoomId, entry: RoomEntry) {
        let delays: &[u64] = match self.random.within(0..100) {
            0..70 => &[0],
            70..80 => &[],
            80..90 => &[self.random.within(1..300)],
            90..95 => &[0, self.random.within(1..50)],
            _ => &[self.random.within(1..20), self.random.within(1..20)],
        };
        self.deliver(hint(room_id, entry), delays);
    }

    /// Announces that a user has read the newest message, while it is being handed out.
    fn read_at_once(&mut self, room_id: RoomId) {
        let (events, turns) = (self.events.clone(), self.random.within(0..12));
        let entry = RoomEntry::ReadPointer {
            user_id: UserId::new("9").unwrap(),
            seq: seq(self.log.newest(room_id)),
        };
        tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            events.deliver(hint(room_id, entry));
        });
    }

    /// Announces that a user has read a room up to a message.
    fn read(&mut self, room_id: RoomId, n: u64) {
        if n == 0 {
            return;
        }
        let user = self.random.within(1..5);
        let entry = RoomEntry::ReadPointer {
            user_id: UserId::new(user.to_string()).unwrap(),
            seq: seq(n),
        };
        let delay = self.random.pick(&[0, 0, 0, 30, 900]);
        self.deliver(hint(room_id, entry), &[delay]);
    }

    fn deliver(&self, hint: Hint, delays: &[u64]) {
        for delay in delays {
            let (events, hint, delay) = (self.events.clone(), hint.clone(), *delay);
            match delay {
                0 => events.deliver(hint),
                _ => {
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(delay)).await;
                        events.deliver(hint);
                    });
                }
            }
        }
    }
}

fn hint(room_id: RoomId, entry: RoomEntry) -> Hint {
    Hint {
        room_id,
        generation: Generation::FIRST,
        entry,
    }
}

/// Permits of open rooms that never have rules: no adapter is asked.
fn open_rooms() -> Permits {
    Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open)
}
