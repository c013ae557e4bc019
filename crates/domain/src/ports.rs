//! What the domain needs from the outside: traits that adapters implement.
//!
//! A trait's documentation is its contract. One suite per port, in the adapters'
//! `tests/contract` (for [`RoomDelivery`], in the delivery crate), proves the contract for
//! every adapter.
//!
//! To add a port: write a trait here with its contract, and its mock with the same
//! `cfg_attr` line; a contract suite; and one adapter per technology.

mod access_hook;
mod acquaintances;
mod authenticator;
mod change_repository;
mod clock;
mod hints_health;
mod inbox;
mod message_import;
mod message_repository;
mod node_commands;
mod node_roster;
mod outbox;
mod presence_exchange;
mod revocations;
mod room_deletion;
mod room_delivery;
mod room_directory;
mod room_events;
mod room_repository;
mod sanctions;
mod storage_health;
mod user_erasure;
mod user_records;

pub use access_hook::{AccessHook, NoAnswer};
pub use acquaintances::{Acquaintance, Acquaintances, LastSeen};
pub use authenticator::{AuthenticationError, Authenticator};
pub use change_repository::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
};
pub use clock::Clock;
pub use hints_health::{HintsHealth, HintsStatus, LostHints};
pub use inbox::{Inbox, InboxPage, InboxPosition, ListedRoom};
pub use message_import::{ImportFailure, Imported, MessageImport};
pub use message_repository::{AppendError, Appended, LogPage, MessageRepository, ReadLimit};
pub use node_commands::{NodeCommand, NodeCommandListener, NodeCommands, NodesUnreachable};
pub use node_roster::{NodeRoster, NodeStats, NodeStatsSource};
pub use outbox::{
    Backlog, LeaseHolder, LeaseRequest, NextDelivery, Outbox, OutboxEntry, OutboxKind, OutboxKinds,
    OutboxLease, OutboxPlace, ParkedEntry, Settlement, UnreadReport,
};
pub use presence_exchange::{NodeName, PresenceExchange, PresenceListener, PresenceNews};
pub use revocations::{Revocations, RevocationsUnreachable};
pub use room_deletion::{Closing, DeletedBatch, RoomDeletion};
pub use room_delivery::RoomDelivery;
pub use room_directory::{
    ChangeError, Changed, MemberPage, MembersSet, RoomChange, RoomDirectory, RoomPage,
    RoomSettings, RoomSnapshot, SanctionKind, SanctionPage, SanctionedUser, SetMember,
    SettingsPatch, Turn, UserRecord,
};
pub use room_events::{Hint, HintListener, RoomEvents};
pub use room_repository::{
    Changes, LogCursor, MarkedRead, MemberChange, MemberPart, RoomPosition, RoomRepository,
};
pub use sanctions::{
    DISCONNECTION_LIFETIME, RecentDisconnection, RecentSanctions, Sanctions, SanctionsCursor,
};
pub use storage_health::{PoolStatus, StorageHealth};
pub use user_erasure::{AuthoredMessages, ChangedRoom, ErasureBatch, ErasureStage, UserErasure};
pub use user_records::{PlacedRecord, RecordKind, RecordPlace, UserRecordData, UserRecords};

#[cfg(any(test, feature = "mock"))]
pub use self::{
    access_hook::MockAccessHook,
    acquaintances::MockAcquaintances,
    authenticator::MockAuthenticator,
    change_repository::MockChangeRepository,
    clock::MockClock,
    hints_health::MockHintsHealth,
    inbox::MockInbox,
    message_import::MockMessageImport,
    message_repository::MockMessageRepository,
    node_commands::{MockNodeCommandListener, MockNodeCommands},
    node_roster::{MockNodeRoster, MockNodeStatsSource},
    outbox::MockOutbox,
    presence_exchange::{MockPresenceExchange, MockPresenceListener},
    revocations::MockRevocations,
    room_deletion::MockRoomDeletion,
    room_delivery::MockRoomDelivery,
    room_directory::MockRoomDirectory,
    room_events::{MockHintListener, MockRoomEvents},
    room_repository::MockRoomRepository,
    sanctions::MockSanctions,
    storage_health::MockStorageHealth,
    user_erasure::MockUserErasure,
    user_records::MockUserRecords,
};
