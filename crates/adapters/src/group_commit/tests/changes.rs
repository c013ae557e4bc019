//! Changes to messages.

use chat_domain::MessageEdit;
use chat_domain::ports::{MadeChange, MessageChange, MessageChangeError};
use futures_util::future::join_all;

use super::super::changes::{CHANGES, ROOM_QUEUE};
use super::*;

/// A store in memory, whose batches each wait for a permit.
#[derive(Clone)]
struct MemoryChanges(Arc<Calls>);

struct Calls {
    /// The texts of each batch.
    batches: Mutex<Vec<Vec<String>>>,
    gate: Semaphore,
}

/// Texts of edits that end differently.
const REFUSED: &str = "refused";
const UNKNOWN: &str = "unknown";
const PANIC: &str = "panic";

impl Calls {
    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }

    /// Waits until so many batches have begun.
    async fn begun(&self, batches: usize) {
        while self.batches().len() < batches {
            yield_now().await;
        }
    }
}

impl ChangeStore for MemoryChanges {
    async fn change(&self, batch: &[Arc<MessageChange>]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let texts: Vec<_> = batch.iter().map(|change| text(change)).collect();
        self.0.batches.lock().unwrap().push(texts.clone());
        self.0.gate.acquire().await.unwrap().forget();
        let has = |text: &str| texts.iter().any(|one| one == text);
        assert!(!has(PANIC), "as the test wants");
        if has(UNKNOWN) {
            return Err(StoreError::Whole(StorageError::outcome_unknown("broken")));
        }
        if has(BAD) {
            return Err(StoreError::row("a bad row"));
        }
        let outcomes = batch.iter().map(|change| match text(change).as_str() {
            REFUSED => Err(MessageChangeError::NotFound),
            text => Ok(MadeChange {
                message: message(change.room_id, text).stored(MessageId::new(1), seq(1)),
                is_new: true,
            }),
        });
        Ok(outcomes.collect())
    }
}

fn text(change: &MessageChange) -> String {
    match &change.edit {
        MessageEdit::Edit(content) => content.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

fn start(batches: usize, rooms: usize) -> (ChangeQueue, Arc<Calls>) {
    let calls = Arc::new(Calls {
        batches: Mutex::default(),
        gate: Semaphore::new(0),
    });
    let lanes = Lanes { batches, rooms };
    (
        ChangeQueue::start(MemoryChanges(calls.clone()), lanes),
        calls,
    )
}

async fn change(changes: &ChangeQueue, room_number: u64, text: &str) -> String {
    let change = MessageChange {
        room_id: room(room_number),
        seq: seq(1),
        edit: MessageEdit::Edit(Content::new(text).unwrap()),
        by: None,
        rules: RulesNumber::NONE,
    };
    match changes.change(change).await {
        Ok(made) => made.message.content.as_str().to_owned(),
        Err(MessageChangeError::Storage(StorageError::Unavailable(reason))) => reason.to_string(),
        Err(MessageChangeError::Storage(StorageError::OutcomeUnknown(_))) => UNKNOWN.to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Asks for all of these changes at once.
async fn all(changes: &ChangeQueue, asked: &[(u64, &str)]) -> Vec<String> {
    let changes = asked
        .iter()
        .map(|(room_number, text)| change(changes, *room_number, text));
    join_all(changes).await
}

#[tokio::test]
async fn changes_that_wait_for_a_room_are_its_next_batch() {
    let (changes, calls) = start(2, 1);
    let first = change(&changes, 1, "first");
    let others = async {
        calls.begun(1).await;
        let texts: Vec<_> = (0..CHANGES + 2).map(|n| n.to_string()).collect();
        let asked: Vec<_> = texts.iter().map(|text| (1, text.as_str())).collect();
        let release = async {
            let other = change(&changes, 2, "other room");
            let release = async {
                // The other room's batch waits for none of this room.
                calls.begun(2).await;
                calls.gate.add_permits(10);
            };
            assert_eq!(tokio::join!(biased; other, release).0, "other room");
        };
        let (made, ()) = tokio::join!(biased; all(&changes, &asked), release);
        assert_eq!(made, texts);
        texts
    };
    let (first, texts) = tokio::join!(first, others);
    assert_eq!(first, "first");
    let (batch, rest) = texts.split_at(CHANGES);
    let batches = calls.batches();
    let of_room = batches.iter().filter(|texts| texts[0] != "other room");
    let of_room: Vec<_> = of_room.map(Vec::as_slice).collect();
    assert_eq!(of_room, [&["first".to_owned()][..], batch, rest]);
}

#[tokio::test]
async fn rooms_take_turns() {
    for (rooms, expected) in [
        (
            1,
            &[&["1"][..], &["2a", "2b"], &["3a"], &["1a", "1b", "1c"]][..],
        ),
        (2, &[&["1"], &["2a", "3a", "2b"], &["1a", "1b", "1c"]]),
        (9, &[&["1"], &["2a", "3a", "1a", "2b", "1b", "1c"]]),
    ] {
        let (changes, calls) = start(1, rooms);
        let first = change(&changes, 1, "1");
        let others = async {
            calls.begun(1).await;
            let asked = [
                (2, "2a"),
                (3, "3a"),
                (1, "1a"),
                (2, "2b"),
                (1, "1b"),
                (1, "1c"),
            ];
            let release = async { calls.gate.add_permits(10) };
            tokio::join!(biased; all(&changes, &asked), release).0
        };
        let (_, made) = tokio::join!(first, others);
        assert_eq!(made, ["2a", "3a", "1a", "2b", "1b", "1c"]);
        assert_eq!(calls.batches(), expected, "{rooms}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_stored_fails_alone() {
    let (changes, calls) = start(1, 1);
    calls.gate.add_permits(100);
    let asked = [(1, "a"), (1, "b"), (1, REFUSED), (1, BAD), (1, "c")];
    let made = all(&changes, &asked).await;
    assert_eq!(
        made,
        ["a", "b", "the message does not exist", "a bad row", "c"]
    );
    // Each change was made once.
    for once in ["a", "b", "c"] {
        let batches = calls.batches();
        let made = batches.iter().filter(|texts| {
            let is_bad = texts.iter().any(|text| text == BAD);
            !is_bad && texts.iter().any(|text| text == once)
        });
        assert_eq!(made.count(), 1, "{once}");
    }
}

#[tokio::test]
async fn a_database_that_refuses_everything_is_not_asked_for_each_change() {
    let (changes, calls) = start(1, 1);
    calls.gate.add_permits(1000);
    let asked = [(1, BAD); CHANGES + 1];
    assert_eq!(all(&changes, &asked).await, ["a bad row"; CHANGES + 1]);
    let attempts = calls.batches().len();
    assert!(attempts < 50, "{attempts}");
}

#[tokio::test]
async fn an_unknown_outcome_is_that_of_the_whole_batch_and_of_no_other() {
    for fault in [UNKNOWN, PANIC] {
        let (changes, calls) = start(1, 1);
        calls.gate.add_permits(100);
        // The first one is a batch of its own.
        let asked = [(1, "a"), (2, "b"), (2, fault), (1, "c"), (1, "d")];
        let first = change(&changes, 3, "first");
        let (first, made) = tokio::join!(biased; first, all(&changes, &asked));
        assert_eq!(first, "first");
        assert_eq!(made, ["a", UNKNOWN, UNKNOWN, "c", "d"]);
        assert_eq!(change(&changes, 2, "next").await, "next");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_has_waited_too_long_is_refused_while_its_room_is_busy() {
    let (changes, calls) = start(1, 1);
    let mut first = pin!(change(&changes, 1, "first"));
    let began = tokio::time::Instant::now();
    let others = async {
        calls.begun(1).await;
        all(&changes, &[(1, "second"), (2, "third")]).await
    };
    let refused = tokio::select! {
        biased;
        made = &mut first => panic!("{made}"),
        refused = others => refused,
    };
    assert_eq!(refused, ["the change waited too long to be made"; 2]);
    let waited = began.elapsed();
    assert!(waited >= QUEUE_DEADLINE && waited < QUEUE_DEADLINE + Duration::from_secs(1));
    calls.gate.add_permits(10);
    assert_eq!(first.await, "first");
    for room_number in [1, 2] {
        assert_eq!(change(&changes, room_number, "next").await, "next");
    }
    assert_eq!(calls.batches().concat(), ["first", "next", "next"]);
}

#[tokio::test]
async fn one_room_cannot_fill_the_queue() {
    let (changes, calls) = start(1, 1);
    let asked = vec![(1, "x"); ROOM_QUEUE + CHANGES + 1];
    let others = async {
        calls.begun(1).await;
        let other = change(&changes, 2, "other");
        let release = async { calls.gate.add_permits(1000) };
        tokio::join!(biased; other, release).0
    };
    let (made, other) = tokio::join!(biased; all(&changes, &asked), others);
    assert_eq!(other, "other");
    let refused = made.iter().filter(|made| *made != "x");
    let refused: Vec<_> = refused.collect();
    assert!(!refused.is_empty() && refused.len() <= CHANGES + 1);
    let reason = "too many changes to messages of the room are waiting";
    assert!(refused.iter().all(|refused| *refused == reason));
}

#[tokio::test]
async fn a_change_is_made_although_its_caller_is_gone() {
    let (changes, calls) = start(1, 1);
    let first = async { change(&changes, 1, "first").await };
    let abandoned = async {
        calls.begun(1).await;
        let second = change(&changes, 1, "second");
        tokio::select! {
            biased;
            made = second => panic!("{made}"),
            () = yield_now() => calls.gate.add_permits(10),
        }
    };
    tokio::join!(first, abandoned);
    drop(changes);
    calls.begun(2).await;
    assert_eq!(calls.batches(), [["first"], ["second"]]);
}
