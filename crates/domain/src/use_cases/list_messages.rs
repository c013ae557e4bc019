//! A user reads the history.

use std::sync::Arc;

use super::page::{Encoding, Page, PageLimit};
use crate::{
    Access, AccessDenied, EncodeMessageFor, RoomId, Seq, StorageError, UserId,
    ports::{ChangeRepository, MessageRepository},
};

/// Reads a room's history, page by page.
#[derive(Clone)]
pub struct ListMessages {
    messages: Arc<dyn MessageRepository>,
    encoding: Encoding,
}

/// Where a page starts, and in which direction it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// The end of the room, backwards.
    Newest,
    /// Before this position, backwards.
    Before(Seq),
    /// After this position, forwards.
    After(Seq),
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ListMessagesError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The log could not be read.
    #[error("the room cannot be read now")]
    Storage(#[source] StorageError),
}

impl ListMessages {
    /// The maximum size of a page, in bytes of content and in bytes of encoded messages. A
    /// page that would exceed it ends early, with `has_more`. One message may exceed it.
    pub const MAX_PAGE_BYTES: usize = Page::MAX_BYTES;

    /// Creates the use case over this log, and the reactions to its messages.
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        changes: Arc<dyn ChangeRepository>,
        encode: EncodeMessageFor,
    ) -> Self {
        Self {
            messages,
            encoding: Encoding::new(changes, encode),
        }
    }

    /// Reads a page, in which the reactions of the reader are its own; without one, none are.
    ///
    /// # Errors
    /// [`ListMessagesError`].
    pub async fn execute(
        &self,
        access: Access,
        reader: Option<&UserId>,
        room_id: RoomId,
        start: PageStart,
        limit: PageLimit,
    ) -> Result<Page, ListMessagesError> {
        let generation = access.require_joined()?.generation;
        let limit = limit.of_read();
        let read = match start {
            PageStart::Newest => self.messages.before(room_id, None, limit).await,
            PageStart::Before(seq) => self.messages.before(room_id, Some(seq), limit).await,
            PageStart::After(seq) => self.messages.after(room_id, seq, limit).await,
        };
        let page = read.map_err(ListMessagesError::Storage)?;
        // The room that the caller joined was deleted, or is being deleted: the page may lack
        // messages, or be that of another room with its number.
        if page.generation != generation {
            return Err(AccessDenied::NotFound.into());
        }
        let (mut messages, has_more) = (page.messages, page.has_more);
        // The page is limited from its newer end.
        let is_backwards = !matches!(start, PageStart::After(_));
        if is_backwards {
            messages.reverse();
        }
        let encoded = self.encoding.page(room_id, reader, &messages, has_more);
        let mut page = encoded.await.map_err(ListMessagesError::Storage)?;
        if is_backwards {
            page.messages.reverse();
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permit;
    use crate::{
        Content, DisplayName, Generation, Message, MessageId, NewMessage, ReactionKey, Timestamp,
        User, UserId,
        ports::{LogPage, MockChangeRepository, MockMessageRepository},
    };

    /// Reactions are not asked for: no message has any.
    fn nothing_changed() -> Arc<dyn ChangeRepository> {
        Arc::new(MockChangeRepository::new())
    }

    fn message(seq: u64) -> Message {
        NewMessage {
            extras: None,
            room_id: RoomId::new(1).unwrap(),
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("hello").unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
            rules: crate::RulesNumber::NONE,
        }
        .stored(MessageId::new(1), Seq::new(seq).unwrap())
    }

    fn page_of(messages: Vec<u64>, has_more: bool) -> LogPage {
        LogPage {
            messages: messages.into_iter().map(message).collect(),
            has_more,
            newest: Seq::new(5).unwrap(),
            generation: Generation::FIRST,
        }
    }

    /// Reads a page of a room with the messages 1 to 5, at most two.
    async fn page(start: PageStart, encode: EncodeMessageFor) -> (Vec<u64>, bool) {
        let mut log = MockMessageRepository::new();
        log.expect_after().returning(|_, position, limit| {
            let rest: Vec<_> = (position.get() + 1..=5).collect();
            let page = rest.iter().copied().take(limit.messages).collect();
            Ok(page_of(page, rest.len() > limit.messages))
        });
        log.expect_before().returning(|_, position, limit| {
            let rest: Vec<_> = (1..position.map_or(6, Seq::get)).collect();
            let start = rest.len().saturating_sub(limit.messages);
            Ok(page_of(rest[start..].to_vec(), start > 0))
        });
        let list = ListMessages::new(Arc::new(log), nothing_changed(), encode);
        let (room, limit) = (RoomId::new(1).unwrap(), PageLimit::new(2).unwrap());
        let page = list.execute(Access::Joined(Permit::OPEN), None, room, start, limit);
        let page = page.await.unwrap();
        let seqs = page.messages.iter().map(|m| m.seq().get()).collect();
        (seqs, page.has_more)
    }

    fn small(_: &Message, _: &[ReactionKey]) -> Box<str> {
        "{}".into()
    }

    /// Two of these fill a page.
    fn half(_: &Message, _: &[ReactionKey]) -> Box<str> {
        "x".repeat(ListMessages::MAX_PAGE_BYTES / 2).into()
    }

    /// Two of these exceed a page.
    fn large(_: &Message, _: &[ReactionKey]) -> Box<str> {
        "x".repeat(ListMessages::MAX_PAGE_BYTES / 2 + 1).into()
    }

    #[pollster::test]
    async fn a_page_states_whether_there_is_more_in_its_direction() {
        let at = |n| Seq::new(n).unwrap();
        for (start, expected) in [
            (PageStart::Newest, (vec![4, 5], true)),
            (PageStart::Before(at(4)), (vec![2, 3], true)),
            (PageStart::Before(at(3)), (vec![1, 2], false)),
            (PageStart::Before(at(1)), (vec![], false)),
            (PageStart::After(at(0)), (vec![1, 2], true)),
            (PageStart::After(at(3)), (vec![4, 5], false)),
            (PageStart::After(at(9)), (vec![], false)),
        ] {
            assert_eq!(page(start, small).await, expected, "{start:?}");
        }
    }

    #[pollster::test]
    async fn a_page_of_large_messages_ends_early_and_states_that_there_is_more() {
        let at = |n| Seq::new(n).unwrap();
        assert_eq!(ListMessages::MAX_PAGE_BYTES, 196_608);
        assert_eq!(page(PageStart::Newest, half).await, (vec![4, 5], true));
        assert_eq!(page(PageStart::Newest, large).await, (vec![5], true));
        assert_eq!(page(PageStart::Before(at(3)), large).await, (vec![2], true));
        assert_eq!(page(PageStart::After(at(3)), large).await, (vec![4], true));
        assert_eq!(page(PageStart::After(at(4)), large).await, (vec![5], false));
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_not_read() {
        let list = ListMessages::new(
            Arc::new(MockMessageRepository::new()),
            nothing_changed(),
            small,
        );
        let room = RoomId::new(1).unwrap();
        let page = list.execute(
            Access::NotJoined,
            None,
            room,
            PageStart::Newest,
            PageLimit::default(),
        );
        assert!(matches!(
            page.await,
            Err(ListMessagesError::Denied(AccessDenied::NotInRoom))
        ));
    }

    #[pollster::test]
    async fn a_page_of_another_generation_than_the_caller_joined_is_not_found() {
        let mut log = MockMessageRepository::new();
        log.expect_before().returning(|_, _, _| {
            Ok(LogPage {
                generation: Generation::new(8),
                ..page_of(vec![1], false)
            })
        });
        let list = ListMessages::new(Arc::new(log), nothing_changed(), small);
        for (joined, is_found) in [(0, false), (8, true), (9, false)] {
            let access = Access::Joined(Permit {
                generation: Generation::new(joined),
                ..Permit::OPEN
            });
            let limit = PageLimit::default();
            let page = list.execute(
                access,
                None,
                RoomId::new(1).unwrap(),
                PageStart::Newest,
                limit,
            );
            match page.await {
                Ok(_) => assert!(is_found, "{joined}"),
                Err(error) => {
                    let hidden = ListMessagesError::Denied(AccessDenied::NotFound);
                    assert_eq!(error.to_string(), hidden.to_string());
                    assert!(!is_found, "{joined}");
                }
            }
        }
    }

    #[test]
    fn a_limit_ranges_from_1_to_200() {
        assert!(PageLimit::new(0).is_none() && PageLimit::new(201).is_none());
        assert!(PageLimit::new(1).is_some() && PageLimit::new(200).is_some());
        assert_eq!(PageLimit::default(), PageLimit::new(50).unwrap());
    }
}
