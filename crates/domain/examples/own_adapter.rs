//! A service that is no gateway: a reminder bot that writes into rooms with the
//! domain's rules, and with an adapter of its own for each port.
//!
//! Run it: `cargo run -p chat-domain --example own_adapter`

use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chat_domain::{
    Content, DisplayName, Identity, Membership, Message, MessageId, NewMessage, RoomAccess, RoomId,
    Seq, StorageError, Timestamp, User, UserId,
    ports::{Clock, MessageRepository, RoomEventListener, RoomEvents},
    use_cases::SendMessage,
};

/// A log that lasts as long as the process: enough for a bot's dry run.
#[derive(Default)]
struct Notebook {
    pages: Mutex<Vec<Message>>,
}

#[async_trait]
impl MessageRepository for Notebook {
    async fn append(&self, message: NewMessage) -> Result<Message, StorageError> {
        let mut pages = self
            .pages
            .lock()
            .map_err(|_| StorageError::unavailable("a writer panicked"))?;
        let before = pages.iter().filter(|m| m.room_id == message.room_id);
        let seq = before.map(|m| m.seq).max().unwrap_or(Seq::START).next();
        let stored = message.stored(MessageId::new(pages.len() as i64 + 1), seq);
        pages.push(stored.clone());
        Ok(stored)
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        let pages = self
            .pages
            .lock()
            .map_err(|_| StorageError::unavailable("a writer panicked"))?;
        let newer = pages
            .iter()
            .filter(|m| m.room_id == room_id && m.seq > position);
        Ok(newer.take(limit).cloned().collect())
    }
}

/// Tells the terminal.
struct Terminal;

#[async_trait]
impl RoomEvents for Terminal {
    async fn message_stored(&self, message: Arc<Message>) {
        println!(
            "{} room {} #{} {}: {}",
            message.created_at,
            message.room_id,
            message.seq,
            message.author.name.as_str(),
            message.content.as_str()
        );
    }

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

#[tokio::main(flavor = "current_thread")]
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
        send.execute(&bot, &membership, room, Content::new(text)?)
            .await?;
    }
    Ok(())
}
