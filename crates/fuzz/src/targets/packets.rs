//! A client's event packets.

use chat_gateway::fuzz::read_packet;
use serde_json::Value;

/// What is accepted must be what the JSON says, and every refusal must be valid JSON.
pub(crate) fn run(data: &[u8]) {
    let Ok(packet) = std::str::from_utf8(data) else {
        return;
    };
    let read = read_packet(packet);
    for frame in &read.refusal {
        let json = frame.trim_start_matches(|c: char| c.is_ascii_digit());
        serde_json::from_str::<Value>(json).expect("a refusal is JSON");
    }
    if !read.refusal.is_empty() {
        return;
    }
    // What is ignored may hold escapes, such as half a surrogate pair, that no `Value` can.
    let Ok(arguments) = serde_json::from_str::<Value>(packet) else {
        return;
    };
    assert_eq!(arguments.as_array().map(Vec::len), Some(2));
    assert_eq!(arguments[0].as_str(), read.event.as_deref());
    let payload = &arguments[1];
    // An integer may be written as 1.0 or 1e0. No valid one is rounded by a double.
    let room_id = read.room_id.map(|room_id| room_id as f64);
    assert_eq!(payload["roomId"].as_f64(), room_id);
    if let Some(content) = &read.content {
        assert_eq!(payload["content"].as_str(), Some(content.as_str()));
        assert!((1..=4000).contains(&content.chars().count()));
        assert!(!content.trim().is_empty() && !content.contains('\0'));
        let reply_to = read.reply_to.map(|seq| seq as f64);
        assert_eq!(payload["replyTo"].as_f64(), reply_to);
        assert_mentions(&payload["mentions"], &read.mentions);
        assert_metadata(&payload["metadata"], read.metadata.as_deref());
    }
}

/// Each user is mentioned once, in the order in which they are first named.
fn assert_mentions(sent: &Value, mentions: &[String]) {
    let mut expected: Vec<String> = Vec::new();
    for user in sent.as_array().into_iter().flatten() {
        let user = user.as_str().map_or(user.to_string(), str::to_owned);
        if !expected.contains(&user) {
            expected.push(user);
        }
    }
    assert_eq!(mentions, expected);
    assert!(mentions.len() <= 50);
}

/// Metadata has one form, which states what was sent.
fn assert_metadata(sent: &Value, metadata: Option<&str>) {
    let Some(metadata) = metadata else {
        assert!(sent.is_null());
        return;
    };
    assert!(metadata.len() <= 2048);
    let value: Value = serde_json::from_str(metadata).expect("metadata is JSON");
    assert!(value.is_object());
    assert_eq!(&value, sent);
    let again = format!(r#"["sendMessage",{{"roomId":1,"content":"x","metadata":{metadata}}}]"#);
    assert_eq!(read_packet(&again).metadata.as_deref(), Some(metadata));
}
