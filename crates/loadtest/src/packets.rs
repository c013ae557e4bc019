//! Socket.IO packets, recognized by how they begin: parsing JSON would cost more than
//! the server that is measured.

/// What a text frame says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// `newMessage`, whole.
    Message(&'a [u8]),
    /// The server's heartbeat.
    Ping,
    /// The Engine.IO session is open.
    Opened,
    /// The token was accepted.
    Connected,
    /// The server wants nothing more to do with this connection; what it says.
    Refused(&'a [u8]),
    /// `joinedRoom`, whole.
    Joined(&'a [u8]),
    /// An acknowledgement, whole.
    Answer(&'a [u8]),
    /// An event that says that an operation failed, whole.
    Error(&'a [u8]),
    /// What the load test has no use for.
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
        [b'4', b'3', ..] => Packet::Answer(text),
        _ if text.starts_with(b"42[\"joinedRoom\"") => Packet::Joined(text),
        _ if text.starts_with(b"42[\"error\"") || text.starts_with(b"42[\"exception\"") => {
            Packet::Error(text)
        }
        _ => Packet::Other,
    }
}

/// A place in packets that are much alike: where it was in the last one is looked at
/// first.
pub(crate) struct Landmark {
    finder: memchr::memmem::Finder<'static>,
    last: usize,
}

impl Landmark {
    pub(crate) fn new(needle: &[u8]) -> Self {
        Self {
            finder: memchr::memmem::Finder::new(needle).into_owned(),
            last: 0,
        }
    }

    /// What comes after it.
    #[inline]
    pub(crate) fn after<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let needle = self.finder.needle();
        if let Some(rest) = packet.get(self.last..)
            && let Some(after) = rest.strip_prefix(needle)
        {
            return Some(after);
        }
        self.last = self.finder.find(packet)?;
        packet.get(self.last + needle.len()..)
    }
}

/// The number at the beginning.
#[inline]
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=18).contains(&digits) {
        return None;
    }
    let number = |number, byte: &u8| number * 10 + u64::from(byte - b'0');
    Some(text[..digits].iter().fold(0, number))
}

/// What an error or refusal says, for people: its `message`, else all of it.
pub(crate) fn reason(packet: &[u8]) -> String {
    let text = String::from_utf8_lossy(packet);
    let json = text.find(['[', '{']).map_or("", |start| &text[start..]);
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let said = value.get(1).unwrap_or(&value);
    match said["message"].as_str() {
        Some(message) => message.to_owned(),
        None => text.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_known_by_how_they_begin() {
        let joined = br#"42["joinedRoom",{"roomId":1,"seq":7}]"#;
        assert_eq!(read(joined), Packet::Joined(joined));
        assert_eq!(read(b"2"), Packet::Ping);
        assert_eq!(read(br#"0{"sid":"x"}"#), Packet::Opened);
        assert_eq!(read(br#"40{"sid":"x"}"#), Packet::Connected);
        assert_eq!(read(b"41"), Packet::Refused(b"41"));
        assert_eq!(read(br#"42["leftRoom",{}]"#), Packet::Other);
        assert_eq!(read(b"431[{}]"), Packet::Answer(b"431[{}]"));
        let error = br#"42["exception",{"message":"no"}]"#;
        assert_eq!(read(error), Packet::Error(error));
        assert_eq!(reason(error), "no");
        assert_eq!(reason(br#"44{"message":"token_invalid"}"#), "token_invalid");
        assert_eq!(reason(b"41"), "41");
    }

    #[test]
    fn a_landmark_is_found_wherever_it_is() {
        let mut seq = Landmark::new(b"\"seq\":");
        let mut find = |text: &[u8]| seq.after(text).and_then(number);
        assert_eq!(find(br#"{"id":9,"seq":57}"#), Some(57));
        assert_eq!(find(br#"{"id":8,"seq":58}"#), Some(58));
        assert_eq!(find(br#"{"id":10,"seq":59}"#), Some(59));
        assert_eq!(find(b"{}"), None);
        assert_eq!(find(br#"{"seq":null}"#), None);
    }
}
