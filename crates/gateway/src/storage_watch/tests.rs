//! Which log lines the outcomes of mocked repositories cause, in paused time.

use std::io;

use chat_domain::ports::{MockChangeRepository, MockMessageRepository, MockRoomRepository};
use chat_domain::{Content, DisplayName, ReadState, Timestamp, User};
use serde_json::Value;
use tokio::time::advance;
use tracing::subscriber::DefaultGuard;

use super::*;

/// Watched repositories whose next operation fails with `failure` if it is set, and their log.
struct Watched {
    messages: Arc<dyn MessageRepository>,
    rooms: Arc<dyn RoomRepository>,
    failure: Arc<Mutex<Option<StorageError>>>,
    log: Log,
    _logging: DefaultGuard,
}

impl Watched {
    fn new() -> Self {
        let failure = Arc::new(Mutex::new(None));
        let next = |failure: &Arc<Mutex<Option<StorageError>>>| {
            let failure = failure.clone();
            move || lock(&failure).take()
        };
        let mut messages = MockMessageRepository::new();
        let append = next(&failure);
        messages
            .expect_append()
            .returning(move |_| Err(append().map_or(AppendError::Conflict, AppendError::Storage)));
        let mut rooms = MockRoomRepository::new();
        let mark_read = next(&failure);
        rooms.expect_mark_read().returning(move |_, _, _, _| {
            let marked = MarkedRead {
                state: ReadState::default(),
                moved: false,
            };
            mark_read().map_or(Ok(Some(marked)), Err)
        });
        let newest = next(&failure);
        rooms
            .expect_newest()
            .returning(move |_| newest().map_or(Ok(Vec::new()), Err));
        let repositories = Repositories {
            messages: Arc::new(messages),
            changes: Arc::new(MockChangeRepository::new()),
            rooms: Arc::new(rooms),
        };
        let Repositories {
            messages, rooms, ..
        } = watch(repositories, Arc::default());
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            messages,
            rooms,
            failure,
            log,
            _logging: tracing::subscriber::set_default(subscriber),
        }
    }

    fn fail_next(&self, error: StorageError) {
        *lock(&self.failure) = Some(error);
    }

    async fn write(&self) {
        let user = UserId::new("1").unwrap();
        let marked = self
            .rooms
            .mark_read(room(), chat_domain::Generation::FIRST, &user, Seq::START)
            .await;
        drop(marked);
    }

    async fn failing_write(&self) {
        self.fail_next(StorageError::unavailable("no space left on device"));
        self.write().await;
    }

    async fn read(&self) {
        drop(self.rooms.newest(&[room()]).await);
    }

    async fn failing_read(&self) {
        self.fail_next(StorageError::unavailable("connection refused"));
        self.read().await;
    }

    async fn append(&self) -> Result<Appended, AppendError> {
        let author = User {
            id: UserId::new("1").unwrap(),
            name: DisplayName::from_text("Ada"),
        };
        let message = NewMessage {
            extras: None,
            room_id: room(),
            author,
            content: Content::new("hello").unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
            rules: chat_domain::RulesNumber::NONE,
        };
        self.messages.append(message).await
    }

    /// Returns the log lines since the last call, as "message, kind[, failures]".
    fn lines(&self) -> Vec<String> {
        let lines = self.log.take();
        let line = |line: &Value| {
            let mut text = format!(
                "{}, {}",
                line["message"].as_str().unwrap(),
                line["kind"].as_str().unwrap()
            );
            if let Some(failures) = line["failures"].as_u64() {
                text += &format!(", {failures}");
            }
            text
        };
        lines.iter().map(line).collect()
    }
}

fn room() -> RoomId {
    RoomId::new(1).unwrap()
}

/// Log lines in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> Vec<Value> {
        let text = std::mem::take(&mut *lock(&self.0));
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_with_its_causes_when_it_begins_and_with_its_totals_when_it_ends() {
    let storage = Watched::new();
    storage.write().await;
    assert_eq!(storage.log.take(), [] as [Value; 0]);

    storage.failing_write().await;
    let began = &storage.log.take()[0];
    assert_eq!(began["level"], "WARN");
    assert_eq!(began["message"], "storage outage began");
    assert_eq!(began["kind"], "writes unavailable");
    assert_eq!(
        began["error"],
        "storage unavailable: no space left on device"
    );

    advance(Duration::from_millis(300)).await;
    storage.failing_write().await;
    advance(Duration::from_millis(200)).await;
    storage.write().await;
    advance(Duration::from_millis(800)).await;
    storage.write().await;
    let lines = storage.log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["message"], "storage outage ended");
    assert_eq!(lines[0]["failures"], 2);
    assert_eq!(lines[0]["duration_ms"], 500);

    advance(Duration::from_secs(5)).await;
    storage.write().await;
    assert_eq!(storage.lines(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_outage_logs_one_line_per_second_with_the_failures_since_the_last() {
    let storage = Watched::new();
    for _ in 0..=300 {
        storage.failing_write().await;
        advance(Duration::from_millis(10)).await;
    }
    assert_eq!(
        storage.lines(),
        [
            "storage outage began, writes unavailable",
            "storage outage continues, writes unavailable, 100",
            "storage outage continues, writes unavailable, 100",
            "storage outage continues, writes unavailable, 100",
        ]
    );
    advance(Duration::from_secs(60)).await;
    storage.write().await;
    assert_eq!(
        storage.lines(),
        ["storage outage ended, writes unavailable, 301"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_success_beside_failures_does_not_end_an_outage() {
    let storage = Watched::new();
    for _ in 0..10 {
        storage.failing_write().await;
        advance(Duration::from_millis(450)).await;
        storage.write().await;
        advance(Duration::from_millis(450)).await;
    }
    let lines = storage.lines();
    assert_eq!(lines[0], "storage outage began, writes unavailable");
    assert!(
        lines[1..].iter().all(|line| line.contains("continues")),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_long_after_a_success_begins_another_outage() {
    let storage = Watched::new();
    storage.failing_write().await;
    storage.write().await;
    advance(Duration::from_secs(1)).await;
    storage.failing_write().await;
    assert_eq!(
        storage.lines(),
        [
            "storage outage began, writes unavailable",
            "storage outage ended, writes unavailable, 1",
            "storage outage began, writes unavailable",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_lasts_while_nothing_succeeds_or_fails() {
    let storage = Watched::new();
    storage.failing_write().await;
    advance(Duration::from_secs(3600)).await;
    storage.failing_write().await;
    assert_eq!(
        storage.lines(),
        [
            "storage outage began, writes unavailable",
            "storage outage continues, writes unavailable, 1",
        ]
    );
}

/// Delivery reads what is not valid too, and reports it to no client.
#[tokio::test(start_paused = true)]
async fn data_that_is_not_valid_is_logged_as_its_own_kind_whatever_needed_it() {
    let storage = Watched::new();
    storage.fail_next(StorageError::corrupt("content must not be empty"));
    storage.read().await;
    storage.fail_next(StorageError::corrupt("content must not be empty"));
    assert!(storage.append().await.is_err());
    assert_eq!(
        storage.lines(),
        ["storage outage began, stored data not valid"]
    );
    advance(Duration::from_secs(1)).await;
    storage.read().await;
    assert_eq!(
        storage.lines(),
        ["storage outage ended, stored data not valid, 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn reads_writes_and_unknown_outcomes_are_separate_outages() {
    let storage = Watched::new();
    storage.failing_read().await;
    storage.failing_write().await;
    storage.fail_next(StorageError::outcome_unknown("connection reset"));
    assert!(storage.append().await.is_err());
    assert_eq!(
        storage.lines(),
        [
            "storage outage began, reads unavailable",
            "storage outage began, writes unavailable",
            "storage outage began, outcome of writes unknown",
        ]
    );

    advance(Duration::from_secs(1)).await;
    storage.read().await;
    assert_eq!(
        storage.lines(),
        ["storage outage ended, reads unavailable, 1"]
    );
    storage.write().await;
    assert_eq!(
        storage.lines(),
        [
            "storage outage ended, writes unavailable, 1",
            "storage outage ended, outcome of writes unknown, 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_notices_that_an_outage_of_writes_has_ended() {
    let storage = Watched::new();
    storage.failing_write().await;
    storage.write().await;
    storage.lines();
    advance(Duration::from_secs(1)).await;
    storage.failing_read().await;
    assert_eq!(
        storage.lines(),
        [
            "storage outage ended, writes unavailable, 1",
            "storage outage began, reads unavailable",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_not_a_storage_failure() {
    let storage = Watched::new();
    assert!(matches!(storage.append().await, Err(AppendError::Conflict)));
    assert_eq!(storage.lines(), [] as [&str; 0]);
}
