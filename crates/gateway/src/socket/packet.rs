//! A packet of Socket.IO, encoded once for everybody who gets it.
//!
//! A server's WebSocket frames are not masked: one finished frame is the same bytes for
//! every member of a room. Long-polling takes the parts of it.

use std::io::Write as _;
use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;

/// The longest head of a frame that a server sends.
const MAX_HEAD: usize = 10;
/// A final text frame.
const TEXT: u8 = 0x81;

/// An encoded packet. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    frame: Bytes,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Event(&'static str, Range<usize>),
    Ack(i64, Range<usize>),
    Disconnect,
}

/// What a packet says, for a transport that encodes it in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts<'a> {
    /// An event with one argument, as JSON.
    Event(&'static str, &'a str),
    /// The acknowledgement of the client's event with this id.
    Ack(i64, &'a str),
    /// The end of the connection to the namespace.
    Disconnect,
}

impl Packet {
    /// An event with one argument.
    pub(crate) fn event(name: &'static str, argument: &impl Serialize) -> Self {
        let (frame, json) = encode(
            |out| write!(out, "42[\"{name}\","),
            |out| Ok(serde_json::to_writer(out, argument)?),
        );
        let kind = Kind::Event(name, json);
        Self { frame, kind }
    }

    /// An event whose argument is encoded already.
    pub(crate) fn event_of_json(name: &'static str, argument: &str) -> Self {
        let (frame, json) = encode(
            |out| write!(out, "42[\"{name}\","),
            |out| out.write_all(argument.as_bytes()),
        );
        let kind = Kind::Event(name, json);
        Self { frame, kind }
    }

    /// The acknowledgement of the client's event with this id.
    pub(crate) fn ack(id: i64, argument: &impl Serialize) -> Self {
        let (frame, json) = encode(
            |out| write!(out, "43{id}["),
            |out| Ok(serde_json::to_writer(out, argument)?),
        );
        let kind = Kind::Ack(id, json);
        Self { frame, kind }
    }

    /// An acknowledgement whose argument is encoded already, in these parts.
    pub(crate) fn ack_of_json<const N: usize>(id: i64, argument: [&str; N]) -> Self {
        let (frame, json) = encode(
            |out| write!(out, "43{id}["),
            |out| {
                argument
                    .iter()
                    .try_for_each(|part| out.write_all(part.as_bytes()))
            },
        );
        let kind = Kind::Ack(id, json);
        Self { frame, kind }
    }

    /// The end of the connection to the namespace.
    pub(crate) fn disconnect() -> Self {
        let frame = Bytes::from_static(b"\x81\x0241");
        let kind = Kind::Disconnect;
        Self { frame, kind }
    }

    /// The packet as a finished WebSocket frame.
    pub(crate) fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// What it says.
    pub(crate) fn parts(&self) -> Parts<'_> {
        match &self.kind {
            Kind::Event(name, json) => Parts::Event(name, self.text(json)),
            Kind::Ack(id, json) => Parts::Ack(*id, self.text(json)),
            Kind::Disconnect => Parts::Disconnect,
        }
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = &self.frame[range.clone()];
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => unreachable!("a packet was written as text: {error}"),
        }
    }
}

/// A text frame with Engine.IO's and Socket.IO's marks before the argument and `]`
/// behind it, and where in it the argument is.
fn encode(
    marks: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    argument: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> (Bytes, Range<usize>) {
    let mut out = Vec::with_capacity(512);
    // The head's length is known when the payload is.
    out.resize(MAX_HEAD, 0);
    let written = marks(&mut out).and_then(|()| {
        let start = out.len();
        argument(&mut out)?;
        Ok(start..out.len())
    });
    let json = match written {
        Ok(json) => json,
        // A vector takes everything; our objects have string keys and no failing parts.
        Err(error) => unreachable!("an object of the wire cannot be encoded: {error}"),
    };
    out.push(b']');

    let len = out.len() - MAX_HEAD;
    let (start, short) = match len {
        0..126 => (MAX_HEAD - 2, len as u8),
        126..0x1_0000 => (MAX_HEAD - 4, 126),
        _ => (0, 127),
    };
    let extended = (len as u64).to_be_bytes();
    out[start] = TEXT;
    out[start + 1] = short;
    let rest = MAX_HEAD - start - 2;
    out[start + 2..MAX_HEAD].copy_from_slice(&extended[8 - rest..]);
    out.shrink_to_fit();
    let frame = Bytes::from(out).slice(start..);
    (frame, json.start - start..json.end - start)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_packet_is_a_finished_frame() {
        let packet = Packet::event("leftRoom", &json!({"roomId": 7}));
        let text = b"42[\"leftRoom\",{\"roomId\":7}]";
        assert_eq!(packet.frame()[..2], [0x81, text.len() as u8]);
        assert_eq!(packet.frame()[2..], text[..]);
        assert_eq!(packet.parts(), Parts::Event("leftRoom", "{\"roomId\":7}"));

        let same = Packet::event_of_json("leftRoom", "{\"roomId\":7}");
        assert_eq!(same.frame(), packet.frame());

        let packet = Packet::ack(12, &json!({"ok": true}));
        assert_eq!(packet.frame()[2..], b"4312[{\"ok\":true}]"[..]);
        assert_eq!(packet.parts(), Parts::Ack(12, "{\"ok\":true}"));

        let same = Packet::ack_of_json(12, ["{\"ok\":", "true}"]);
        assert_eq!(same.frame(), packet.frame());

        let packet = Packet::disconnect();
        assert_eq!(packet.frame()[..], [0x81, 2, b'4', b'1']);
        assert_eq!(packet.parts(), Parts::Disconnect);
    }

    #[test]
    fn every_length_has_its_head() {
        for len in [100, 125, 126, 127, 65_535, 65_536, 100_000] {
            // `42["e",""]` around it.
            let text = "x".repeat(len - 10);
            let packet = Packet::event("e", &text);
            let head: &[u8] = match len {
                ..126 => &[0x81, len as u8],
                126..65_536 => &[0x81, 126, (len >> 8) as u8, len as u8],
                _ => &[0x81, 127, 0, 0, 0, 0, 0, 1, (len >> 8) as u8, len as u8],
            };
            assert_eq!(packet.frame()[..head.len()], *head, "{len}");
            assert_eq!(packet.frame().len(), head.len() + len, "{len}");
            assert_eq!(packet.parts(), Parts::Event("e", &format!("\"{text}\"")));
        }
    }
}
