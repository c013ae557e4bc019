//! What a handler works with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chat_domain::{Caller, Identity, Membership, RoomId};

use super::client::{Client, Slot};
use super::outbox::Outbox;
use super::reply::Request;
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
    pub(super) fn caller(&self, membership: &Membership, room_id: RoomId) -> Caller<'a> {
        Caller {
            user: &self.identity.user,
            access: self.identity.access(membership, room_id),
        }
    }

    /// Answers the event.
    pub(super) fn send(&self, packets: impl IntoIterator<Item = Bytes>) {
        self.slot.release();
        self.outbox.push(packets);
    }
}
