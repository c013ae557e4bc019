//! What is parsed and encoded: packets, messages, frames, pages.

use std::hint::black_box;

use chat_domain::StoredMessage;
use chat_domain::use_cases::Page;
use chat_gateway::bench;

use crate::piece::{Entry, Piece};
use crate::samples::{TYPICAL, message, new_message, room, seq, text};

/// The number of characters in the longest message.
const LONGEST: usize = 4000;
const OPERATIONS: usize = 1000;
/// The number of messages in a page.
const PAGE: u64 = 50;

pub(crate) const PIECES: &[Entry] = &[
    Entry("packet_to_message", || packet_to_message(TYPICAL)),
    Entry("packet_to_longest_message", || packet_to_message(LONGEST)),
    Entry("message_to_json", || message_to_json(TYPICAL)),
    Entry("longest_message_to_json", || message_to_json(LONGEST)),
    Entry("json_to_frame", json_to_frame),
    Entry("page_to_acknowledgement", page_to_acknowledgement),
];

/// Parses a packet's text into valid values.
fn packet_to_message(length: usize) -> Piece {
    let packet = format!(
        r#"["sendMessage",{{"roomId":7,"content":"{}","clientMessageId":"c0ffee-1"}}]"#,
        text(length)
    );
    assert!(bench::read_send_message(&packet).is_some(), "{packet}");
    Piece::repeat(OPERATIONS, move || {
        bench::read_send_message(black_box(&packet))
    })
}

fn message_to_json(length: usize) -> Piece {
    let message = new_message(room(7), length).stored(message(room(7), 57).id, seq(57));
    Piece::repeat(OPERATIONS, move || {
        bench::encode_message(black_box(&message))
    })
}

/// Wraps encoded JSON in a frame, which happens once for all members of a room.
fn json_to_frame() -> Piece {
    let encoder = bench::encoder();
    let message = StoredMessage::encode(&message(room(7), 57), bench::encode_message);
    Piece::repeat(OPERATIONS, move || encoder.message(black_box(&message)))
}

/// Encodes the acknowledgement of a page, whose messages are encoded already.
fn page_to_acknowledgement() -> Piece {
    let messages = (1..=PAGE)
        .map(|position| StoredMessage::encode(&message(room(7), position), bench::encode_message));
    let page = Page {
        messages: messages.collect(),
        has_more: true,
    };
    Piece::repeat(OPERATIONS / 10, move || {
        bench::acknowledge_page(black_box(&page))
    })
}
