//! The delivery of one room: its log, hints within the test, and joining.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use chat_delivery::{Admission, Entrance, NotAdmitted, Recipient as _, Rooms, RulesListener};
use chat_domain::ports::{ChangeRepository, Hint, HintListener, MockChangeRepository, RoomEvents};
use chat_domain::use_cases::{CatchUp, Changed, Joining};
use chat_domain::{
    ChangeSubject, Generation, Membership, Permit, ReadState, Rev, RoomEntry, RoomId, RulesNumber,
    Seq, StoredChange, StoredMessage, UserId,
};
use tokio_util::task::TaskTracker;

use crate::client::{Client, Text};
use crate::log::Log;

pub(crate) const ROOM: u64 = 1;

pub(crate) fn room() -> RoomId {
    RoomId::new(ROOM).unwrap()
}

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

/// The delivery of one room.
pub(crate) struct World {
    pub(crate) log: Arc<Log>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms<Client>>,
    /// What the listener of rules was told: numbers, and whom they concern.
    pub(crate) rules: Arc<RulesLog>,
    /// The tasks that delivery runs.
    pub(crate) tasks: TaskTracker,
}

impl World {
    /// A room with this many stored messages, compared with its log in the background.
    pub(crate) fn with(newest: u64) -> Self {
        let world = Self::without_reconciliation(newest);
        tokio::spawn(world.rooms.clone().reconcile(Arc::new(())));
        world
    }

    pub(crate) fn without_reconciliation(newest: u64) -> Self {
        Self::with_changes(newest, Arc::new(MockChangeRepository::new()))
    }

    /// A room whose changes are read here.
    pub(crate) fn with_changes(newest: u64, changes: Arc<dyn ChangeRepository>) -> Self {
        let log = Arc::new(Log::default());
        log.store_up_to(newest);
        let (events, tasks) = (Arc::new(Events::default()), TaskTracker::new());
        let rules = Arc::new(RulesLog::default());
        let rooms = Rooms::new(
            log.clone(),
            log.clone(),
            changes,
            events.clone(),
            Arc::new(Text),
            Arc::new(()),
            rules.clone(),
            tasks.clone(),
        );
        Self {
            log,
            events,
            rooms,
            rules,
            tasks,
        }
    }

    /// Joins without catching up, or after a message.
    pub(crate) async fn join(&self, client: &Arc<Client>, after: Option<u64>) {
        self.join_at(client, after, self.log.newest_seq()).await;
    }

    /// Joins with this newest position, which was read before.
    pub(crate) async fn join_at(&self, client: &Arc<Client>, after: Option<u64>, newest: Seq) {
        let entrance = self.rooms.open(room(), client);
        self.admit(entrance, after, newest).await.ok();
    }

    /// Ends a join that has begun, with this newest position, of a connection that had joined
    /// the room before.
    pub(crate) async fn admit(
        &self,
        entrance: Entrance<'_, Client>,
        after: Option<u64>,
        newest: Seq,
    ) -> Result<(), NotAdmitted> {
        self.admit_to(0, entrance, after, newest).await
    }

    /// As [`admit`](Self::admit), to this generation of the room.
    pub(crate) async fn admit_to(
        &self,
        generation: u64,
        entrance: Entrance<'_, Client>,
        after: Option<u64>,
        newest: Seq,
    ) -> Result<(), NotAdmitted> {
        self.admit_with(generation, entrance, (after, newest), (Rev::START, None))
            .await
    }

    /// Joins when the room's newest change is this one, and catches up on changes.
    pub(crate) async fn join_changed(
        &self,
        client: &Arc<Client>,
        after: Option<u64>,
        rev: Rev,
        changed: Option<Changed>,
    ) {
        let entrance = self.rooms.open(room(), client);
        let messages = (after, self.log.newest_seq());
        let admitted = self.admit_with(0, entrance, messages, (rev, changed));
        admitted.await.unwrap();
    }

    async fn admit_with(
        &self,
        generation: u64,
        entrance: Entrance<'_, Client>,
        (after, newest): (Option<u64>, Seq),
        (rev, changed): (Rev, Option<Changed>),
    ) -> Result<(), NotAdmitted> {
        let catch_up = match after {
            Some(after) => CatchUp::Replay { after: seq(after) },
            None => CatchUp::None,
        };
        let state = ReadState {
            newest,
            read: Seq::START,
        };
        let permit = Permit {
            number: RulesNumber::new(generation),
            generation: Generation::new(generation),
            ..Permit::OPEN
        };
        let joining = Joining {
            user_id: UserId::new("1").unwrap(),
            state,
            permit,
            catch_up,
            rev,
            changed,
        };
        let welcome = |admission: Admission| {
            let mut text = format!("joined {}", admission.seam);
            if let Some(missed) = admission.missed {
                text += &format!(" missed {}-{}", missed.from, missed.to);
            }
            if changed.is_some() {
                text += &format!(" rev {}", admission.rev.get());
            }
            if let Some((from, to)) = admission.changes_missed {
                text += &format!(" changes missed {}-{}", from.get(), to.get());
            }
            Bytes::from(text + ";")
        };
        let mut membership = Membership::default();
        membership.join(room(), Permit::OPEN);
        let admitted = entrance.admit(&mut membership, joining, welcome).await;
        assert_eq!(membership.has_joined(room()), admitted.is_ok());
        admitted
    }

    /// Excludes a client, whose farewell is `bye;`.
    pub(crate) fn exclude(&self, client: &Client) -> bool {
        let farewell = Bytes::from_static(b"bye;");
        self.rooms.exclude(room(), client.id(), farewell)
    }

    /// Joins this many clients.
    pub(crate) async fn crowd(&self, size: u64) -> Vec<Arc<Client>> {
        let clients: Vec<_> = (0..size).map(Client::new).collect();
        for client in &clients {
            self.join(client, None).await;
        }
        clients
    }

    /// Stores a message and announces it.
    pub(crate) fn send(&self, n: u64) {
        self.log.store_up_to(n);
        self.hint(n);
    }

    /// Announces a message.
    pub(crate) fn hint(&self, n: u64) {
        let message = StoredMessage::new(seq(n), "".into());
        self.announce(RoomEntry::Message(Arc::new(message)));
    }

    /// Announces a read pointer.
    pub(crate) fn read(&self, user: &str, n: u64) {
        self.announce(RoomEntry::ReadPointer {
            user_id: UserId::new(user).unwrap(),
            seq: seq(n),
        });
    }

    /// Announces a change of the room's settings, or of where a user stands.
    pub(crate) fn change_rules(&self, number: u64, user: Option<&str>) {
        let subject = match user {
            Some(user) => ChangeSubject::Member(UserId::new(user).unwrap()),
            None => ChangeSubject::Room,
        };
        let encoded = number.to_string().into();
        self.announce(RoomEntry::Rules {
            number: RulesNumber::new(number),
            change: Arc::new(StoredChange::new(subject, encoded)),
        });
    }

    fn announce(&self, entry: RoomEntry) {
        self.announce_of(0, entry);
    }

    /// Announces something of this generation of the room.
    pub(crate) fn announce_of(&self, generation: u64, entry: RoomEntry) {
        self.events.announce(Hint {
            room_id: room(),
            generation: Generation::new(generation),
            entry,
        });
    }
}

/// What a listener of rules was told.
#[derive(Default)]
pub(crate) struct RulesLog(Mutex<Vec<(u64, Option<String>)>>, AtomicUsize);

impl RulesLog {
    /// Returns what is new since the last call.
    pub(crate) fn take(&self) -> Vec<(u64, Option<String>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns how often the room was closed.
    pub(crate) fn closures(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

impl RulesListener for RulesLog {
    fn rules_changed(&self, room_id: RoomId, number: RulesNumber, user: Option<&UserId>) {
        assert_eq!(room_id, room());
        let told = (number.get(), user.map(UserId::to_string));
        self.0.lock().unwrap().push(told);
    }

    fn room_closed(&self, room_id: RoomId) {
        assert_eq!(room_id, room());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Hints within the test, and the rooms that are served.
#[derive(Default)]
pub(crate) struct Events {
    listener: Mutex<Option<Weak<dyn HintListener>>>,
    pub(crate) served: Mutex<Vec<RoomId>>,
}

impl RoomEvents for Events {
    fn announce(&self, hint: Hint) {
        let listener = self.listener.lock().unwrap().clone();
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.on_hint(hint);
        }
    }

    fn serve(&self, room_id: RoomId) {
        self.served.lock().unwrap().push(room_id);
    }

    fn release(&self, room_id: RoomId) {
        self.served.lock().unwrap().retain(|id| *id != room_id);
    }

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        *self.listener.lock().unwrap() = Some(listener);
    }
}
