//! What clients are handed, as text: how it is encoded, and what it says.

use std::fmt::Write as _;

use bytes::Bytes;
use chat_delivery::Encoder;
use chat_domain::{
    ChangedMessage, Message, ReactionKey, RoomId, Seq, StoredChange, StoredMessage, UserId,
};

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Message {
        room_id: RoomId,
        seq: u64,
        state: MessageState,
    },
    MessageChanged {
        room_id: RoomId,
        seq: u64,
        state: MessageState,
        by: Option<u64>,
    },
    ReadPointer {
        room_id: RoomId,
        user: u64,
        seq: u64,
    },
    Joined {
        room_id: RoomId,
        seam: u64,
        missed: Option<(u64, u64)>,
        rev: u64,
        changes_missed: Option<(u64, u64)>,
    },
    RulesChange {
        room_id: RoomId,
        user: u64,
        rules: u64,
    },
    Farewell {
        room_id: RoomId,
    },
}

/// A state of a message: the number of its latest change, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageState {
    pub(crate) rev: u64,
    pub(crate) shown: String,
}

impl MessageState {
    pub(crate) fn of(message: &Message) -> Self {
        let mut shown = message.content.as_str().to_owned();
        let Some(changes) = &message.changes else {
            return Self { rev: 0, shown };
        };
        for reaction in &changes.reactions {
            let _ = write!(shown, "+{}{}", reaction.key.as_str(), reaction.count);
        }
        for (at, mark) in [(changes.deleted_at, "-"), (changes.erased_at, "--")] {
            shown += at.map_or("", |_| mark);
        }
        let rev = changes.rev.get();
        Self { rev, shown }
    }
}

impl Frame {
    pub(crate) fn room_id(&self) -> RoomId {
        let (Self::Message { room_id, .. }
        | Self::MessageChanged { room_id, .. }
        | Self::ReadPointer { room_id, .. }
        | Self::Joined { room_id, .. }
        | Self::RulesChange { room_id, .. }
        | Self::Farewell { room_id }) = self;
        *room_id
    }
}

/// Returns the frame of a message.
pub(crate) fn frame(message: &Message) -> String {
    let MessageState { rev, shown } = MessageState::of(message);
    format!("m:{}:{}:{rev}:{shown};", message.room_id, message.seq)
}

pub(crate) fn parse(frames: &Bytes) -> impl Iterator<Item = Frame> + '_ {
    let text = std::str::from_utf8(frames).unwrap();
    text.split_terminator(';').map(|frame| {
        let fields: Vec<&str> = frame.split(':').collect();
        let number = |n: usize| fields[n].parse::<u64>().unwrap();
        let range = |n: usize| {
            fields[n].split_once('-').map(|(from, to)| {
                let number = |text: &str| text.parse().unwrap();
                (number(from), number(to))
            })
        };
        let state = || MessageState {
            rev: number(3),
            shown: fields[4].to_owned(),
        };
        let room_id = RoomId::new(number(1)).unwrap();
        match fields[0] {
            "m" => Frame::Message {
                room_id,
                seq: number(2),
                state: state(),
            },
            "e" => Frame::MessageChanged {
                room_id,
                seq: number(2),
                state: state(),
                by: fields[5].parse().ok(),
            },
            "r" => Frame::ReadPointer {
                room_id,
                user: number(2),
                seq: number(3),
            },
            "c" => Frame::RulesChange {
                room_id,
                user: number(2),
                rules: number(3),
            },
            "x" => Frame::Farewell { room_id },
            "j" => Frame::Joined {
                room_id,
                seam: number(2),
                missed: range(3),
                rev: number(4),
                changes_missed: range(5),
            },
            other => unreachable!("{other}"),
        }
    })
}

/// Frames that name their room, message and user.
pub(crate) struct Text;

impl Encoder for Text {
    fn message(&self, message: &StoredMessage) -> Bytes {
        Bytes::from(message.encoded().to_owned())
    }

    fn logged_message(&self, message: Message, _: &[ReactionKey]) -> Bytes {
        frame(&message).into()
    }

    fn changed_message(
        &self,
        room_id: RoomId,
        changed: ChangedMessage,
        is_merged: bool,
        _: &[ReactionKey],
    ) -> Bytes {
        let ChangedMessage { message, by, .. } = changed;
        let MessageState { rev, shown } = MessageState::of(&message);
        let by = by.filter(|_| !is_merged);
        let by = by.map(|by| by.to_string()).unwrap_or_default();
        Bytes::from(format!("e:{room_id}:{}:{rev}:{shown}:{by};", message.seq))
    }

    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        Bytes::from(format!("r:{room_id}:{user_id}:{seq};"))
    }

    fn typing(&self, _: RoomId, _: &chat_domain::User, _: bool) -> Bytes {
        unreachable!("no user is typing")
    }

    fn rules_change(&self, change: &StoredChange) -> Bytes {
        Bytes::from(change.encoded().to_owned())
    }
}
