//! A simulated world: rooms, clients and faults, all from one seed, in virtual time.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chat_delivery::Rooms;
use chat_domain::ports::{Hint, HintListener, MockRoomDirectory, RoomEvents};
use chat_domain::use_cases::{JoinRoom, Permits};
use chat_domain::{RoomId, RoomKind};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::changes::Edit;
use crate::client::{Act, Client, Pace};
use crate::frames::Text;
use crate::judge::Judge;
use crate::log::{Log, Reads};
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
pub(crate) struct Events {
    listener: Mutex<Option<Weak<dyn HintListener>>>,
}

impl Events {
    pub(crate) fn deliver(&self, hint: Hint) {
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

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) log: Arc<Log>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms<Client>>,
    pub(crate) room_ids: Vec<RoomId>,
    pub(crate) clients: Vec<(Arc<Client>, mpsc::UnboundedSender<Act>)>,
    /// The number of the next client.
    next: u64,
    /// Whether messages change.
    pub(crate) changes_messages: bool,
    /// Clients that have vanished.
    pub(crate) vanished: Vec<u64>,
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
            log.clone(),
            events.clone(),
            Arc::new(Text),
            Arc::new(()),
            judge.clone(),
            TaskTracker::new(),
        );
        let room_ids = (1..=random.within(1..4)).map(|n| RoomId::new(n).unwrap());
        Self {
            room_ids: room_ids.collect(),
            changes_messages: random.percent(60),
            random,
            log,
            judge,
            events,
            rooms,
            clients: Vec::new(),
            next: 1,
            vanished: Vec::new(),
        }
    }

    async fn run(mut self) -> Outcome {
        let reconciliation = tokio::spawn(self.rooms.clone().reconcile(Arc::new(())));
        for n in 0..self.random.within(0..60) {
            let room_id = self.room_ids[n as usize % self.room_ids.len()];
            self.log.append(room_id);
            if self.random.percent(30) {
                self.change_message(room_id);
            }
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
        self.await_settled().await;
        if self.random.percent(30) {
            self.change_without_faults().await;
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

    /// Waits until every client is up to date, as it must be soon.
    async fn await_settled(&self) {
        let mut waited = Duration::ZERO;
        while waited < SETTLING && self.first_lacking().is_some() {
            sleep(TICK).await;
            waited += TICK;
        }
        if let Some(lacking) = self.first_lacking() {
            self.judge.accuse(lacking);
        }
    }

    fn first_lacking(&self) -> Option<String> {
        self.room_ids.iter().find_map(|room_id| {
            let stored = self.log.states(*room_id, 0, self.log.newest(*room_id));
            self.clients.iter().find_map(|(client, _)| {
                let number = client.number;
                let lacking = self.judge.is_up_to_date(number, *room_id, &stored).err()?;
                Some(format!(
                    "client {number} lacks in room {room_id}: {lacking}"
                ))
            })
        })
    }

    /// Messages are stored and changed while nothing but hints is lost: each time, every client
    /// is soon up to date.
    async fn change_without_faults(&mut self) {
        for _ in 0..self.random.within(1..4) {
            let room_id = self.random.pick(&self.room_ids);
            for _ in 0..self.random.within(1..20) {
                match self.random.percent(30) {
                    true => self.append(room_id),
                    false => self.change_message(room_id),
                }
            }
            self.await_settled().await;
        }
    }

    /// A client joins a room of its own, to which messages are added, or in which one changes,
    /// without a hint while its newest position is read.
    async fn join_a_growing_room(&mut self) {
        self.log.set_reads(Reads::Slow(Duration::from_millis(400)));
        let room_id = RoomId::new(self.room_ids.len() as u64 + 1).unwrap();
        self.room_ids.push(room_id);
        let n = self.log.append(room_id);
        self.connect_to(room_id);
        sleep(Duration::from_millis(self.random.within(0..400))).await;
        match self.random.percent(50) {
            true => self.log.append(room_id),
            false => self.log.change(room_id, n, Edit::Text, None).unwrap_or(n),
        };
    }

    pub(crate) fn connect(&mut self) {
        let room_id = self.random.pick(&self.room_ids);
        self.connect_to(room_id);
    }

    fn connect_to(&mut self, room_id: RoomId) {
        let from = self.from(room_id, None);
        let client = Client::new(self.next, self.judge.clone());
        self.next += 1;
        let (acts, received) = mpsc::unbounded_channel();
        let join = JoinRoom::new(self.log.clone(), open_rooms());
        tokio::spawn(client.clone().act(received, self.rooms.clone(), join));
        acts.send(Act::Join { room_id, from }).ok();
        self.clients.push((client, acts));
    }
}

/// Permits of open rooms that never have rules: no adapter is asked.
fn open_rooms() -> Permits {
    Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open)
}
