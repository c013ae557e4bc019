//! Socket.IO packets, recognized by their first bytes: parsing JSON would cost more than
//! the server under load spends on a delivery.

use memchr::memmem::Finder;

/// What a text frame contains.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// A whole `newMessage`.
    Message(&'a [u8]),
    /// The server's heartbeat.
    Ping,
    /// The Engine.IO session is open.
    Opened,
    /// The token was accepted.
    Connected,
    /// The server refused or disconnected this client, with its reason.
    Refused(&'a [u8]),
    /// A whole `joinedRoom`.
    Joined(&'a [u8]),
    /// A whole acknowledgement.
    Acknowledgement(&'a [u8]),
    /// A whole event that reports a failed operation.
    Error(&'a [u8]),
    /// A packet that the load test ignores.
    Other,
}

#[inline]
pub(crate) fn read(text: &[u8]) -> Packet<'_> {
    if text.starts_with(b"42[\"newMessage\"") {
        return Packet::Message(text);
    }
    match text {
        b"2" => Packet::Ping,
        [b'0', ..] => Packet::Opened,
        [b'4', b'0', ..] => Packet::Connected,
        [b'4', b'1' | b'4', ..] => Packet::Refused(text),
        [b'4', b'3', ..] => Packet::Acknowledgement(text),
        _ if text.starts_with(b"42[\"joinedRoom\"") => Packet::Joined(text),
        _ if text.starts_with(b"42[\"error\"") || text.starts_with(b"42[\"exception\"") => {
            Packet::Error(text)
        }
        _ => Packet::Other,
    }
}

/// Finds a marker in packets that resemble each other: it looks first where the marker
/// was in the previous packet.
pub(crate) struct MarkerFinder {
    finder: Finder<'static>,
    previous: usize,
}

impl MarkerFinder {
    pub(crate) fn new(marker: &[u8]) -> Self {
        Self {
            finder: Finder::new(marker).into_owned(),
            previous: 0,
        }
    }

    /// Returns what follows the marker.
    #[inline]
    pub(crate) fn after<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let marker = self.finder.needle();
        if let Some(rest) = packet.get(self.previous..)
            && let Some(after) = rest.strip_prefix(marker)
        {
            return Some(after);
        }
        self.previous = self.finder.find(packet)?;
        packet.get(self.previous + marker.len()..)
    }
}

/// Parses the number at the start of a text.
#[inline]
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=18).contains(&digits) {
        return None;
    }
    let number = |number, byte: &u8| number * 10 + u64::from(byte - b'0');
    Some(text[..digits].iter().fold(0, number))
}

/// An event that reports a failed operation, or a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ErrorEvent {
    /// The whole packet if it has no `message`.
    pub(crate) message: String,
    /// Empty if the server has no codes.
    pub(crate) code: String,
    /// The event that failed, if it is named.
    event: Option<String>,
    pub(crate) room: Option<usize>,
}

impl ErrorEvent {
    /// Parses a packet. Errors are rare enough for JSON.
    pub(crate) fn parse(packet: &[u8]) -> Self {
        let text = String::from_utf8_lossy(packet);
        let json = text.find(['[', '{']).map_or("", |start| &text[start..]);
        let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let payload = value.get(1).unwrap_or(&value);
        let field = |name: &str| payload[name].as_str().map(str::to_owned);
        Self {
            message: field("message").unwrap_or_else(|| text.chars().take(200).collect()),
            code: field("code").unwrap_or_default(),
            event: field("event"),
            room: payload["roomId"].as_u64().map(|room| room as usize),
        }
    }

    /// Returns whether it refuses a message. The founding contract names no event.
    pub(crate) fn is_about_a_message(&self) -> bool {
        self.event
            .as_deref()
            .is_none_or(|event| event == "sendMessage")
    }
}

/// Returns the `message` of an error or refusal, or the whole packet if it has none.
pub(crate) fn reason(packet: &[u8]) -> String {
    ErrorEvent::parse(packet).message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_recognized_by_their_first_bytes() {
        let joined = br#"42["joinedRoom",{"roomId":1,"seq":7}]"#;
        assert_eq!(read(joined), Packet::Joined(joined));
        assert_eq!(read(b"2"), Packet::Ping);
        assert_eq!(read(br#"0{"sid":"x"}"#), Packet::Opened);
        assert_eq!(read(br#"40{"sid":"x"}"#), Packet::Connected);
        assert_eq!(read(b"41"), Packet::Refused(b"41"));
        assert_eq!(read(br#"42["leftRoom",{}]"#), Packet::Other);
        assert_eq!(read(b"431[{}]"), Packet::Acknowledgement(b"431[{}]"));
        let error = br#"42["exception",{"message":"no"}]"#;
        assert_eq!(read(error), Packet::Error(error));
        assert_eq!(reason(error), "no");
        assert_eq!(reason(br#"44{"message":"token_invalid"}"#), "token_invalid");
        assert_eq!(reason(b"41"), "41");
    }

    #[test]
    fn an_error_is_about_a_message_unless_it_names_another_event() {
        let named = |event: &str| {
            let packet = format!(r#"42["error",{{"message":"no","code":"internal"{event}}}]"#);
            ErrorEvent::parse(packet.as_bytes())
        };
        let error = named(r#","event":"sendMessage","roomId":7"#);
        assert!(error.is_about_a_message());
        assert_eq!((error.code.as_str(), error.room), ("internal", Some(7)));
        assert!(named("").is_about_a_message());
        assert!(!named(r#","event":"joinRoom""#).is_about_a_message());
    }

    #[test]
    fn a_marker_is_found_wherever_it_is() {
        let mut seq = MarkerFinder::new(b"\"seq\":");
        let mut find = |text: &[u8]| seq.after(text).and_then(number);
        assert_eq!(find(br#"{"id":9,"seq":57}"#), Some(57));
        assert_eq!(find(br#"{"id":8,"seq":58}"#), Some(58));
        assert_eq!(find(br#"{"id":10,"seq":59}"#), Some(59));
        assert_eq!(find(b"{}"), None);
        assert_eq!(find(br#"{"seq":null}"#), None);
    }
}
