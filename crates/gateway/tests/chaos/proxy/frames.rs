//! Splits what a WebSocket carries into frames.

use bytes::{Bytes, BytesMut};

const HEAD_END: &[u8] = b"\r\n\r\n";
const UPGRADED: &[u8] = b"HTTP/1.1 101";
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x81;

/// A piece of what the gateway sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A frame, and its text if it is a text frame.
    Frame { bytes: Bytes, text: String },
    /// Anything else: the head of the upgrade, or HTTP without an upgrade.
    Other(Bytes),
}

impl Piece {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Frame { bytes, .. } | Self::Other(bytes) => bytes,
        }
    }

    /// Returns the text of a frame.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Frame { text, .. } => text,
            Self::Other(_) => "",
        }
    }
}

/// Splits what the gateway sends on one connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    WebSocket,
    Http,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete piece.
    pub(super) fn next(&mut self) -> Option<Piece> {
        if self.state == State::Head && self.buffer.len() >= UPGRADED.len() {
            if self.buffer.starts_with(UPGRADED) {
                let mut windows = self.buffer.windows(HEAD_END.len());
                let end = windows.position(|window| window == HEAD_END)? + HEAD_END.len();
                self.state = State::WebSocket;
                return Some(Piece::Other(self.buffer.split_to(end).freeze()));
            }
            self.state = State::Http;
        }
        match self.state {
            State::Head => None,
            State::Http if self.buffer.is_empty() => None,
            State::Http => Some(Piece::Other(self.buffer.split().freeze())),
            State::WebSocket => {
                let (header, length) = lengths(&self.buffer)?;
                if self.buffer.len() < header + length {
                    return None;
                }
                let bytes = self.buffer.split_to(header + length).freeze();
                let text = match bytes[0] {
                    TEXT => String::from_utf8_lossy(&bytes[header..]).into_owned(),
                    _ => String::new(),
                };
                Some(Piece::Frame { bytes, text })
            }
        }
    }
}

/// Returns the lengths of the header (without a mask) and of the payload of a frame.
fn lengths(frame: &[u8]) -> Option<(usize, usize)> {
    let [_, length, rest @ ..] = frame else {
        return None;
    };
    Some(match length & !MASKED {
        126 => {
            let length = rest.first_chunk()?;
            (4, u16::from_be_bytes(*length).into())
        }
        127 => {
            let length = rest.first_chunk()?;
            (10, u64::from_be_bytes(*length) as usize)
        }
        length => (2, length.into()),
    })
}

/// The events whose acknowledgements may be lost: those that store something.
const STORING: [&str; 8] = [
    "sendMessage",
    "setMember",
    "removeMember",
    "banMember",
    "unbanMember",
    "muteMember",
    "unmuteMember",
    "setRoom",
];

/// Returns the number of the acknowledgement that one of these events requests, if these bytes
/// start with its frame. A client writes each frame with one call, so a chunk usually starts
/// with a frame. If it does not, the fault is skipped, which does no harm.
pub(super) fn requested_ack(chunk: &[u8]) -> Option<u64> {
    let (header, _) = lengths(chunk)?;
    if chunk[0] != TEXT {
        return None;
    }
    let (mask, payload) = chunk.get(header..)?.split_first_chunk::<4>()?;
    // A packet starts with `42`, the number of its acknowledgement, and the event's name.
    let text: Vec<u8> = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .take(40)
        .collect();
    let text = String::from_utf8_lossy(&text);
    let (id, event) = text.strip_prefix("42")?.split_once('[')?;
    let name = event.strip_prefix('"')?.split('"').next()?;
    STORING.contains(&name).then(|| id.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_split_into_frames_wherever_it_is_cut() {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let texts = ["2".to_owned(), "x".repeat(200), "y".repeat(70_000)];
        for text in &texts {
            stream.push(TEXT);
            match text.len() {
                length @ ..126 => stream.push(length as u8),
                length @ ..65_536 => {
                    stream.push(126);
                    stream.extend((length as u16).to_be_bytes());
                }
                length => {
                    stream.push(127);
                    stream.extend((length as u64).to_be_bytes());
                }
            }
            stream.extend(text.as_bytes());
        }
        for size in [1, 7, 4096, stream.len()] {
            let mut frames = Frames::default();
            let mut pieces = Vec::new();
            for chunk in stream.chunks(size) {
                frames.push(chunk);
                pieces.extend(std::iter::from_fn(|| frames.next()));
            }
            let bytes: Vec<u8> = pieces.iter().flat_map(|p| p.bytes().to_vec()).collect();
            assert_eq!(bytes, stream, "{size}");
            let found: Vec<_> = pieces[1..].iter().map(Piece::text).collect();
            assert_eq!(found, texts, "{size}");
        }
    }

    #[test]
    fn http_without_an_upgrade_passes_unchanged() {
        let mut frames = Frames::default();
        frames.push(b"HTTP/1.1 200 OK\r\n\r\n\x81\x01x");
        let piece = frames.next().unwrap();
        assert_eq!(&piece.bytes()[..], b"HTTP/1.1 200 OK\r\n\r\n\x81\x01x");
        assert_eq!(frames.next(), None);
    }

    #[test]
    fn what_stores_something_is_recognized_by_its_frame() {
        let mask = [1, 2, 3, 4];
        let frame = |text: &str| {
            let mut frame = vec![TEXT, MASKED | text.len() as u8];
            frame.extend(mask);
            frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
            frame
        };
        assert_eq!(requested_ack(&frame(r#"4217["sendMessage",{}]"#)), Some(17));
        assert_eq!(requested_ack(&frame(r#"4218["banMember",{}]"#)), Some(18));
        assert_eq!(requested_ack(&frame(r#"4217["joinRoom",{}]"#)), None);
        assert_eq!(requested_ack(b"POST / HTTP/1.1\r\n"), None);
    }
}
