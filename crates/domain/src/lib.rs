//! The chat domain: what a message is, who may send it where, and in which
//! order everybody sees it. No I/O, no runtime, no framework.
//!
//! # A tour
//!
//! - **Values** that cannot be wrong: [`RoomId`], [`Seq`], [`MessageId`],
//!   [`ClientMessageId`], [`UserId`], [`Content`], [`Timestamp`]. They are parsed once, at the edge;
//!   inside, an invalid one does not exist.
//! - **Entities**: a [`NewMessage`] that somebody wants to say, the [`Message`]
//!   that it becomes once it is stored, its author, a [`User`], and the
//!   [`Identity`] that a token proved. [`Membership`] is what one connection has
//!   joined.
//! - **[Ports](ports)**: what the domain needs from the world, as `async_trait`
//!   traits behind `Arc<dyn Port>`: [`ports::MessageRepository`],
//!   [`ports::RoomRepository`], [`ports::RoomEvents`], [`ports::Authenticator`],
//!   [`ports::Clock`]. Each states its contract. With the feature `mock`, each
//!   has a `mockall` mock beside it.
//! - **[Use cases](use_cases)**: one struct per thing that a user does, with an
//!   error enum of its own: [`use_cases::Connect`], [`use_cases::JoinRoom`],
//!   [`use_cases::SendMessage`], [`use_cases::ListMessages`],
//!   [`use_cases::MarkRead`].
//! - **[`RoomSequencer`]**: hints about stored messages come in any order, late,
//!   twice or never; out come the messages 1, 2, 3 …
//!
//! # The promise that shapes it
//!
//! A message is stored before anybody sees it. So [`use_cases::SendMessage`]
//! first appends, then announces; the log is the truth, and an announcement is a
//! hint that may be lost without harm.
//!
//! ```
//! use chat_domain::{Content, RoomId};
//!
//! let room = RoomId::new(7).expect("7 is a room number");
//! assert!(RoomId::new(0).is_err());
//!
//! let content = Content::new("hello").expect("fits");
//! assert_eq!(content.as_str(), "hello");
//! assert!(Content::new("   ").is_err());
//! # let _ = room;
//! ```
//!
//! `examples/own_adapter.rs` shows a service of another kind that uses these use
//! cases with an adapter of its own.

mod error;
mod ids;
mod message;
pub mod ports;
mod room;
mod sequencer;
mod time;
pub mod use_cases;
mod user;

pub use error::{BoxError, StorageError};
pub use ids::{
    ClientMessageId, InvalidClientMessageId, InvalidNumber, InvalidUserId, MAX_NUMBER, MessageId,
    RoomId, Seq, UserId,
};
pub use message::{Content, InvalidContent, Message, NewMessage, StoredMessage};
pub use room::{Membership, Standing};
pub use sequencer::RoomSequencer;
pub use time::{InvalidTimestamp, Timestamp};
pub use user::{DisplayName, Identity, RoomAccess, User};
