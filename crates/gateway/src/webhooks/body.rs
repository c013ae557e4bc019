//! What is reported of an entry: the newest state of what it refers to.

use aws_lc_rs::digest::{SHA256, digest};
use chat_domain::ports::{OutboxEntry, OutboxKind, OutboxPlace, ReadLimit, UnreadReport};
use chat_domain::{
    ChangedMessage, Message, MessageChanges, Rev, RoomId, Seq, StorageError, UserId,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Sources;
use crate::limits::WEBHOOK_PAGE_BYTES;
use crate::socket::objects::{MemberChanged, MemberObject, RoomObject, json, message_json};

/// A call that is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Webhook {
    /// Where it belongs.
    pub(super) place: OutboxPlace,
    /// Its `webhook-id`: the same at each attempt, on every node.
    pub(super) id: String,
    pub(super) body: String,
}

/// What is to be reported of a part of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) webhooks: Vec<Webhook>,
    /// Everything up to here is in the webhooks, or is not reported: it does not exist any more,
    /// or a later entry reports it.
    pub(super) end: u64,
}

#[derive(Serialize)]
struct Body<'a, D: Serialize> {
    r#type: &'static str,
    timestamp: &'a str,
    data: D,
}

#[derive(Serialize)]
struct MessageCreated<'a> {
    message: &'a RawValue,
}

#[derive(Serialize)]
struct MessageChanged<'a> {
    change: &'static str,
    message: &'a RawValue,
    by: Option<&'a str>,
}

#[derive(Serialize)]
struct RoomChanged<'a> {
    room: RoomObject<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomDeleted {
    room_id: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessagesUnread<'a> {
    room_id: u64,
    seq: u64,
    user_ids: Vec<&'a str>,
    mentioned: Vec<&'a str>,
}

impl Sources {
    /// Returns what is to be reported of the entry from this position or number on: at most
    /// `limit` calls.
    pub(super) async fn report(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
        from: u64,
        limit: usize,
    ) -> Result<Part, StorageError> {
        // Not more than the entry may have: the rest would be read again for the next one.
        let size = entry.last.saturating_sub(from).saturating_add(1);
        let limit = usize::try_from(size).map_or(limit, |size| limit.min(size));
        let part = match entry.kind {
            OutboxKind::MessageCreated => self.created(room_id, entry, from, limit).await?,
            OutboxKind::MessageChanged => self.changed(room_id, entry, from, limit).await?,
            OutboxKind::RoomChanged => whole(self.room(room_id, entry).await?),
            OutboxKind::MemberChanged => whole(self.user(room_id, entry).await?),
            OutboxKind::MessagesUnread => whole(self.unread(room_id, entry).await?),
            OutboxKind::RoomDeleted => {
                let room_id = room_id.get();
                whole(Some(event(entry, &RoomDeleted { room_id })))
            }
            OutboxKind::Fence => whole(None),
        };
        // What was read may belong to the next room of the number.
        if entry.is_of_deleted_room && !self.is_closed(room_id).await? {
            return Ok(Part {
                webhooks: Vec::new(),
                end: entry.last,
            });
        }
        Ok(part)
    }

    async fn is_closed(&self, room_id: RoomId) -> Result<bool, StorageError> {
        let snapshot = self.directory.snapshot(room_id, &[]).await?;
        Ok(snapshot.is_closed())
    }

    async fn created(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
        from: u64,
        limit: usize,
    ) -> Result<Part, StorageError> {
        let after = Seq::new(from.saturating_sub(1)).map_err(StorageError::corrupt)?;
        let page = self.messages.after(room_id, after, read(limit)).await?;
        let last_read = page.messages.last().map(|message| message.seq.get());
        let messages = page.messages.iter();
        let messages = messages.take_while(|message| message.seq.get() <= entry.last);
        Ok(Part {
            webhooks: messages.map(|message| of_message(entry, message)).collect(),
            end: end(page.has_more, last_read, entry.last),
        })
    }

    /// A message that has changed again is reported with its latest change.
    async fn changed(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
        from: u64,
        limit: usize,
    ) -> Result<Part, StorageError> {
        let after = Rev::new(from.saturating_sub(1));
        let after = after.ok_or_else(|| StorageError::corrupt("a change has no valid number"))?;
        let page = self
            .changes
            .changed_after(room_id, after, None, read(limit))
            .await?;
        let last_read = page.messages.last().map(|changed| rev(&changed.message));
        let changed = page.messages.iter();
        let changed = changed.take_while(|changed| rev(&changed.message) <= entry.last);
        Ok(Part {
            webhooks: changed.map(|changed| of_change(entry, changed)).collect(),
            end: end(page.has_more, last_read, entry.last),
        })
    }

    /// Nothing is reported of a room that is being deleted: its deletion is.
    async fn room(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
    ) -> Result<Option<Webhook>, StorageError> {
        let snapshot = self.directory.snapshot(room_id, &[]).await?;
        let settings = snapshot.settings.as_ref().filter(|_| !snapshot.is_closed());
        Ok(settings.map(|settings| {
            let room = RoomObject::of_settings(room_id, settings);
            event(entry, &RoomChanged { room })
        }))
    }

    async fn user(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
    ) -> Result<Option<Webhook>, StorageError> {
        if entry.is_of_deleted_room {
            return Ok(None);
        }
        let user_id = UserId::new(&*entry.first.user_id).map_err(StorageError::corrupt)?;
        let found = self.outbox.member(room_id, &user_id).await?;
        let member = match &found {
            Some(member) => MemberObject::of_member(member),
            None => MemberObject::absent(&user_id),
        };
        let data = MemberChanged::new(room_id, member, entry.by.as_ref());
        Ok(Some(event(entry, &data)))
    }

    /// Members who have read meanwhile are not reported.
    async fn unread(
        &self,
        room_id: RoomId,
        entry: &OutboxEntry,
    ) -> Result<Option<Webhook>, StorageError> {
        if entry.is_of_deleted_room {
            return Ok(None);
        }
        let report = self.outbox.unread(room_id, &entry.first).await?;
        Ok(report.map(|report| of_unread(room_id, entry, &report)))
    }
}

fn read(limit: usize) -> ReadLimit {
    ReadLimit {
        messages: limit,
        bytes: WEBHOOK_PAGE_BYTES,
    }
}

/// Returns up to where a page covers an entry that ends here.
fn end(has_more: bool, last_read: Option<u64>, last: u64) -> u64 {
    match last_read {
        Some(read) if has_more => read.min(last),
        _ => last,
    }
}

fn rev(message: &Message) -> u64 {
    let changes = message.changes.as_deref();
    changes.map_or(0, |changes: &MessageChanges| changes.rev.get())
}

/// The only call of an entry, if there is any.
fn whole(webhook: Option<Webhook>) -> Part {
    Part {
        webhooks: webhook.into_iter().collect(),
        end: 0,
    }
}

fn of_message(entry: &OutboxEntry, message: &Message) -> Webhook {
    let encoded = message_json(message);
    let data = MessageCreated {
        message: raw(&encoded),
    };
    Webhook {
        place: place(entry, message.seq.get()),
        id: format!("msg_{}", message.id.get()),
        body: body(entry.kind, &message.created_at.to_string(), data),
    }
}

fn of_change(entry: &OutboxEntry, changed: &ChangedMessage) -> Webhook {
    let rev = rev(&changed.message);
    let encoded = message_json(&changed.message);
    let data = MessageChanged {
        change: changed.kind.as_str(),
        message: raw(&encoded),
        by: changed.by.as_ref().map(UserId::as_str),
    };
    Webhook {
        place: place(entry, rev),
        id: format!("msg_{}_{rev}", changed.message.id.get()),
        body: body(entry.kind, &entry.recorded_at.to_string(), data),
    }
}

/// One record may stand for reports about several rooms.
fn of_unread(room_id: RoomId, entry: &OutboxEntry, report: &UnreadReport) -> Webhook {
    let first = &entry.first;
    let data = MessagesUnread {
        room_id: room_id.get(),
        seq: report.seq.get(),
        user_ids: report.user_ids.iter().map(UserId::as_str).collect(),
        mentioned: report.mentioned.iter().map(UserId::as_str).collect(),
    };
    Webhook {
        place: first.clone(),
        id: format!(
            "unr_{}_{room_id}_{}",
            first.record,
            short_hash(&first.user_id)
        ),
        body: body(entry.kind, &entry.recorded_at.to_string(), data),
    }
}

/// A call about a room, or about one of several users whom one change concerns.
fn event(entry: &OutboxEntry, data: &impl Serialize) -> Webhook {
    let first = &entry.first;
    let id = match first.user_id.as_str() {
        "" => format!("evt_{}", first.record),
        // The id of a user may have characters that no header may have.
        user_id => format!("evt_{}_{}", first.record, short_hash(user_id)),
    };
    Webhook {
        place: first.clone(),
        id,
        body: body(entry.kind, &entry.recorded_at.to_string(), data),
    }
}

fn place(entry: &OutboxEntry, number: u64) -> OutboxPlace {
    OutboxPlace {
        number,
        ..entry.first.clone()
    }
}

fn body(kind: OutboxKind, timestamp: &str, data: impl Serialize) -> String {
    let body = Body {
        r#type: kind.as_str(),
        timestamp,
        data,
    };
    json(&body).into_string()
}

/// An encoded message is valid JSON.
fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap_or(RawValue::NULL)
}

fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let bytes = hash.as_ref().iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chat_domain::Generation;
    use chat_domain::ports::{
        LogPage, MockChangeRepository, MockMessageRepository, MockOutbox, MockRoomDirectory,
    };

    use super::*;

    #[tokio::test]
    async fn no_more_messages_are_read_than_an_entry_has() {
        let mut messages = MockMessageRepository::new();
        messages
            .expect_after()
            .withf(|_, after, limit| (after.get(), limit.messages) == (5, 2))
            .once()
            .returning(|_, _, _| {
                Ok(LogPage {
                    messages: Vec::new(),
                    has_more: false,
                    newest: Seq::START,
                    generation: Generation::FIRST,
                })
            });
        let sources = Sources {
            outbox: Arc::new(MockOutbox::new()),
            messages: Arc::new(messages),
            changes: Arc::new(MockChangeRepository::new()),
            directory: Arc::new(MockRoomDirectory::new()),
        };
        let entry = OutboxEntry {
            kind: OutboxKind::MessageCreated,
            first: OutboxPlace {
                record: 1,
                user_id: String::new(),
                number: 5,
            },
            last: 7,
            by: None,
            recorded_at: "2026-01-01T00:00:00.000Z".parse().unwrap(),
            is_of_deleted_room: false,
        };
        let room = RoomId::new(1).unwrap();
        let part = sources.report(room, &entry, 6, 100).await.unwrap();
        assert_eq!(part.end, 7);
    }
}
