//! Somebody reads back.

use std::sync::Arc;

use crate::{Membership, Message, RoomId, Seq, StorageError, ports::MessageRepository};

/// Reads a room's history, page by page.
#[derive(Clone)]
pub struct ListMessages {
    messages: Arc<dyn MessageRepository>,
}

/// Where a page starts, and in which direction it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// The room's end, backwards.
    Newest,
    /// Before this position, backwards.
    Before(Seq),
    /// After this position, forwards.
    After(Seq),
}

/// How many messages a page has at the most: 1 to [`PageLimit::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(usize);

impl PageLimit {
    /// The most messages of a page.
    pub const MAX: usize = 200;

    /// A limit; `None` for 0 and beyond [`Self::MAX`].
    pub fn new(limit: usize) -> Option<Self> {
        (1..=Self::MAX).contains(&limit).then_some(Self(limit))
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Ascending.
    pub messages: Vec<Message>,
    /// Whether there is more in the direction of the page.
    pub has_more: bool,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ListMessagesError {
    /// The connection has not joined the room.
    #[error("join the room before reading it")]
    NotInRoom,
    /// The log could not be read.
    #[error("the room cannot be read now")]
    Storage(#[source] StorageError),
}

impl ListMessages {
    /// With this log.
    pub fn new(messages: Arc<dyn MessageRepository>) -> Self {
        Self { messages }
    }

    /// A page of the room.
    ///
    /// # Errors
    /// [`ListMessagesError`].
    pub async fn execute(
        &self,
        membership: &Membership,
        room_id: RoomId,
        start: PageStart,
        limit: PageLimit,
    ) -> Result<Page, ListMessagesError> {
        if !membership.contains(room_id) {
            return Err(ListMessagesError::NotInRoom);
        }
        let PageLimit(limit) = limit;
        // One more than asked for tells whether there is more.
        let read = match start {
            PageStart::Newest => self.messages.before(room_id, None, limit + 1).await,
            PageStart::Before(seq) => self.messages.before(room_id, Some(seq), limit + 1).await,
            PageStart::After(seq) => self.messages.after(room_id, seq, limit + 1).await,
        };
        let mut messages = read.map_err(ListMessagesError::Storage)?;
        let has_more = messages.len() > limit;
        if has_more {
            match start {
                PageStart::After(_) => messages.truncate(limit),
                PageStart::Newest | PageStart::Before(_) => {
                    messages.remove(0);
                }
            }
        }
        Ok(Page { messages, has_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Content, DisplayName, MessageId, NewMessage, Timestamp, User, UserId,
        ports::MockMessageRepository,
    };

    fn message(seq: u64) -> Message {
        NewMessage {
            room_id: RoomId::new(1).unwrap(),
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("hello").unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
        }
        .stored(MessageId::new(1), Seq::new(seq).unwrap())
    }

    /// A page of a room with the messages 1 to 5, two at the most.
    async fn page(start: PageStart) -> (Vec<u64>, bool) {
        let mut log = MockMessageRepository::new();
        log.expect_after().returning(|_, position, limit| {
            Ok((position.get() + 1..=5).take(limit).map(message).collect())
        });
        log.expect_before().returning(|_, position, limit| {
            let end = position.map_or(6, Seq::get);
            let mut page: Vec<_> = (1..end).rev().take(limit).map(message).collect();
            page.reverse();
            Ok(page)
        });
        let mut membership = Membership::default();
        membership.join(RoomId::new(1).unwrap());
        let list = ListMessages::new(Arc::new(log));
        let limit = PageLimit::new(2).unwrap();
        let page = list.execute(&membership, RoomId::new(1).unwrap(), start, limit);
        let page = page.await.unwrap();
        (
            page.messages.iter().map(|m| m.seq.get()).collect(),
            page.has_more,
        )
    }

    #[pollster::test]
    async fn a_page_says_whether_there_is_more_in_its_direction() {
        let at = |n| Seq::new(n).unwrap();
        assert_eq!(page(PageStart::Newest).await, (vec![4, 5], true));
        assert_eq!(page(PageStart::Before(at(4))).await, (vec![2, 3], true));
        assert_eq!(page(PageStart::Before(at(3))).await, (vec![1, 2], false));
        assert_eq!(page(PageStart::Before(at(1))).await, (vec![], false));
        assert_eq!(page(PageStart::After(at(0))).await, (vec![1, 2], true));
        assert_eq!(page(PageStart::After(at(3))).await, (vec![4, 5], false));
        assert_eq!(page(PageStart::After(at(9))).await, (vec![], false));
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_not_read() {
        let list = ListMessages::new(Arc::new(MockMessageRepository::new()));
        let (outside, room) = (Membership::default(), RoomId::new(1).unwrap());
        let read = list.execute(&outside, room, PageStart::Newest, PageLimit::default());
        assert!(matches!(read.await, Err(ListMessagesError::NotInRoom)));
    }

    #[test]
    fn a_limit_is_from_1_to_200() {
        assert!(PageLimit::new(0).is_none() && PageLimit::new(201).is_none());
        assert!(PageLimit::new(1).is_some() && PageLimit::new(200).is_some());
        assert_eq!(PageLimit::default(), PageLimit::new(50).unwrap());
    }
}
