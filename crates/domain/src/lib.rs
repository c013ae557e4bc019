//! The chat domain: messages, rooms and users, who may do what, and the order in which
//! messages are seen. No I/O, no runtime, no framework.
//!
//! # A tour
//!
//! - **Values** that are always valid: [`RoomId`], [`Seq`], [`MessageId`],
//!   [`ClientMessageId`], [`UserId`], [`Content`], [`Timestamp`]. They are parsed once, at the
//!   boundary; inside, an invalid one cannot exist.
//! - **Entities**: a [`NewMessage`] becomes a [`Message`] when it is stored, and a
//!   [`StoredMessage`] when it is encoded. Its author is a [`User`]; an [`Identity`] is what
//!   a verified token states. Everything that changes in a room is a [`RoomEntry`].
//!   [`Membership`] is the set of rooms that one connection has joined, and [`Grants`] are the
//!   roles that the product's access hook has given to it.
//! - **[Ports](ports)**: what the domain needs from the outside, as traits behind
//!   `Arc<dyn Port>`. Each states its contract. With the feature `mock`, each has a
//!   `mockall` mock beside it.
//! - **[Use cases](use_cases)**: one struct for each action of a user or of the product, each
//!   with its own error: [`use_cases::Connect`], [`use_cases::RenewToken`], [`use_cases::JoinRoom`],
//!   [`use_cases::LeaveRoom`], [`use_cases::SendMessage`], [`use_cases::ListMessages`],
//!   [`use_cases::MarkRead`], [`use_cases::ChangeMessage`], [`use_cases::ListChanges`],
//!   [`use_cases::ListReactions`], [`use_cases::GetRoom`], [`use_cases::ListMembers`],
//!   [`use_cases::ChangeRules`], [`use_cases::DeleteRoom`], [`use_cases::ListRooms`],
//!   [`use_cases::SetNotify`], [`use_cases::SetTyping`], [`use_cases::DisconnectUser`],
//!   [`use_cases::RevokeTokens`], [`use_cases::EraseUser`], [`use_cases::ExportUser`],
//!   [`use_cases::ImportMessages`].
//! - **[`decide`]**: who may do what in a room with rules, in one pure function. A [`Permit`]
//!   carries what it needs, and the number of the rules by which that was read.
//! - **[`RoomSequencer`]**: turns hints about stored messages, which arrive in any order,
//!   late, repeatedly or never, into the messages 1, 2, 3 …
//!
//! # The promise behind the design
//!
//! A message is stored before any client sees it. [`use_cases::SendMessage`] therefore
//! appends first and announces afterwards. The log is the source of truth; an announcement
//! is a hint, which may be lost without harm.
//!
//! ```
//! use chat_domain::{Content, RoomId};
//!
//! let room = RoomId::new(7).expect("7 is a valid room number");
//! assert!(RoomId::new(0).is_err());
//!
//! let content = Content::new("hello").expect("the text is valid");
//! assert_eq!(content.as_str(), "hello");
//! assert!(Content::new("   ").is_err());
//! # let _ = room;
//! ```
//!
//! `examples/own_adapter.rs` shows a different kind of service that uses these use cases
//! with its own adapters.

mod changes;
mod error;
mod extras;
mod grants;
mod ids;
mod inbox;
mod member;
mod message;
pub mod ports;
mod room;
mod rules;
mod sanctions;
mod sequencer;
mod signals;
mod time;
pub mod use_cases;
mod user;

pub use changes::{
    ChangeKind, ChangedMessage, InvalidReactionKey, MessageChanges, MessageEdit, ReactionCount,
    ReactionKey, Rev,
};
pub use error::{BoxError, StorageError, one_line};
pub use extras::{InvalidMessageMetadata, MessageExtras, MessageMetadata};
pub use grants::Grants;
pub use ids::{
    ClientMessageId, ConnectionId, InvalidClientMessageId, InvalidNumber, InvalidUserId,
    MAX_NUMBER, MessageId, RoomId, Seq, UserId,
};
pub use inbox::{MemberView, Notify, RoomOverview, Summary};
pub use member::{
    InvalidMetadata, InvalidReason, InvalidRoomName, Member, Metadata, NewMember, Reason, RoomName,
    Sanction,
};
pub use message::{
    Content, EncodeMessage, EncodeMessageFor, InvalidContent, Message, NewMessage, StoredMessage,
};
pub use room::{
    Access, AccessDenied, Caller, ChangeSubject, Membership, ReadState, RoomEntry, RoomState,
    StoredChange,
};
pub use rules::{
    Action, Authorship, Forbidden, Generation, Permit, Role, RoomKind, RoomRules, RulesNumber,
    Standing, Until, decide,
};
pub use sanctions::{Disconnection, Revocation};
pub use sequencer::RoomSequencer;
pub use signals::TypingSignal;
pub use time::{InvalidTimestamp, Timestamp};
pub use user::{DisplayName, Identity, InvalidDisplayName, RoomAccess, User, Visibility};
