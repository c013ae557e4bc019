//! Changes of messages, and the states that messages were shown in.

use super::{PADDING, compact};

/// One event about a message that may have changed, at a client in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// `joinRoom`, which was just sent, carried `afterSeq` and this `afterRev`.
    JoiningAfter { seq: u64, rev: u64 },
    /// The `rev` and `changesMissed` of the `joinedRoom` that just arrived.
    Joined {
        rev: u64,
        missed: Option<(u64, u64)>,
    },
    /// A message was deleted, or may be: `deleteMessage` was sent.
    Deleting { seq: u64 },
    /// A message was shown in a state.
    Shown { seq: u64, by: Shown, state: State },
}

/// What showed the state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// `newMessage`.
    Message,
    /// `messageChanged`.
    Change,
    /// A page of `listMessages` or `listChanges`.
    Page,
    /// The acknowledgement of a change.
    Acknowledgement,
}

/// The state of a message: the number of its latest change, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) rev: u64,
    pub(crate) shown: String,
}

impl State {
    /// Creates the state of a message with this content, in the form of [`compact`].
    pub(crate) fn new(
        rev: u64,
        content: &str,
        reactions: &[(String, u64)],
        is_edited: bool,
        is_deleted: bool,
    ) -> Self {
        Self {
            rev,
            shown: format!("{content} {reactions:?} {is_edited} {is_deleted}"),
        }
    }
}

/// The states of messages in the database at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct States {
    /// By room and number.
    pub(crate) messages: Vec<(u64, u64, State)>,
    /// Each room, and the number of its newest change.
    pub(crate) newest: Vec<(u64, u64)>,
}

/// Returns the content that replaces this one, to be told from others by a number. The message
/// stays recognizable.
pub(crate) fn edited(content: &str, number: u64, length: usize) -> String {
    let padding = length.saturating_sub(content.chars().count());
    let padding: String = std::iter::repeat_n(PADDING, padding).collect();
    format!("{content}~{number}{padding}")
}

/// Returns the content, in the form of [`compact`], that a message was stored with.
pub(crate) fn original(content: &str, id: Option<&str>, length: usize) -> String {
    match (content, id) {
        // It was deleted. Its `clientMessageId` was its content.
        ("+0", Some(id)) => {
            let padding = length.saturating_sub(id.chars().count());
            format!("{id}+{padding}")
        }
        _ => match (content.split_once('~'), content.rsplit_once('+')) {
            (Some((before, _)), Some((_, padding))) => format!("{before}+{padding}"),
            _ => content.to_owned(),
        },
    }
}

#[test]
fn a_message_that_has_changed_is_recognized() {
    for length in [3, 40] {
        let stored = compact(&edited("a-1", 0, length)).replace("~0", "");
        let now = compact(&edited("a-1", 17, length));
        assert_eq!(original(&stored, Some("a-1"), length), stored);
        assert_eq!(original(&now, Some("a-1"), length), stored);
        assert_eq!(original(&compact(""), Some("a-1"), length), stored);
    }
}
