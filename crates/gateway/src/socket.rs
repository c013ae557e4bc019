//! The events of the wire contract: name, payload and handler, in one place.
//!
//! To add an event, add a variant to [`Event`], its name and payload to [`Event::parse`]
//! and its handler to [`Event::handle`]. Around this table: [`namespace`] connects clients,
//! [`serving`] carries their events out in order, [`outbox`] holds what waits for them.

pub(crate) mod client;
mod context;
pub(crate) mod encoder;
pub(crate) mod flusher;
pub(crate) mod handshake;
mod inbox;
mod joining;
mod messages;
pub(crate) mod namespace;
pub(crate) mod objects;
pub(crate) mod outbox;
pub(crate) mod packet;
pub(crate) mod protocol;
pub(crate) mod reply;
pub(crate) mod serving;

use chat_domain::use_cases::{PageLimit, PageStart, SentMessage};
use chat_domain::{Membership, RoomId, Seq};

use self::context::Context;
use self::protocol::{Malformed, Payload};
use self::reply::Failure;

/// What a client asks for, with valid values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    JoinRoom {
        room_id: RoomId,
        after: Option<Seq>,
    },
    LeaveRoom {
        room_id: RoomId,
    },
    SendMessage(SentMessage),
    ListMessages {
        room_id: RoomId,
        start: PageStart,
        limit: PageLimit,
    },
    MarkRead {
        room_id: RoomId,
        seq: Seq,
    },
}

impl Event {
    /// Parses an event by its name.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn parse(name: &str, payload: &Payload<'_>) -> Result<Self, Malformed> {
        Ok(match name {
            "joinRoom" => {
                let fields = payload.fields()?;
                Self::JoinRoom {
                    room_id: fields.room_id()?,
                    after: fields.after_seq()?,
                }
            }
            "leaveRoom" => Self::LeaveRoom {
                room_id: payload.fields()?.room_id()?,
            },
            "sendMessage" => {
                let fields = payload.fields()?;
                Self::SendMessage(SentMessage {
                    room_id: fields.room_id()?,
                    content: fields.content()?,
                    client_message_id: fields.client_message_id()?,
                })
            }
            "listMessages" => {
                let fields = payload.fields()?;
                Self::ListMessages {
                    room_id: fields.room_id()?,
                    start: fields.page_start()?,
                    limit: fields.limit()?,
                }
            }
            "markRead" => {
                let fields = payload.fields()?;
                Self::MarkRead {
                    room_id: fields.room_id()?,
                    seq: fields.seq()?,
                }
            }
            _ => return Err(Malformed::UnknownEvent),
        })
    }

    /// Carries the event out and answers it.
    ///
    /// # Errors
    /// [`Failure`], which the caller sends.
    async fn handle(
        self,
        context: Context<'_>,
        membership: &mut Membership,
    ) -> Result<(), Failure> {
        match self {
            Self::JoinRoom { room_id, after } => {
                joining::join(context, membership, room_id, after).await
            }
            Self::LeaveRoom { room_id } => {
                joining::leave(context, membership, room_id);
                Ok(())
            }
            Self::SendMessage(sent) => messages::send(context, membership, sent).await,
            Self::ListMessages {
                room_id,
                start,
                limit,
            } => messages::list(context, membership, room_id, start, limit).await,
            Self::MarkRead { room_id, seq } => {
                messages::mark_read(context, membership, room_id, seq).await
            }
        }
    }
}
