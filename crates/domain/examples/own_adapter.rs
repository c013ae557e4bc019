//! A service that is no gateway: a reminder bot that writes into rooms with the
//! domain's rules, and with an adapter of its own for each port.
//!
//! Run it: `cargo run -p chat-domain --example own_adapter`

use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chat_domain::{
    Content, DisplayName, Identity, Membership, Message, MessageId, NewMessage, RoomAccess, RoomId,
    Seq, StorageError, StoredMessage, Timestamp, User, UserId,
    ports::{
        AppendError, Appended, Clock, MessageRepository, PointerMoved, RoomEventListener,
        RoomEvents,
    },
    use_cases::{SendMessage, SentMessage},
};

/// A log that lasts as long as the process: enough for a bot's dry run.
#[derive(Default)]
struct Notebook {
    pages: Mutex<Vec<Message>>,
}

impl Notebook {
    /// Reads or writes the pages.
    fn open<T>(&self, work: impl FnOnce(&mut Vec<Message>) -> T) -> Result<T, StorageError> {
        match self.pages.lock() {
            Ok(mut pages) => Ok(work(&mut pages)),
            Err(_) => Err(StorageError::unavailable("a writer panicked")),
        }
    }
}

#[async_trait]
impl MessageRepository for Notebook {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let appended = self.open(|pages| {
            let id = &message.client_message_id;
            let before = pages.iter().find(|page| {
                id.is_some()
                    && page.client_message_id == *id
                    && page.room_id == message.room_id
                    && page.author.id == message.author.id
            });
            if let Some(before) = before {
                let is_repeat = before.content == message.content;
                let repeat = is_repeat.then(|| Appended::Repeat(before.clone()));
                return repeat.ok_or(AppendError::Conflict);
            }
            let room = pages.iter().filter(|page| page.room_id == message.room_id);
            let seq = room.map(|page| page.seq).max().unwrap_or(Seq::START).next();
            let stored = message.stored(MessageId::new(pages.len() as i64 + 1), seq);
            pages.push(stored.clone());
            Ok(Appended::Stored(stored))
        });
        appended?
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        self.open(|pages| {
            let room = pages.iter().filter(|page| page.room_id == room_id);
            room.filter(|page| page.seq > position)
                .take(limit)
                .cloned()
                .collect()
        })
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        self.open(|pages| {
            let room = pages.iter().filter(|page| page.room_id == room_id);
            let older = room.filter(|page| position.is_none_or(|position| page.seq < position));
            let older: Vec<_> = older.cloned().collect();
            older[older.len().saturating_sub(limit)..].to_vec()
        })
    }
}

/// Tells the terminal.
struct Terminal;

#[async_trait]
impl RoomEvents for Terminal {
    async fn message_stored(&self, message: Arc<StoredMessage>) {
        println!(
            "{} room {} #{} {}: {}",
            message.created_at,
            message.room_id,
            message.seq,
            message.author.name.as_str(),
            message.content.as_str()
        );
    }

    // A bot does not care who has read what.
    async fn pointer_moved(&self, _: PointerMoved) {}

    // Nobody else in this process wants to know.
    fn subscribe(&self, _: Weak<dyn RoomEventListener>) {}
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_unix_millis(since.as_millis() as i64)
    }
}

#[pollster::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let send = SendMessage::new(
        Arc::new(Notebook::default()),
        Arc::new(Terminal),
        Arc::new(SystemClock),
    );
    let bot = Identity {
        user: User {
            id: UserId::new("reminder-bot")?,
            name: DisplayName::from_text("Reminder"),
        },
        rooms: RoomAccess::All,
        valid_until: Timestamp::from_unix_millis(i64::MAX),
    };
    let room = RoomId::new(1)?;
    let mut membership = Membership::default();
    membership.join(room);

    for text in ["Stand-up in five minutes.", "Stand-up, now."] {
        let sent = SentMessage {
            room_id: room,
            content: Content::new(text)?,
            client_message_id: None,
        };
        send.execute(&bot, &membership, sent).await?;
    }
    Ok(())
}
