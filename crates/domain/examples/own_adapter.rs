//! A service other than the gateway: a reminder bot that writes to rooms by the domain's
//! rules, with its own adapter for each port.
//!
//! Run it: `cargo run -p chat-domain --example own_adapter`

use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chat_domain::{
    Access, Caller, ClientMessageId, Content, DisplayName, Generation, Message, MessageId,
    NewMember, NewMessage, Permit, RoomEntry, RoomId, RulesNumber, Seq, StorageError, Timestamp,
    User, UserId,
    ports::{
        AppendError, Appended, ChangeError, Changed, Clock, Hint, HintListener, LogPage,
        MemberPage, MembersSet, MessageRepository, ReadLimit, RoomChange, RoomDirectory,
        RoomEvents, RoomPage, RoomSnapshot, SanctionKind, SanctionPage, Turn, UserRecord,
    },
    use_cases::{Attempt, SendMessage, SentMessage},
};

/// A log in memory: enough for a bot's dry run.
#[derive(Default)]
struct Notebook {
    pages: Mutex<Vec<Message>>,
}

impl Notebook {
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
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        self.open(|pages| {
            let mut messages = room(pages, room_id);
            let newest = newest(&messages);
            messages.retain(|message| message.seq > position);
            let has_more = messages.len() > limit.messages;
            messages.truncate(limit.messages);
            LogPage {
                messages,
                has_more,
                newest,
                generation: Generation::FIRST,
            }
        })
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        self.open(|pages| {
            let mut messages = room(pages, room_id);
            let newest = newest(&messages);
            messages.retain(|message| position.is_none_or(|position| message.seq < position));
            let start = messages.len().saturating_sub(limit.messages);
            LogPage {
                messages: messages.split_off(start),
                has_more: start > 0,
                newest,
                generation: Generation::FIRST,
            }
        })
    }
}

fn room(pages: &[Message], room_id: RoomId) -> Vec<Message> {
    let room = pages.iter().filter(|message| message.room_id == room_id);
    room.cloned().collect()
}

fn newest(messages: &[Message]) -> Seq {
    messages.last().map_or(Seq::START, |last| last.seq)
}

/// Rooms that are open to everyone, for good.
struct OpenRooms;

#[async_trait]
impl RoomDirectory for OpenRooms {
    async fn snapshot(&self, _: RoomId, users: &[UserId]) -> Result<RoomSnapshot, StorageError> {
        Ok(RoomSnapshot {
            rules: RulesNumber::NONE,
            generation: Generation::FIRST,
            settings: None,
            owners: 0,
            users: vec![UserRecord::default(); users.len()],
        })
    }

    async fn change(
        &self,
        _: RoomId,
        _: RulesNumber,
        _: &RoomChange,
        _: Option<UserId>,
    ) -> Result<Changed, ChangeError> {
        Err(StorageError::unavailable("these rooms have no rules").into())
    }

    async fn members(
        &self,
        _: RoomId,
        _: Option<UserId>,
        _: usize,
    ) -> Result<MemberPage, StorageError> {
        Ok(MemberPage::default())
    }

    async fn set_members(
        &self,
        _: RoomId,
        _: RulesNumber,
        _: &[NewMember],
    ) -> Result<MembersSet, ChangeError> {
        Err(StorageError::unavailable("these rooms have no rules").into())
    }

    async fn rooms(&self, _: Option<RoomId>, _: usize) -> Result<RoomPage, StorageError> {
        Ok(RoomPage::default())
    }

    async fn sanctions(
        &self,
        _: RoomId,
        _: SanctionKind,
        _: Option<UserId>,
        _: usize,
    ) -> Result<SanctionPage, StorageError> {
        Ok(SanctionPage::default())
    }

    async fn user_name(&self, _: &UserId) -> Result<Option<DisplayName>, StorageError> {
        Ok(None)
    }

    async fn take_turn(
        &self,
        _: RoomId,
        _: &UserId,
        _: u32,
        _: Option<ClientMessageId>,
    ) -> Result<Turn, StorageError> {
        Ok(Turn::Taken)
    }
}

/// Prints every change.
struct Terminal;

impl RoomEvents for Terminal {
    fn announce(&self, hint: Hint) {
        if let RoomEntry::Message(message) = hint.entry {
            println!("{}", message.encoded());
        }
    }

    // This process serves no room and has no listeners.
    fn serve(&self, _: RoomId) {}
    fn release(&self, _: RoomId) {}
    fn subscribe(&self, _: Weak<dyn HintListener>) {}
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

/// Encodes a message for the terminal.
fn encode(message: &Message) -> Box<str> {
    format!(
        "{} room {} #{} {}: {}",
        message.created_at,
        message.room_id,
        message.seq,
        message.author.name.as_str(),
        message.content.as_str()
    )
    .into()
}

#[pollster::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let send = SendMessage::new(
        Arc::new(Notebook::default()),
        Arc::new(OpenRooms),
        Arc::new(Terminal),
        Arc::new(SystemClock),
        encode,
    );
    let bot = User {
        id: UserId::new("reminder-bot")?,
        name: DisplayName::from_text("Reminder"),
    };
    for text in ["Stand-up in five minutes.", "Stand-up, now."] {
        // The bot may write to every room, so it acts as if it had joined.
        let caller = Caller {
            user: &bot,
            access: Access::Joined(Permit::OPEN),
        };
        let sent = SentMessage {
            extras: None,
            room_id: RoomId::new(1)?,
            content: Content::new(text)?,
            client_message_id: None,
        };
        send.execute(caller, sent, Attempt::First, || ()).await?;
    }
    Ok(())
}
