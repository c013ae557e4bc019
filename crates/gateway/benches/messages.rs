//! The CPU cost of one message on its way in and out, without the network and the database.

use chat_domain::{
    ClientMessageId, Content, DisplayName, Message, MessageId, NewMessage, RoomId, Seq, Timestamp,
    User, UserId,
};
use chat_gateway::bench;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// Message lengths in characters: short, typical and maximal.
const LENGTHS: [usize; 3] = [10, 100, 4000];

fn main() {
    divan::main();
}

/// Parses a packet's text into valid values.
#[divan::bench(args = LENGTHS)]
fn packet_to_message(bencher: Bencher<'_, '_>, length: usize) {
    let packet = format!(
        r#"["sendMessage",{{"roomId":7,"content":"{}","clientMessageId":"c0ffee-1"}}]"#,
        text(length)
    );
    assert!(bench::read_send_message(&packet).is_some(), "{packet}");
    bencher
        .counter(BytesCount::of_str(&packet))
        .bench(|| bench::read_send_message(black_box(&packet)));
}

#[divan::bench(args = LENGTHS)]
fn message_to_json(bencher: Bencher<'_, '_>, length: usize) {
    let message = message(length);
    bencher
        .counter(BytesCount::of_str(&*bench::to_json(&message)))
        .bench(|| bench::to_json(black_box(&message)));
}

/// Wraps encoded JSON in a frame, which happens once for all members of a room.
#[divan::bench(args = LENGTHS)]
fn json_to_frame(bencher: Bencher<'_, '_>, length: usize) {
    let json = bench::to_json(&message(length));
    bencher
        .counter(BytesCount::new(bench::frame(&json)))
        .bench(|| bench::frame(black_box(&json)));
}

fn text(length: usize) -> String {
    let prose = "the quick brown fox jumps over the lazy dog, ";
    prose.chars().cycle().take(length).collect()
}

fn message(length: usize) -> Message {
    NewMessage {
        room_id: RoomId::new(7).expect("7 is a valid room number"),
        author: User {
            id: UserId::new("42").expect("42 is a valid user id"),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new(text(length)).expect("the text is not too long"),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        created_at: Timestamp::from_unix_millis(1_769_860_800_000),
    }
    .stored(
        MessageId::new(812),
        Seq::new(57).expect("57 is a valid position"),
    )
}
