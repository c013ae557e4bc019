//! What the domain needs from the world: traits that adapters implement.
//!
//! A trait's documentation is its contract, and every adapter passes one suite
//! that proves it. To add a port: a trait here with its contract, its mock by the
//! same `cfg_attr` line, a suite in the adapters' `tests/contract`, and an
//! adapter per technology.

mod authenticator;
mod clock;
mod message_repository;
mod room_events;
mod room_repository;

pub use authenticator::{AuthenticationError, Authenticator};
pub use clock::Clock;
pub use message_repository::{AppendError, Appended, MessageRepository};
pub use room_events::{PointerMoved, RoomEventListener, RoomEvents};
pub use room_repository::{MarkedRead, RoomRepository};

#[cfg(any(test, feature = "mock"))]
pub use self::{
    authenticator::MockAuthenticator,
    clock::MockClock,
    message_repository::MockMessageRepository,
    room_events::{MockRoomEventListener, MockRoomEvents},
    room_repository::MockRoomRepository,
};
