//! The handler of `sendMessage`.

use chat_domain::{Content, Membership, RoomId};

use super::connection::Connection;
use super::protocol::{SentMessage, WireMessage};
use super::reply::{Failure, Request};
use crate::gateway::Gateway;

pub(super) async fn send(
    connection: &Connection,
    gateway: &Gateway,
    membership: &Membership,
    request: &Request,
    room_id: RoomId,
    content: Content,
) -> Result<(), Failure> {
    let message = gateway
        .send_message
        .execute(&connection.identity, membership, room_id, content)
        .await?;
    let sent = SentMessage {
        message: WireMessage::from(&*message),
    };
    connection.send(request.success(&sent));
    Ok(())
}
