//! The events of the wire contract: name, payload and handler, in one place.
//!
//! To add an event, add a variant to [`Event`], its name and payload to [`Event::parse`]
//! and its handler to [`Event::handle`]. Around this table: [`namespace`] connects clients,
//! [`serving`] carries their events out in order, [`outbox`] holds what waits for them.

mod changing;
pub(crate) mod client;
mod context;
pub(crate) mod encoder;
pub(crate) mod exclusions;
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
mod renewing;
pub(crate) mod reply;
mod rooms;
mod ruling;
mod sending;
pub(crate) mod serving;
mod signals;

use chat_domain::ports::InboxPosition;
use chat_domain::use_cases::{
    InboxLimit, PageLimit, PageStart, RulesChange, RulesRequest, SentMessage, UserEdit,
};
use chat_domain::{Membership, Notify, ReactionKey, Rev, RoomId, Seq, UserId};

use self::context::Context;
use self::protocol::{Fields, Malformed, Payload, Token};
use self::reply::Failure;

/// What a client asks for, with valid values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    JoinRoom {
        room_id: RoomId,
        after: Option<Seq>,
        after_rev: Option<Rev>,
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
    RenewToken {
        token: Token,
    },
    ChangeRules {
        room_id: RoomId,
        request: RulesRequest,
    },
    GetRoom {
        room_id: RoomId,
    },
    ListMembers {
        room_id: RoomId,
        after: Option<UserId>,
        limit: PageLimit,
    },
    ListRooms {
        after: Option<InboxPosition>,
        limit: InboxLimit,
    },
    WatchRooms,
    SetNotify {
        room_id: RoomId,
        notify: Notify,
    },
    ChangeMessage {
        room_id: RoomId,
        seq: Seq,
        edit: UserEdit,
    },
    ListReactions {
        room_id: RoomId,
        seq: Seq,
        key: ReactionKey,
        after: Option<UserId>,
        limit: PageLimit,
    },
    ListChanges {
        room_id: RoomId,
        after: Rev,
        limit: PageLimit,
    },
    SetTyping {
        room_id: RoomId,
        typing: bool,
    },
    ListPresent {
        room_id: RoomId,
    },
    WatchUsers {
        user_ids: Vec<UserId>,
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
                    after_rev: fields.optional_after_rev()?,
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
                    extras: fields.extras()?,
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
            "renewToken" => Self::RenewToken {
                token: payload.fields()?.token()?,
            },
            "setMember" => {
                Self::change_user(payload, |fields| Ok(RulesChange::Role(fields.role()?)))?
            }
            "removeMember" => Self::change_user(payload, |_| Ok(RulesChange::Remove))?,
            "banMember" => {
                Self::change_user(payload, |fields| Ok(RulesChange::Ban(fields.lasting()?)))?
            }
            "unbanMember" => Self::change_user(payload, |_| Ok(RulesChange::Unban))?,
            "muteMember" => {
                Self::change_user(payload, |fields| Ok(RulesChange::Mute(fields.lasting()?)))?
            }
            "unmuteMember" => Self::change_user(payload, |_| Ok(RulesChange::Unmute))?,
            "setRoom" => {
                let fields = payload.fields()?;
                Self::ChangeRules {
                    room_id: fields.room_id()?,
                    request: RulesRequest::Settings(fields.settings()?),
                }
            }
            "getRoom" => Self::GetRoom {
                room_id: payload.fields()?.room_id()?,
            },
            "listMembers" => {
                let fields = payload.fields()?;
                Self::ListMembers {
                    room_id: fields.room_id()?,
                    after: fields.after()?,
                    limit: fields.limit()?,
                }
            }
            "listRooms" => {
                let fields = payload.fields()?;
                Self::ListRooms {
                    after: fields.after_room()?,
                    limit: fields.inbox_limit()?,
                }
            }
            "watchRooms" => {
                payload.fields()?;
                Self::WatchRooms
            }
            "setNotify" => {
                let fields = payload.fields()?;
                Self::SetNotify {
                    room_id: fields.room_id()?,
                    notify: fields.notify()?,
                }
            }
            "editMessage" => {
                Self::change_message(payload, |fields| Ok(UserEdit::Edit(fields.content()?)))?
            }
            "deleteMessage" => Self::change_message(payload, |_| Ok(UserEdit::Delete))?,
            "setReaction" => Self::change_message(payload, |fields| {
                Ok(UserEdit::React {
                    key: fields.key()?,
                    on: fields.on()?,
                })
            })?,
            "listReactions" => {
                let fields = payload.fields()?;
                Self::ListReactions {
                    room_id: fields.room_id()?,
                    seq: fields.seq()?,
                    key: fields.key()?,
                    after: fields.after()?,
                    limit: fields.limit()?,
                }
            }
            "listChanges" => {
                let fields = payload.fields()?;
                Self::ListChanges {
                    room_id: fields.room_id()?,
                    after: fields.after_rev()?,
                    limit: fields.limit()?,
                }
            }
            "setTyping" => {
                let fields = payload.fields()?;
                Self::SetTyping {
                    room_id: fields.room_id()?,
                    typing: fields.typing()?,
                }
            }
            "listPresent" => Self::ListPresent {
                room_id: payload.fields()?.room_id()?,
            },
            "watchUsers" => Self::WatchUsers {
                user_ids: payload.fields()?.user_ids()?,
            },
            _ => return Err(Malformed::UnknownEvent),
        })
    }

    /// Parses an event that changes one message.
    fn change_message(
        payload: &Payload<'_>,
        edit: impl FnOnce(&Fields<'_>) -> Result<UserEdit, Malformed>,
    ) -> Result<Self, Malformed> {
        let fields = payload.fields()?;
        Ok(Self::ChangeMessage {
            room_id: fields.room_id()?,
            seq: fields.seq()?,
            edit: edit(fields)?,
        })
    }

    /// Parses an event that changes where one user stands with a room.
    fn change_user(
        payload: &Payload<'_>,
        change: impl FnOnce(&Fields<'_>) -> Result<RulesChange, Malformed>,
    ) -> Result<Self, Malformed> {
        let fields = payload.fields()?;
        Ok(Self::ChangeRules {
            room_id: fields.room_id()?,
            request: RulesRequest::User {
                user_id: fields.user_id()?,
                change: change(fields)?,
            },
        })
    }

    /// Returns whether the event writes, is passed on to others, or makes the gateway read the
    /// state of a room or of all the user's rooms: these count against the user's rate.
    fn counts_against_rate(&self) -> bool {
        match self {
            Self::JoinRoom { .. }
            | Self::SendMessage(_)
            | Self::MarkRead { .. }
            | Self::ChangeRules { .. }
            | Self::ChangeMessage { .. }
            | Self::GetRoom { .. }
            | Self::ListRooms { .. }
            | Self::WatchRooms
            | Self::SetNotify { .. }
            | Self::SetTyping { .. }
            | Self::ListPresent { .. }
            | Self::WatchUsers { .. } => true,
            Self::LeaveRoom { .. }
            | Self::ListMessages { .. }
            | Self::RenewToken { .. }
            | Self::ListMembers { .. }
            | Self::ListReactions { .. }
            | Self::ListChanges { .. } => false,
        }
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
            Self::JoinRoom {
                room_id,
                after,
                after_rev,
            } => joining::join(context, membership, room_id, after, after_rev).await,
            Self::LeaveRoom { room_id } => {
                joining::leave(context, membership, room_id);
                Ok(())
            }
            // Messages are sent together with those that follow them.
            Self::SendMessage(_) => Ok(()),
            Self::ListMessages {
                room_id,
                start,
                limit,
            } => messages::list(context, membership, room_id, start, limit).await,
            Self::MarkRead { room_id, seq } => {
                messages::mark_read(context, membership, room_id, seq).await
            }
            Self::RenewToken { token } => renewing::renew(context, membership, &token).await,
            Self::ChangeRules { room_id, request } => {
                ruling::change(context, membership, room_id, request).await
            }
            Self::GetRoom { room_id } => ruling::get_room(context, room_id).await,
            Self::ListMembers {
                room_id,
                after,
                limit,
            } => ruling::list_members(context, room_id, after, limit).await,
            Self::ListRooms { after, limit } => {
                rooms::list(context, membership, after, limit).await
            }
            Self::WatchRooms => rooms::watch(context).await,
            Self::SetNotify { room_id, notify } => {
                rooms::set_notify(context, room_id, notify).await
            }
            Self::ChangeMessage { room_id, seq, edit } => {
                changing::change(context, membership, room_id, seq, edit).await
            }
            Self::ListReactions {
                room_id,
                seq,
                key,
                after,
                limit,
            } => {
                changing::list_reactions(context, membership, room_id, (seq, key), after, limit)
                    .await
            }
            Self::ListChanges {
                room_id,
                after,
                limit,
            } => changing::list_changes(context, membership, room_id, after, limit).await,
            Self::SetTyping { room_id, typing } => {
                signals::set_typing(context, membership, room_id, typing).await
            }
            Self::ListPresent { room_id } => {
                signals::list_present(context, membership, room_id).await
            }
            Self::WatchUsers { user_ids } => signals::watch_users(context, user_ids).await,
        }
    }
}
