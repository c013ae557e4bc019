//! What the micro benchmarks reach of the inside. Nothing else may use it.

use chat_domain::Message;
use chat_domain::use_cases::SentMessage;

use crate::socket::objects::message_json;
use crate::socket::packet::Packet;
use crate::socket::protocol::{self, Event};

/// What a packet `["sendMessage",{…}]` asks for; `None` if it is none.
pub fn read_send_message(packet: &str) -> Option<SentMessage> {
    match protocol::read(packet).outcome {
        Ok(Event::SendMessage(message)) => Some(message),
        _ => None,
    }
}

/// A message as JSON, encoded once for all who get it.
pub fn to_json(message: &Message) -> Box<str> {
    message_json(message)
}

/// `newMessage` of an encoded message, as a finished frame; its length in bytes.
pub fn frame(json: &str) -> usize {
    Packet::event_of_json("newMessage", json).frame().len()
}
