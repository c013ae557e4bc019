//! Access to internals for the micro benchmarks. Nothing else may use it.

use chat_domain::Message;
use chat_domain::use_cases::SentMessage;

use crate::socket::objects::message_json;
use crate::socket::{Event, packet, protocol};

/// Parses a packet `["sendMessage",{…}]`; `None` if it is something else.
pub fn read_send_message(packet: &str) -> Option<SentMessage> {
    match protocol::read(packet, Event::parse).outcome {
        Ok(Event::SendMessage(message)) => Some(message),
        _ => None,
    }
}

/// Encodes a message as JSON.
pub fn to_json(message: &Message) -> Box<str> {
    message_json(message)
}

/// Frames `newMessage` with an encoded message; returns the length in bytes.
pub fn frame(json: &str) -> usize {
    packet::event_of_json("newMessage", json).len()
}
