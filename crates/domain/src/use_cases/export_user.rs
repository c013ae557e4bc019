//! The product exports everything that is stored about a user, page by page.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ports::{
    MessageRepository, PlacedRecord, ReadLimit, RecordKind, RecordPlace, UserRecordData,
    UserRecords,
};
use crate::{Message, RoomId, Seq, StorageError, UserId};

/// Reads everything that is stored about users.
#[derive(Clone)]
pub struct ExportUser {
    records: Arc<dyn UserRecords>,
    messages: Arc<dyn MessageRepository>,
}

/// A part of what is stored about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exported {
    /// A record.
    Record(UserRecordData),
    /// A message that the user has written, in its newest state.
    Message(Box<Message>),
}

/// How many records are read at once.
const RECORDS_AT_ONCE: usize = 500;
/// In how many positions of a room the user's messages are looked for at once.
const WINDOW: u64 = 5_000;
/// How much of a room's log is read at once.
const PAGE: ReadLimit = ReadLimit {
    messages: 200,
    bytes: 256 * 1024,
};

impl ExportUser {
    /// Creates the use case over these records and this log.
    pub fn new(records: Arc<dyn UserRecords>, messages: Arc<dyn MessageRepository>) -> Self {
        Self { records, messages }
    }

    /// Begins an export. It reads what is stored at the moment of each page.
    pub fn begin(&self, user_id: UserId) -> UserExport {
        UserExport {
            source: self.clone(),
            user_id,
            kinds: RecordKind::ALL.into_iter().collect(),
            after: RecordPlace::default(),
            rooms: VecDeque::new(),
            pointers: Some(RecordPlace::default()),
            window: None,
        }
    }
}

/// An export in progress. It holds a page at most.
pub struct UserExport {
    source: ExportUser,
    user_id: UserId,
    /// The kinds of records that are not read yet, the current one first.
    kinds: VecDeque<RecordKind>,
    after: RecordPlace,
    /// The rooms whose messages are to be read, and up to where; more follow `pointers`.
    rooms: VecDeque<(RoomId, Seq)>,
    pointers: Option<RecordPlace>,
    window: Option<Window>,
}

/// Where the user's messages in a room are being read.
struct Window {
    room_id: RoomId,
    /// Up to where they have been looked for, and up to where they may be.
    looked: Seq,
    last: Seq,
    found: VecDeque<Seq>,
}

impl UserExport {
    /// Reads the next page, which may be empty. `None`: the export is complete.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    pub async fn next(&mut self) -> Result<Option<Vec<Exported>>, StorageError> {
        if let Some(kind) = self.kinds.front().copied() {
            let page = self.records(kind, self.after.clone()).await?;
            self.after = last_place(&page);
            if page.len() < RECORDS_AT_ONCE {
                self.kinds.pop_front();
                self.after = RecordPlace::default();
            }
            let records = page.into_iter().map(|placed| placed.record);
            return Ok(Some(records.map(Exported::Record).collect()));
        }
        if self.window.is_none() && self.rooms.is_empty() {
            let Some(after) = self.pointers.take() else {
                return Ok(None);
            };
            let page = self.records(RecordKind::ReadPointer, after).await?;
            if page.len() == RECORDS_AT_ONCE {
                self.pointers = Some(last_place(&page));
            }
            for placed in page {
                if let UserRecordData::ReadPointer { room_id, seq } = placed.record {
                    self.rooms.push_back((room_id, seq));
                }
            }
            return Ok(Some(Vec::new()));
        }
        let window = match self.window.take() {
            Some(window) => window,
            None => match self.rooms.pop_front() {
                Some((room_id, last)) => Window {
                    room_id,
                    looked: Seq::START,
                    last,
                    found: VecDeque::new(),
                },
                None => return Ok(Some(Vec::new())),
            },
        };
        self.messages(window).await.map(Some)
    }

    async fn records(
        &self,
        kind: RecordKind,
        after: RecordPlace,
    ) -> Result<Vec<PlacedRecord>, StorageError> {
        let records = &self.source.records;
        records
            .records(&self.user_id, kind, after, RECORDS_AT_ONCE)
            .await
    }

    /// Reads a page of the log from the next message of the user on, or looks for more of them.
    async fn messages(&mut self, mut window: Window) -> Result<Vec<Exported>, StorageError> {
        let Some(first) = window.found.front().copied() else {
            if window.looked < window.last {
                let end = window.looked.get().saturating_add(WINDOW);
                let end = Seq::new(end.min(window.last.get())).unwrap_or(window.last);
                let authored =
                    self.source
                        .records
                        .authored(&self.user_id, window.room_id, window.looked, end);
                window.found = authored.await?.into();
                window.looked = end;
                self.window = Some(window);
            }
            return Ok(Vec::new());
        };
        let page = self
            .source
            .messages
            .after(window.room_id, first.before(), PAGE)
            .await?;
        let last = page.messages.last().map_or(first, |message| message.seq);
        // Messages that were erased or deleted meanwhile are not found again.
        let last = last.max(first);
        window.found.retain(|seq| *seq > last);
        self.window = Some(window);
        let own = page.messages.into_iter();
        let own = own.filter(|message| message.author.id == self.user_id);
        Ok(own.map(|m| Exported::Message(Box::new(m))).collect())
    }
}

fn last_place(page: &[PlacedRecord]) -> RecordPlace {
    page.last()
        .map(|placed| placed.place.clone())
        .unwrap_or_default()
}
