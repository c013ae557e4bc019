//! What one message costs on its way in and out, beside the network and the database.

use chat_domain::{
    ClientMessageId, Content, DisplayName, Message, MessageId, NewMessage, RoomId, Seq, Timestamp,
    User, UserId,
};
use chat_gateway::bench;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// Characters of a message: a short one, a usual one, the longest.
const LENGTHS: [usize; 3] = [10, 100, 4000];

fn main() {
    divan::main();
}

/// From the packet's text to checked values.
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

/// What is done once for all members of a room, after the encoding.
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
        room_id: RoomId::new(7).expect("it is a room's number"),
        author: User {
            id: UserId::new("42").expect("it is a user's id"),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new(text(length)).expect("it is short enough"),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        created_at: Timestamp::from_unix_millis(1_769_860_800_000),
    }
    .stored(MessageId::new(812), Seq::new(57).expect("it is a position"))
}
