//! The product imports messages into a room, in their order, in batches.

use std::collections::HashMap;
use std::sync::Arc;

use super::known_rules::DecidedBy;
use super::send_message::is_message;
use crate::ports::{
    AppendError, Hint, ImportFailure, MessageImport, MessageRepository, RoomDirectory, RoomEvents,
};
use crate::{
    ClientMessageId, Content, DisplayName, EncodeMessage, MessageExtras, NewMessage, RoomEntry,
    RoomId, Seq, StorageError, StoredMessage, Timestamp, User, UserId,
};

/// Stores messages that were written elsewhere.
#[derive(Clone)]
pub struct ImportMessages {
    import: Arc<dyn MessageImport>,
    messages: Arc<dyn MessageRepository>,
    directory: Arc<dyn RoomDirectory>,
    events: Arc<dyn RoomEvents>,
    encode: EncodeMessage,
}

/// A message to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMessage {
    /// Its author.
    pub user_id: UserId,
    /// The author's name from now on; `None`: the latest stored one.
    pub name: Option<DisplayName>,
    /// Its text.
    pub content: Content,
    /// What it carries besides its text, if anything.
    pub extras: Option<Box<MessageExtras>>,
    /// The id by which a repeat is recognized, if any.
    pub client_message_id: Option<ClientMessageId>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// Why a message was not imported. None after it is.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The room is being deleted.
    #[error("the room is being deleted")]
    Closed,
    /// The author already used the message's id with different content.
    #[error("the clientMessageId was already used with different content")]
    Conflict,
    /// The message to which it replies does not exist.
    #[error("replyTo must be the seq of an earlier message in the room")]
    UnknownReplyTo,
    /// The message was not stored, or it is not known whether it was.
    #[error("the message cannot be stored now")]
    Storage(#[from] StorageError),
}

/// How often a batch is stored again because the rules change meanwhile.
const ATTEMPTS: usize = 10;
/// How many names of authors an import remembers.
const MAX_NAMES: usize = 10_000;

impl ImportMessages {
    /// How many messages a batch should have, and at most how many bytes of content.
    pub const BATCH: usize = 512;
    /// See [`BATCH`](Self::BATCH).
    pub const BATCH_BYTES: usize = 512 * 1024;

    /// Creates the use case over this log, these rules and these hints.
    pub fn new(
        import: Arc<dyn MessageImport>,
        messages: Arc<dyn MessageRepository>,
        directory: Arc<dyn RoomDirectory>,
        events: Arc<dyn RoomEvents>,
        encode: EncodeMessage,
    ) -> Self {
        Self {
            import,
            messages,
            directory,
            events,
            encode,
        }
    }

    /// Begins an import into a room.
    pub fn begin(&self, room_id: RoomId) -> RoomImport {
        RoomImport {
            target: self.clone(),
            room_id,
            decided_by: DecidedBy::default(),
            names: HashMap::new(),
            newest: Seq::START,
            stored: 0,
            repeated: 0,
        }
    }
}

/// An import in progress.
pub struct RoomImport {
    target: ImportMessages,
    room_id: RoomId,
    decided_by: DecidedBy,
    /// The authors' names, as far as the import has not stated them.
    names: HashMap<UserId, DisplayName>,
    /// A position that the room has reached.
    newest: Seq,
    stored: u64,
    repeated: u64,
}

impl RoomImport {
    /// Returns how many messages are stored by this import.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Returns how many messages had been stored before. Together with
    /// [`stored`](Self::stored), these are the first ones of the import.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Stores the next messages, and announces the newest of them: connections in the room read the
    /// others from the log.
    ///
    /// # Errors
    /// [`ImportError`], for the first message that is neither stored nor a repeat.
    pub async fn store(&mut self, messages: Vec<ImportedMessage>) -> Result<(), ImportError> {
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            let name = match message.name {
                Some(name) => {
                    self.names.remove(&message.user_id);
                    name
                }
                None => self.name_of(&message.user_id).await?,
            };
            batch.push(NewMessage {
                room_id: self.room_id,
                author: User {
                    id: message.user_id,
                    name,
                },
                content: message.content,
                extras: message.extras,
                client_message_id: message.client_message_id,
                created_at: message.created_at,
                rules: self.decided_by.number,
            });
        }
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let imported = self.target.import.import(batch.clone(), self.newest).await;
            let done = imported.stored.len() + imported.repeated;
            self.stored += imported.stored.len() as u64;
            self.repeated += imported.repeated as u64;
            batch.drain(..done.min(batch.len()));
            if let Some(newest) = imported.stored.last() {
                self.newest = newest.seq;
                let newest = StoredMessage::encode(newest, self.target.encode);
                self.target.events.announce(Hint {
                    room_id: self.room_id,
                    generation: self.decided_by.generation,
                    entry: RoomEntry::Message(Arc::new(newest)),
                });
            }
            match imported.failed {
                None => return Ok(()),
                Some(ImportFailure::UnknownReplyTo) => {
                    self.find_reply_to(batch.first()).await?;
                }
                Some(ImportFailure::Append(AppendError::Conflict)) => {
                    return Err(ImportError::Conflict);
                }
                Some(ImportFailure::Append(AppendError::Storage(error))) => {
                    return Err(error.into());
                }
                Some(ImportFailure::Append(AppendError::RulesChanged)) => {
                    attempts += 1;
                    self.read_rules().await?;
                    for message in &mut batch {
                        message.rules = self.decided_by.number;
                    }
                }
            }
        }
        let busy = StorageError::unavailable("others change the room's rules without pause");
        Err(busy.into())
    }

    /// Finds the message to which the next one replies, which is not among those before it.
    async fn find_reply_to(&mut self, reply: Option<&NewMessage>) -> Result<(), ImportError> {
        let reply_to = reply.and_then(|message| message.extras.as_ref()?.reply_to);
        let reply_to = reply_to.filter(|seq| *seq > self.newest);
        if let Some(reply_to) = reply_to {
            if !is_message(&*self.target.messages, self.room_id, reply_to).await? {
                return Err(ImportError::UnknownReplyTo);
            }
            self.newest = reply_to;
        }
        Ok(())
    }

    async fn read_rules(&mut self) -> Result<(), ImportError> {
        let snapshot = self.target.directory.snapshot(self.room_id, &[]).await?;
        if snapshot.is_closed() {
            return Err(ImportError::Closed);
        }
        if snapshot.generation != self.decided_by.generation {
            // It has been deleted meanwhile, or nothing was known of it.
            self.newest = Seq::START;
        }
        self.decided_by = DecidedBy {
            number: snapshot.rules,
            generation: snapshot.generation,
        };
        Ok(())
    }

    /// Returns the user's latest stored name, or else its id, so that the append does not replace
    /// a name that is known.
    async fn name_of(&mut self, user_id: &UserId) -> Result<DisplayName, ImportError> {
        if let Some(name) = self.names.get(user_id) {
            return Ok(name.clone());
        }
        let name = self.target.directory.user_name(user_id).await?;
        let name = name.unwrap_or_else(|| DisplayName::from_text(user_id.as_str()));
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(user_id.clone(), name.clone());
        Ok(name)
    }
}

#[cfg(test)]
mod tests;
