//! Cuts what was read from the log to one page.

use chat_domain::ports::{LogPage, ReadLimit};
use chat_domain::{Generation, Message, Seq};

use crate::stored_extras;

/// Returns the number of rows to read for a page: one more than it contains at most,
/// which shows whether there are more.
pub(crate) fn rows_to_read(limit: ReadLimit) -> i64 {
    let messages = i64::try_from(limit.messages.max(1));
    messages.map_or(i64::MAX, |messages| messages.saturating_add(1))
}

/// The state of the room in which its messages were read.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ReadOf {
    pub(crate) newest: Seq,
    pub(crate) generation: Generation,
}

/// Builds the page of a forward read from the messages that follow each other. Takes at
/// most one message more than the page contains, so that a lazy source is read no further.
///
/// # Errors
/// The first error of the source.
pub(crate) fn forward<E>(
    read: ReadOf,
    messages: impl IntoIterator<Item = Result<Message, E>>,
    limit: ReadLimit,
) -> Result<LogPage, E> {
    let size = |message: &Message| stored_extras::size_of(message);
    let (messages, has_more) = cut(messages, size, limit)?;
    Ok(LogPage {
        messages,
        has_more,
        newest: read.newest,
        generation: read.generation,
    })
}

/// Cuts messages of these sizes, in bytes, to a page, and returns whether there are more. Takes at
/// most one message more than the page contains.
///
/// # Errors
/// The first error of the source.
pub(crate) fn cut<T, E>(
    source: impl IntoIterator<Item = Result<T, E>>,
    size: impl Fn(&T) -> usize,
    limit: ReadLimit,
) -> Result<(Vec<T>, bool), E> {
    let mut page = Vec::new();
    let mut bytes = 0_usize;
    for message in source {
        let message = message?;
        bytes = bytes.saturating_add(size(&message));
        let is_over = page.len() >= limit.messages || bytes > limit.bytes;
        // A page without any message would not let its reader proceed.
        if is_over && !page.is_empty() {
            return Ok((page, true));
        }
        page.push(message);
    }
    Ok((page, false))
}

/// Builds the page of a backward read from the messages that precede each other.
///
/// # Errors
/// The first error of the source.
pub(crate) fn backward<E>(
    read: ReadOf,
    messages: impl IntoIterator<Item = Result<Message, E>>,
    limit: ReadLimit,
) -> Result<LogPage, E> {
    let mut page = forward(read, messages, limit)?;
    page.messages.reverse();
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use chat_domain::{
        Content, DisplayName, MessageId, NewMessage, RoomId, Timestamp, User, UserId,
    };

    use super::*;

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    fn at(newest: u64) -> ReadOf {
        ReadOf {
            newest: seq(newest),
            generation: Generation::new(7),
        }
    }

    /// A message of four bytes.
    fn message(number: u64) -> Result<Message, Infallible> {
        let message = NewMessage {
            extras: None,
            room_id: RoomId::new(1).unwrap(),
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("🦀").unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
            rules: chat_domain::RulesNumber::NONE,
        };
        Ok(message.stored(MessageId::new(1), seq(number)))
    }

    fn numbers(page: &LogPage) -> Vec<u64> {
        page.messages.iter().map(|m| m.seq.get()).collect()
    }

    fn limit(messages: usize, bytes: usize) -> ReadLimit {
        ReadLimit { messages, bytes }
    }

    #[test]
    fn a_page_ends_before_either_limit_is_exceeded() {
        for (limit, expected, has_more) in [
            (limit(3, 100), &[1, 2, 3][..], true),
            (limit(5, 100), &[1, 2, 3, 4, 5], false),
            (limit(5, 8), &[1, 2], true),
            (limit(5, 11), &[1, 2], true),
            (limit(5, 20), &[1, 2, 3, 4, 5], false),
        ] {
            let Ok(page) = forward(at(9), (1..=5).map(message), limit);
            assert_eq!(
                (numbers(&page), page.has_more),
                (expected.to_vec(), has_more)
            );
            assert_eq!(page.newest, seq(9));
            assert_eq!(page.generation, Generation::new(7));
        }
    }

    #[test]
    fn a_page_contains_one_message_however_small_its_limit() {
        for limit in [limit(10, 0), limit(0, 100), limit(0, 0)] {
            let Ok(page) = forward(at(9), (1..=2).map(message), limit);
            assert_eq!((numbers(&page), page.has_more), (vec![1], true));
            let Ok(page) = forward(at(9), (1..=1).map(message), limit);
            assert_eq!((numbers(&page), page.has_more), (vec![1], false));
            assert!(rows_to_read(limit) >= 2);
        }
    }

    #[test]
    fn one_message_beyond_the_page_is_taken_from_the_source() {
        let mut source = (1..=5).map(message);
        let Ok(page) = forward(at(9), source.by_ref(), limit(5, 8));
        assert_eq!(numbers(&page), [1, 2]);
        assert_eq!(source.next().unwrap().unwrap().seq, seq(4));
    }

    #[test]
    fn a_backward_page_is_ascending_and_ends_where_the_read_began() {
        let Ok(page) = backward(at(9), (1..=5).rev().map(message), limit(2, 100));
        assert_eq!((numbers(&page), page.has_more), (vec![4, 5], true));
    }
}
