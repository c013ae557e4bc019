//! Packets of Socket.IO, encoded once for every client that receives them.
//!
//! A server does not mask its WebSocket frames, so that one finished frame is the same
//! bytes for all members of a room. What goes around in the gateway is therefore the frame
//! itself. Long-polling takes it apart again ([`split_first`], [`parts`]).

use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// The longest head of a frame that a server sends.
const MAX_HEAD: usize = 10;
/// The first byte of a final text frame.
const TEXT: u8 = 0x81;

/// What a packet says, for a transport that encodes it in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts<'a> {
    /// An event with one argument, as JSON.
    Event(&'a str, &'a str),
    /// The acknowledgement of the client's event with this id.
    Ack(i64, &'a str),
    /// The end of the connection to the namespace.
    Disconnect,
}

/// Encodes an event with one argument.
pub(crate) fn event(name: &str, argument: &impl Serialize) -> Bytes {
    encode(
        |out| write!(out, "42[\"{name}\","),
        |out| Ok(serde_json::to_writer(out, argument)?),
    )
}

/// Frames an event whose argument is encoded already.
pub(crate) fn event_of_json(name: &str, argument: &str) -> Bytes {
    encode(
        |out| write!(out, "42[\"{name}\","),
        |out| out.write_all(argument.as_bytes()),
    )
}

/// Encodes the acknowledgement of the client's event with this id.
pub(crate) fn ack(id: i64, argument: &impl Serialize) -> Bytes {
    encode(
        |out| write!(out, "43{id}["),
        |out| Ok(serde_json::to_writer(out, argument)?),
    )
}

/// Frames an acknowledgement whose argument is encoded already, in these parts.
pub(crate) fn ack_of_json<'a>(id: i64, argument: impl IntoIterator<Item = &'a str>) -> Bytes {
    encode(
        |out| write!(out, "43{id}["),
        |out| {
            let parts = argument.into_iter();
            parts.for_each(|part| out.extend_from_slice(part.as_bytes()));
            Ok(())
        },
    )
}

/// The end of the connection to the namespace.
pub(crate) fn disconnect() -> Bytes {
    Bytes::from_static(b"\x81\x0241")
}

/// Joins frames into one piece.
pub(crate) fn join(frames: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut joined = BytesMut::new();
    for frame in frames {
        joined.extend_from_slice(&frame);
    }
    joined.freeze()
}

/// Takes the first frame off a piece that holds at least one.
pub(crate) fn split_first(frames: &mut Bytes) -> Bytes {
    let (head, payload) = lengths(frames);
    frames.split_to(head + payload)
}

/// Returns what one frame of ours says.
pub(crate) fn parts(frame: &Bytes) -> Parts<'_> {
    let text = text(frame);
    let argument = |text: &'_ str, at: usize| at..text.len() - 1;
    if let Some(event) = text.strip_prefix("42[\"")
        && let Some(end) = event.find("\",")
    {
        return Parts::Event(&event[..end], &event[argument(event, end + 2)]);
    }
    if let Some(ack) = text.strip_prefix("43")
        && let Some(end) = ack.find('[')
        && let Ok(id) = ack[..end].parse()
    {
        return Parts::Ack(id, &ack[argument(ack, end + 1)]);
    }
    Parts::Disconnect
}

/// Returns the text of one frame of ours.
pub(crate) fn text(frame: &Bytes) -> &str {
    let (head, _) = lengths(frame);
    match std::str::from_utf8(&frame[head..]) {
        Ok(text) => text,
        Err(error) => unreachable!("a packet was written as text: {error}"),
    }
}

/// Returns the lengths of the first frame's head and payload.
fn lengths(frames: &[u8]) -> (usize, usize) {
    let number = |bytes: &[u8]| {
        let bytes = bytes.iter();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    match frames[1] {
        126 => (4, number(&frames[2..4])),
        127 => (10, number(&frames[2..10])),
        len => (2, usize::from(len)),
    }
}

/// Encodes a text frame: Engine.IO's and Socket.IO's marks, the argument and `]`.
fn encode(
    marks: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    argument: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> Bytes {
    let mut out = Vec::with_capacity(512);
    // The head's length is known once the payload is.
    out.resize(MAX_HEAD, 0);
    if let Err(error) = marks(&mut out).and_then(|()| argument(&mut out)) {
        // A vector takes everything; our objects have string keys and no failing parts.
        unreachable!("an object of the wire cannot be encoded: {error}");
    }
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
    Bytes::from(out).slice(start..)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_packet_is_a_finished_frame() {
        let packet = event("leftRoom", &json!({"roomId": 7}));
        let text = b"42[\"leftRoom\",{\"roomId\":7}]";
        assert_eq!(packet[..2], [0x81, text.len() as u8]);
        assert_eq!(packet[2..], text[..]);
        assert_eq!(parts(&packet), Parts::Event("leftRoom", "{\"roomId\":7}"));
        assert_eq!(event_of_json("leftRoom", "{\"roomId\":7}"), packet);

        let packet = ack(12, &json!({"ok": true}));
        assert_eq!(packet[2..], b"4312[{\"ok\":true}]"[..]);
        assert_eq!(parts(&packet), Parts::Ack(12, "{\"ok\":true}"));
        assert_eq!(ack_of_json(12, ["{\"ok\":", "true}"]), packet);

        let packet = disconnect();
        assert_eq!(packet[..], [0x81, 2, b'4', b'1']);
        assert_eq!(parts(&packet), Parts::Disconnect);
    }

    #[test]
    fn a_frame_head_encodes_every_payload_length() {
        for len in [100, 125, 126, 127, 65_535, 65_536, 100_000] {
            // `42["e",""]` has ten bytes.
            let text = "x".repeat(len - 10);
            let packet = event("e", &text);
            let head: &[u8] = match len {
                ..126 => &[0x81, len as u8],
                126..65_536 => &[0x81, 126, (len >> 8) as u8, len as u8],
                _ => &[0x81, 127, 0, 0, 0, 0, 0, 1, (len >> 8) as u8, len as u8],
            };
            assert_eq!(packet[..head.len()], *head, "{len}");
            assert_eq!(packet.len(), head.len() + len, "{len}");
            assert_eq!(parts(&packet), Parts::Event("e", &format!("\"{text}\"")));
        }
    }

    #[test]
    fn joined_frames_can_be_split_again() {
        let frames: Vec<_> = [1, 120, 200, 70_000]
            .map(|len| event("e", &"x".repeat(len)))
            .into();
        let mut joined = join(frames.clone());
        for frame in frames {
            assert_eq!(split_first(&mut joined), frame);
        }
        assert!(joined.is_empty());
    }
}
