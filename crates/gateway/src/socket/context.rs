//! What a handler works with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chat_domain::use_cases::GetRoomError;
use chat_domain::{Access, AccessDenied, Action, Caller, Identity, Membership, RoomId};

use super::client::{Client, Slot};
use super::outbox::Outbox;
use super::reply::{Failure, Request};
use crate::gateway::Gateway;

/// One event of one client.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) client: &'a Client,
    /// What the client's token stated when the event began.
    pub(super) identity: &'a Identity,
    pub(super) client_address: IpAddr,
    pub(super) outbox: &'a Arc<Outbox>,
    pub(super) request: &'a Request,
    pub(super) slot: &'a Slot<'a>,
    pub(super) arrived: Instant,
}

impl<'a> Context<'a> {
    /// Returns the client as the caller of a use case.
    ///
    /// # Errors
    /// To its user, the room does not exist, or that cannot be determined.
    pub(super) async fn caller(
        &self,
        membership: &Membership,
        room_id: RoomId,
    ) -> Result<Caller<'a>, Failure> {
        let access = self.identity.access(membership, room_id);
        self.require_visible(access, room_id).await?;
        Ok(Caller {
            user: &self.identity.user,
            access,
        })
    }

    /// Checks that a room which the client has not joined exists for its user.
    ///
    /// # Errors
    /// As [`caller`](Self::caller).
    pub(super) async fn require_visible(
        &self,
        access: Access,
        room_id: RoomId,
    ) -> Result<(), Failure> {
        if access == Access::NotJoined {
            let permits = &self.gateway.permits;
            let permit = permits.before_joining(self.identity, room_id).await;
            let permit = permit.map_err(GetRoomError::Storage)?;
            permit.decide(Action::Read).map_err(GetRoomError::Denied)?;
        }
        Ok(())
    }

    /// Answers the event.
    pub(super) fn send(&self, packets: impl IntoIterator<Item = Bytes>) {
        self.slot.release();
        self.outbox.push(packets);
    }

    /// Answers the event with what the room contains.
    ///
    /// # Errors
    /// The connection was excluded from the room meanwhile.
    pub(super) fn send_from_room(
        &self,
        room_id: RoomId,
        packets: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), Failure> {
        let exclusions = &self.client.exclusions;
        match exclusions.unless_excluded(room_id, || self.send(packets)) {
            true => Ok(()),
            false => Err(Failure::from(&AccessDenied::NotFound)),
        }
    }
}
