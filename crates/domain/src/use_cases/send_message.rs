//! A user sends a message to a room.

use std::sync::Arc;

use super::known_rules::{DecidedBy, KnownRules};
use crate::{
    AccessDenied, Action, Caller, ClientMessageId, Content, DisplayName, EncodeMessage,
    MessageExtras, NewMessage, Permit, RoomEntry, RoomId, Seq, StorageError, StoredMessage, User,
    UserId,
    ports::{
        AppendError, Appended, Clock, Hint, MessageRepository, ReadLimit, RoomDirectory,
        RoomEvents, Turn,
    },
};

/// Stores a message, then announces it.
#[derive(Clone)]
pub struct SendMessage {
    messages: Arc<dyn MessageRepository>,
    directory: Arc<dyn RoomDirectory>,
    events: Arc<dyn RoomEvents>,
    clock: Arc<dyn Clock>,
    encode: EncodeMessage,
    known_rules: Arc<KnownRules>,
}

/// How current the permit is by which a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It was read earlier. What it refuses may be allowed now.
    First,
    /// It was read for this message.
    Again {
        /// Whether an earlier attempt has taken the user's turn in slow mode.
        has_turn: bool,
    },
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The permit is outdated: it has to be read again for another attempt. Nothing is stored.
    #[error("the rules have changed")]
    Outdated {
        /// Whether this attempt has taken the user's turn in slow mode.
        has_turn: bool,
    },
    /// In slow mode, the user has to wait.
    #[error("slow mode: wait before you send another message")]
    SlowMode {
        /// For how long, in milliseconds.
        retry_after_ms: u64,
    },
    /// The room is being deleted. Users do not see it.
    #[error("the room is being deleted")]
    Closed,
    /// The sender already used the message's id with different content.
    #[error("the clientMessageId was already used with different content")]
    Conflict,
    /// The message to which it replies does not exist.
    #[error("replyTo must be the seq of an earlier message in the room")]
    UnknownReplyTo,
    /// The message was not stored, or it is not known whether it was.
    #[error("the message cannot be stored now")]
    Storage(#[source] StorageError),
}

/// A message as its sender submits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// The room.
    pub room_id: RoomId,
    /// The text.
    pub content: Content,
    /// What it carries besides its text, if anything.
    pub extras: Option<Box<MessageExtras>>,
    /// The id that the sender chose, if any.
    pub client_message_id: Option<ClientMessageId>,
}

impl SentMessage {
    /// Returns the position of the message to which it replies, if any.
    pub fn reply_to(&self) -> Option<Seq> {
        self.extras.as_ref().and_then(|extras| extras.reply_to)
    }
}

/// A message that the product sends as a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductMessage {
    /// The user.
    pub user_id: UserId,
    /// The user's name from now on; `None`: the latest stored one.
    pub name: Option<DisplayName>,
    /// The message.
    pub sent: SentMessage,
}

/// What has become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It is stored now.
    Stored(Arc<StoredMessage>),
    /// It had been stored before, like this.
    Repeat(Arc<StoredMessage>),
}

/// How often a message of the product is sent again because the rules change meanwhile.
const ATTEMPTS: usize = 5;

impl SendMessage {
    /// Creates the use case over this log, these rules, these hints and this clock.
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        directory: Arc<dyn RoomDirectory>,
        events: Arc<dyn RoomEvents>,
        clock: Arc<dyn Clock>,
        encode: EncodeMessage,
    ) -> Self {
        Self {
            messages,
            directory,
            events,
            clock,
            encode,
            known_rules: Arc::default(),
        }
    }

    /// Stores the message and, once it is stored, calls `stored` and announces it. A message
    /// that is not stored, or was stored before, is not announced. It is stored only if the
    /// room's rules are still those by which the caller may write.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn execute(
        &self,
        caller: Caller<'_>,
        sent: SentMessage,
        attempt: Attempt,
        stored: impl FnOnce(),
    ) -> Result<Arc<StoredMessage>, SendMessageError> {
        let permit = caller.access.require_joined()?;
        let has_turn = self.decide(caller, &sent, permit, attempt).await?;
        let decided_by = DecidedBy {
            number: permit.number,
            generation: permit.generation,
        };
        let posted = self.post(caller.user.clone(), sent, decided_by, stored);
        match posted.await {
            Ok(Posted::Stored(message) | Posted::Repeat(message)) => Ok(message),
            Err(error) => Err(SendMessageError::of(error, has_turn)),
        }
    }

    /// Stores a message that the product sends as a user, whom no rule binds, and announces it.
    /// A message under an id that the user has already used, over whatever transport, is a
    /// repeat. `stored` is called once the message is stored, but not for a repeat.
    ///
    /// # Errors
    /// [`SendMessageError::Conflict`], [`SendMessageError::Closed`],
    /// [`SendMessageError::UnknownReplyTo`], [`SendMessageError::Storage`],
    /// and [`SendMessageError::Outdated`] if the rules change without pause.
    pub async fn execute_as_product(
        &self,
        message: ProductMessage,
        stored: impl Fn(),
    ) -> Result<Posted, SendMessageError> {
        let ProductMessage {
            user_id,
            name,
            sent,
        } = message;
        let name = match name {
            Some(name) => name,
            None => self.name_of(&user_id).await?,
        };
        let author = User { id: user_id, name };
        let mut decided_by = self.known_rules.get(sent.room_id);
        for _ in 0..ATTEMPTS {
            // Again for each number of the rules: the room may have been deleted meanwhile.
            self.check_reply(&sent).await?;
            let posted = self.post(author.clone(), sent.clone(), decided_by, &stored);
            match posted.await {
                Err(AppendError::RulesChanged) => {}
                outcome => return outcome.map_err(|error| SendMessageError::of(error, false)),
            }
            let snapshot = self.directory.snapshot(sent.room_id, &[]).await;
            let snapshot = snapshot.map_err(SendMessageError::Storage)?;
            if snapshot.is_closed() {
                return Err(SendMessageError::Closed);
            }
            decided_by = DecidedBy {
                number: snapshot.rules,
                generation: snapshot.generation,
            };
            self.known_rules.set(sent.room_id, decided_by);
        }
        Err(SendMessageError::Outdated { has_turn: false })
    }

    /// Returns the user's latest stored name, or else its id. The append stores the author's
    /// name, and must not replace one that is known.
    async fn name_of(&self, user_id: &UserId) -> Result<DisplayName, SendMessageError> {
        let name = self.directory.user_name(user_id).await;
        let name = name.map_err(SendMessageError::Storage)?;
        Ok(name.unwrap_or_else(|| DisplayName::from_text(user_id.as_str())))
    }

    /// Checks that the message to which this one replies exists. It is earlier then. Nothing is read
    /// for other messages.
    async fn check_reply(&self, sent: &SentMessage) -> Result<(), SendMessageError> {
        let Some(reply_to) = sent.reply_to() else {
            return Ok(());
        };
        match is_message(&*self.messages, sent.room_id, reply_to).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendMessageError::UnknownReplyTo),
            Err(error) => Err(SendMessageError::Storage(error)),
        }
    }

    /// Appends a message that was decided by these rules, and announces it.
    async fn post(
        &self,
        author: User,
        sent: SentMessage,
        decided_by: DecidedBy,
        stored: impl FnOnce(),
    ) -> Result<Posted, AppendError> {
        let message = NewMessage {
            room_id: sent.room_id,
            author,
            content: sent.content,
            extras: sent.extras,
            client_message_id: sent.client_message_id,
            created_at: self.clock.now(),
            rules: decided_by.number,
        };
        match self.messages.append(message).await? {
            Appended::Stored(message) => {
                stored();
                let message = Arc::new(StoredMessage::encode(&message, self.encode));
                self.events.announce(Hint {
                    room_id: sent.room_id,
                    generation: decided_by.generation,
                    entry: RoomEntry::Message(message.clone()),
                });
                Ok(Posted::Stored(message))
            }
            Appended::Repeat(message) => {
                let message = StoredMessage::encode(&message, self.encode);
                Ok(Posted::Repeat(Arc::new(message)))
            }
        }
    }

    /// Decides whether the caller may write now. Returns whether it has taken its turn in slow
    /// mode. A room without rules is decided without asking any adapter.
    async fn decide(
        &self,
        caller: Caller<'_>,
        sent: &SentMessage,
        permit: Permit,
        attempt: Attempt,
    ) -> Result<bool, SendMessageError> {
        let has_turn = attempt == (Attempt::Again { has_turn: true });
        if let Err(denied) = permit.decide(Action::Write) {
            // A mute may have expired since the permit was read, or been lifted.
            return Err(match attempt {
                Attempt::First => SendMessageError::Outdated { has_turn },
                Attempt::Again { .. } => SendMessageError::Denied(denied),
            });
        }
        // Before the turn: a message that cannot be stored does not use it up.
        self.check_reply(sent).await?;
        let seconds = permit.rules.slow_mode_seconds;
        if has_turn || seconds == 0 || permit.decide(Action::WriteWithoutWaiting).is_ok() {
            return Ok(has_turn);
        }
        let taking = self.directory.take_turn(
            sent.room_id,
            &caller.user.id,
            seconds,
            sent.client_message_id.clone(),
        );
        match taking.await.map_err(SendMessageError::Storage)? {
            Turn::Taken => Ok(true),
            // A sender whose acknowledgement was lost need not wait to learn of it.
            Turn::NotNeeded => Ok(false),
            // Slow mode may have ended since the permit was read.
            Turn::NotDue { .. } if attempt == Attempt::First => {
                Err(SendMessageError::Outdated { has_turn })
            }
            Turn::NotDue { retry_after_ms } => Err(SendMessageError::SlowMode { retry_after_ms }),
        }
    }
}

/// Returns whether a room has a message at a position. It stays: positions are never given back
/// while the room exists.
pub(super) async fn is_message(
    messages: &dyn MessageRepository,
    room_id: RoomId,
    seq: Seq,
) -> Result<bool, StorageError> {
    if seq == Seq::START {
        return Ok(false);
    }
    let limit = ReadLimit {
        messages: 1,
        bytes: 1,
    };
    let page = messages.after(room_id, seq.before(), limit).await?;
    Ok(page.messages.first().is_some_and(|found| found.seq == seq))
}

impl SendMessageError {
    fn of(error: AppendError, has_turn: bool) -> Self {
        match error {
            AppendError::Conflict => Self::Conflict,
            AppendError::RulesChanged => Self::Outdated { has_turn },
            AppendError::Storage(error) => Self::Storage(error),
        }
    }
}

#[cfg(test)]
mod reply_tests;
#[cfg(test)]
mod tests;
