//! The internals whose instructions are counted. Only `benches/instructions` uses them.

use std::sync::Arc;

use bytes::Bytes;
use chat_delivery::Encoder;
use chat_domain::Message;
use chat_domain::use_cases::{Page, SentMessage};

use crate::socket::encoder::SocketIoEncoder;
use crate::socket::objects::message_json;
use crate::socket::reply::Request;
use crate::socket::{Event, protocol};

/// Parses a packet `["sendMessage",{…}]`; `None` if it is something else.
pub fn read_send_message(packet: &str) -> Option<SentMessage> {
    match protocol::read(packet, Event::parse).outcome {
        Ok(Event::SendMessage(message)) => Some(message),
        _ => None,
    }
}

/// Encodes a message as JSON.
pub fn encode_message(message: &Message) -> Box<str> {
    message_json(message)
}

/// Returns what encodes the frames of a room's members.
pub fn encoder() -> Arc<dyn Encoder> {
    Arc::new(SocketIoEncoder)
}

/// Encodes the acknowledgement of a `listMessages`.
pub fn acknowledge_page(page: &Page) -> Option<Bytes> {
    let request = Request {
        ack: Some(1),
        ..Request::default()
    };
    request.page(page)
}
