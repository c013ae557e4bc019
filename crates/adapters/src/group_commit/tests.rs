//! Group commit over a store in memory, whose faults a test controls.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};

use chat_domain::{ClientMessageId, Content, DisplayName, ReadState, RulesNumber, Timestamp, User};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

mod changes;
mod marks;
mod overload;
mod rules;

/// What the stores of one test share.
struct Database {
    state: Mutex<State>,
    /// A store waits here for a permit before it moves pointers, or stores messages that
    /// were left behind, or everything if it is stuck.
    gate: Semaphore,
}

#[derive(Default)]
struct State {
    log: Vec<Message>,
    /// The numbers of the rooms' rules.
    rules: HashMap<RoomId, RulesNumber>,
    pointers: HashMap<(RoomId, UserId), Seq>,
    /// The calls of `store`, with the contents of each batch.
    batches: Vec<Vec<String>>,
    /// The calls of `mark`.
    marks: Vec<Vec<Mark>>,
    lookups: usize,
    refusals: usize,
    /// The attempts to settle a batch.
    attempts: usize,
    /// The batches that were stuck.
    stuck: usize,
    fault: Fault,
}

/// The content that a faulty store does not store normally.
const BAD: &str = "bad";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// A batch with a bad message panics.
    Panic,
    /// A batch with a bad message panics, and no further store can be opened.
    PanicAndStayClosed,
    /// The rooms of bad messages are locked for regular batches.
    Locked,
    /// The outcome of a batch with a bad message is unknown. It ends when the gate opens.
    Unknown,
    /// A batch waits for the gate.
    Stuck,
    /// Everything is refused.
    Down,
}

struct MemoryStore(Arc<Database>, Option<Arc<dyn Unsettled>>);

/// A batch that ends when the gate has a permit. Without one, that remains unknown.
struct UnsettledBatch(Arc<Database>);

#[async_trait]
impl Unsettled for UnsettledBatch {
    async fn settle(&self) -> Result<(), BoxError> {
        self.0.state().attempts += 1;
        let permit = timeout(Duration::from_secs(2), self.0.gate.acquire()).await??;
        permit.forget();
        Ok(())
    }
}

impl MemoryStore {
    fn start(lanes: usize) -> (GroupCommit, Arc<Database>) {
        let database = Arc::new(Database {
            state: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let shared = database.clone();
        let open = move || {
            assert_ne!(
                shared.state().fault,
                Fault::PanicAndStayClosed,
                "as the test wants"
            );
            Self(shared.clone(), None)
        };
        (GroupCommit::start(lanes, open), database)
    }
}

impl Database {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn store(&self, batch: &[Arc<NewMessage>]) -> Result<Vec<Placed>, StoreError> {
        let mut state = self.state();
        let contents = batch.iter().map(|m| m.content.as_str().to_owned());
        state.batches.push(contents.collect());
        if batch
            .iter()
            .any(|message| state.original(message).is_some())
        {
            state.refusals += 1;
            return Err(StoreError::Repeat);
        }
        let stored = batch.iter().map(|message| {
            if !state.has_rules_of(message) {
                return Placed::RulesChanged;
            }
            let in_room = |m: &&Message| m.room_id == message.room_id;
            let seq = seq(1 + state.log.iter().filter(in_room).count() as u64);
            let id = MessageId::new(1);
            state.log.push(NewMessage::clone(message).stored(id, seq));
            Placed::Stored(id, seq)
        });
        Ok(stored.collect())
    }
}

impl State {
    fn original(&self, message: &NewMessage) -> Option<&Message> {
        let id = message.client_message_id.as_ref()?;
        let is_original = |m: &&Message| m.client_message_id.as_ref() == Some(id);
        let original = self.log.iter().find(is_original);
        original.filter(|_| self.has_rules_of(message))
    }

    /// Returns whether the message's room has the rules by which the message was decided.
    fn has_rules_of(&self, message: &NewMessage) -> bool {
        let rules = self.rules.get(&message.room_id);
        rules.copied().unwrap_or_default() == message.rules
    }
}

impl Store for MemoryStore {
    async fn store(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Placed>, StoreError> {
        let fault = self.0.state().fault;
        let bad = batch.iter().filter(|m| m.content.as_str() == BAD);
        let bad: HashSet<_> = bad.map(|message| message.room_id).collect();
        match fault {
            Fault::Down => Err(StoreError::Whole(StorageError::unavailable("down"))),
            Fault::Stuck => {
                self.0.state().stuck += 1;
                self.0.gate.acquire().await.unwrap().forget();
                self.0.store(batch)
            }
            Fault::Panic | Fault::PanicAndStayClosed if !bad.is_empty() => {
                panic!("as the test wants")
            }
            Fault::Locked if !bad.is_empty() => {
                let is_free = |message: &&Arc<NewMessage>| !bad.contains(&message.room_id);
                let free: Vec<_> = batch.iter().filter(is_free).cloned().collect();
                let mut stored = self.0.store(&free)?.into_iter();
                let places = batch.iter().map(|message| match is_free(&message) {
                    true => stored.next().unwrap(),
                    false => Placed::Locked,
                });
                Ok(places.collect())
            }
            Fault::Unknown if !bad.is_empty() => {
                self.1 = Some(Arc::new(UnsettledBatch(self.0.clone())));
                Err(StoreError::Whole(StorageError::outcome_unknown("broken")))
            }
            _ => self.0.store(batch),
        }
    }

    async fn store_left_behind(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<Placed>, StoreError> {
        self.0.gate.acquire().await.unwrap().forget();
        self.0.store(batch)
    }

    fn take_unsettled(&mut self) -> Option<Arc<dyn Unsettled>> {
        self.1.take()
    }

    async fn originals(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        let mut state = self.0.state();
        state.lookups += 1;
        let originals = batch.iter().filter_map(|message| state.original(message));
        Ok(originals.cloned().collect())
    }

    async fn mark(&mut self, marks: &[Mark]) -> Result<Vec<Option<MarkedRead>>, StoreError> {
        self.0.gate.acquire().await.unwrap().forget();
        let mut state = self.0.state();
        state.marks.push(marks.to_vec());
        if marks.iter().any(|mark| mark.user_id.as_str() == BAD) {
            return Err(StoreError::row("a bad row"));
        }
        let marked = marks.iter().map(|mark| {
            let key = (mark.room_id, mark.user_id.clone());
            let pointer = state.pointers.entry(key).or_default();
            let moved = *pointer < mark.position;
            *pointer = mark.position.max(*pointer);
            let state = ReadState {
                newest: seq(100),
                read: *pointer,
            };
            Some(MarkedRead { state, moved })
        });
        Ok(marked.collect())
    }
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

fn room(number: u64) -> RoomId {
    RoomId::new(number).unwrap()
}

fn message(room_id: RoomId, content: &str) -> NewMessage {
    NewMessage {
        extras: None,
        room_id,
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new(content).unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
        rules: RulesNumber::NONE,
    }
}

fn with_id(message: NewMessage, id: &str) -> NewMessage {
    NewMessage {
        extras: None,
        client_message_id: Some(ClientMessageId::new(id).unwrap()),
        ..message
    }
}

#[tokio::test]
async fn a_client_that_resends_constantly_costs_one_refused_batch() {
    let (commits, database) = MemoryStore::start(1);
    let original = with_id(message(room(1), "original"), "original");
    let stored = commits.append(original.clone()).await.unwrap();
    for n in 0..10 {
        let honest = with_id(message(room(1), "honest"), &n.to_string());
        commits.append(honest).await.unwrap();
    }
    assert_eq!(database.state().lookups, 0, "no repeat was seen yet");

    for n in 10..60 {
        let honest = with_id(message(room(1), "honest"), &n.to_string());
        let (repeat, honest) =
            tokio::join!(commits.append(original.clone()), commits.append(honest),);
        let Appended::Stored(first) = stored.clone() else {
            panic!("{stored:?}");
        };
        assert_eq!(repeat.unwrap(), Appended::Repeat(first));
        assert!(matches!(honest.unwrap(), Appended::Stored(m) if m.seq == seq(n + 2)));
    }
    assert_eq!(database.state().refusals, 1);
}

#[tokio::test]
async fn after_a_panic_the_outcome_is_unknown_and_the_next_message_is_stored() {
    let (commits, database) = MemoryStore::start(1);
    database.state().fault = Fault::Panic;
    let unknown = commits.append(message(room(1), BAD)).await;
    assert!(
        matches!(
            unknown,
            Err(AppendError::Storage(StorageError::OutcomeUnknown(_)))
        ),
        "{unknown:?}"
    );
    commits.append(message(room(1), "good")).await.unwrap();
    commits.check_writable().await.unwrap();
}

#[tokio::test]
async fn a_task_that_has_ended_is_reported_and_refuses() {
    let (commits, database) = MemoryStore::start(1);
    {
        let mut stopped = pin!(commits.stopped());
        let pending = tokio::select! {
            biased;
            task = &mut stopped => Some(task),
            stored = commits.append(message(room(1), "good")) => {
                stored.unwrap();
                None
            }
        };
        assert_eq!(pending, None);
        database.state().fault = Fault::PanicAndStayClosed;
        commits.append(message(room(1), BAD)).await.unwrap_err();
        assert_eq!(stopped.await, "group commit of messages");
    }
    let refused = commits.check_writable().await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))));
    let refused = commits.append(message(room(1), "good")).await;
    assert!(matches!(
        refused,
        Err(AppendError::Storage(StorageError::Unavailable(_)))
    ));
}

#[tokio::test]
async fn a_check_tries_an_empty_batch() {
    let (commits, database) = MemoryStore::start(1);
    commits.check_writable().await.unwrap();
    assert_eq!(database.state().batches, [[""; 0]]);
    database.state().fault = Fault::Down;
    let refused = commits.check_writable().await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))));
}

#[tokio::test]
async fn a_stored_message_answers_the_checks_of_its_batch() {
    let (commits, database) = MemoryStore::start(1);
    let (stored, checked) = tokio::join!(
        commits.append(message(room(1), "good")),
        commits.check_writable(),
    );
    stored.unwrap();
    checked.unwrap();
    assert_eq!(database.state().batches, [["good"]]);
}

#[tokio::test]
async fn messages_of_a_locked_room_wait_in_their_order_while_others_are_stored() {
    let (commits, database) = MemoryStore::start(2);
    database.state().fault = Fault::Locked;
    let (locked, free) = (room(1), room(2));
    let mut waiting = pin!(async {
        tokio::join!(
            commits.append(message(locked, BAD)),
            commits.append(message(locked, "second")),
        )
    });
    for n in 1..=20 {
        let stored = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the room is locked"),
            stored = commits.append(message(free, "free")) => stored.unwrap(),
        };
        assert!(matches!(stored, Appended::Stored(m) if m.seq == seq(n)));
    }
    database.gate.add_permits(10);
    let (first, second) = waiting.await;
    assert!(matches!(first.unwrap(), Appended::Stored(m) if m.seq == seq(1)));
    assert!(matches!(second.unwrap(), Appended::Stored(m) if m.seq == seq(2)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_in_a_room_until_a_batch_with_an_unknown_outcome_has_ended() {
    let (commits, database) = MemoryStore::start(2);
    database.state().fault = Fault::Unknown;
    let (unsettled, free) = (room(1), room(2));
    let unknown = commits.append(message(unsettled, BAD)).await;
    assert!(matches!(
        unknown,
        Err(AppendError::Storage(StorageError::OutcomeUnknown(_)))
    ));
    database.state().fault = Fault::None;

    // Without an end, what waits for the room is refused after a while.
    let began = tokio::time::Instant::now();
    let refused = commits.append(message(unsettled, "refused")).await;
    assert!(matches!(
        refused,
        Err(AppendError::Storage(StorageError::Unavailable(_)))
    ));
    assert_eq!(began.elapsed().as_secs(), 2);

    let mut waiting = pin!(commits.append(message(unsettled, "waits")));
    for n in 1..=20 {
        let stored = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the batch has not ended"),
            stored = commits.append(message(free, "free")) => stored.unwrap(),
        };
        assert!(matches!(stored, Appended::Stored(m) if m.seq == seq(n)));
    }
    database.gate.add_permits(1);
    let stored = waiting.await.unwrap();
    assert!(matches!(stored, Appended::Stored(m) if m.content.as_str() == "waits"));
    assert_eq!(database.state().attempts, 2);
}
