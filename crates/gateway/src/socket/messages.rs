//! The handlers of `sendMessage`, `listMessages` and `markRead`.

use chat_domain::use_cases::{PageLimit, PageStart, SentMessage};
use chat_domain::{Membership, RoomId, Seq};

use super::connection::Connection;
use super::objects::{ListAck, MarkReadAck, message_json};
use super::reply::{Failure, Request};
use crate::gateway::Gateway;

pub(super) async fn send(
    connection: &Connection,
    gateway: &Gateway,
    membership: &Membership,
    request: &Request,
    sent: SentMessage,
) -> Result<(), Failure> {
    let message = gateway
        .send_message
        .execute(&connection.identity, membership, sent)
        .await?;
    connection.send(request.stored(message.encoded(message_json)));
    Ok(())
}

pub(super) async fn list(
    connection: &Connection,
    gateway: &Gateway,
    membership: &Membership,
    request: &Request,
    room_id: RoomId,
    start: PageStart,
    limit: PageLimit,
) -> Result<(), Failure> {
    let page = gateway
        .list_messages
        .execute(membership, room_id, start, limit)
        .await?;
    connection.send(request.success(&ListAck::from(&page)));
    Ok(())
}

pub(super) async fn mark_read(
    connection: &Connection,
    gateway: &Gateway,
    membership: &Membership,
    request: &Request,
    room_id: RoomId,
    seq: Seq,
) -> Result<(), Failure> {
    let standing = gateway
        .mark_read
        .execute(&connection.identity, membership, room_id, seq)
        .await?;
    connection.send(request.success(&MarkReadAck::new(room_id, standing)));
    Ok(())
}
