//! Counts the packets of Socket.IO in the bytes written to a WebSocket.

/// Reads what is written after the upgrade: first the response's head,
/// then frames, which a server sends unmasked.
#[derive(Debug, Default)]
pub(crate) struct FrameCounter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Within the 101's head, with so many bytes of the blank line seen.
    Head { seen: usize },
    /// Within a frame's header.
    Header { bytes: [u8; 10], len: usize },
    /// Within a frame's payload.
    Payload {
        left: u64,
        first: bool,
        is_text: bool,
        is_packet: bool,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Head { seen: 0 }
    }
}

const NEXT_FRAME: State = State::Header {
    bytes: [0; 10],
    len: 0,
};
const BLANK_LINE: &[u8] = b"\r\n\r\n";
const TEXT: u8 = 1;
/// Engine.IO's packet type "message", which carries every packet of Socket.IO.
const MESSAGE: u8 = b'4';

impl FrameCounter {
    /// Returns how many packets of Socket.IO end within these bytes, which follow those
    /// of the previous calls.
    pub(crate) fn advance(&mut self, mut bytes: &[u8]) -> usize {
        let mut packets = 0;
        while let Some(&byte) = bytes.first() {
            match &mut self.state {
                State::Head { seen } => {
                    *seen = match byte {
                        byte if byte == BLANK_LINE[*seen] => *seen + 1,
                        b'\r' => 1,
                        _ => 0,
                    };
                    if *seen == BLANK_LINE.len() {
                        self.state = NEXT_FRAME;
                    }
                    bytes = &bytes[1..];
                }
                State::Header { bytes: header, len } => {
                    header[*len] = byte;
                    *len += 1;
                    bytes = &bytes[1..];
                    if let Some(left) = payload_len(&header[..*len]) {
                        let is_text = header[0] & 0x0f == TEXT;
                        self.state = State::Payload {
                            left,
                            first: true,
                            is_text,
                            is_packet: false,
                        };
                        if left == 0 {
                            self.state = NEXT_FRAME;
                        }
                    }
                }
                State::Payload {
                    left,
                    first,
                    is_text,
                    is_packet,
                } => {
                    if std::mem::take(first) {
                        *is_packet = *is_text && byte == MESSAGE;
                    }
                    let part = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= part as u64;
                    bytes = &bytes[part..];
                    if *left == 0 {
                        packets += usize::from(*is_packet);
                        self.state = NEXT_FRAME;
                    }
                }
            }
        }
        packets
    }
}

/// Returns the payload's length, once the header is complete.
fn payload_len(header: &[u8]) -> Option<u64> {
    let len = header.get(1)? & 0x7f;
    let extended = match len {
        126 => header.get(2..4)?,
        127 => header.get(2..10)?,
        len => return Some(u64::from(len)),
    };
    Some(
        extended
            .iter()
            .fold(0, |len, &byte| len << 8 | u64::from(byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            len @ ..126 => frame.push(len as u8),
            len @ ..0x1_0000 => {
                frame.push(126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn packets_are_counted_however_the_bytes_are_split() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: 4\r\n\r\n".to_vec();
        bytes.extend(frame(1, b"0{\"sid\":\"4\"}"));
        bytes.extend(frame(1, b"40{}"));
        bytes.extend(frame(1, b"2"));
        bytes.extend(frame(2, b"4 is binary"));
        bytes.extend(frame(9, b"4 is a ping"));
        bytes.extend(frame(1, b""));
        for len in [125, 126, 127, 65_535, 65_536] {
            bytes.extend(frame(1, &[b'4'].repeat(len)));
        }
        for step in [1, 2, 3, 7, 1000, usize::MAX] {
            let mut counter = FrameCounter::default();
            let parts = bytes.chunks(step.min(bytes.len()));
            let packets: usize = parts.map(|part| counter.advance(part)).sum();
            assert_eq!(packets, 6, "in steps of {step}");
        }
    }

    #[test]
    fn a_packet_counts_when_its_last_byte_is_written() {
        let mut counter = FrameCounter::default();
        counter.advance(b"HTTP/1.1 101 x\r\n\r\n");
        let frame = frame(1, b"42[\"a\"]");
        let (last, before) = frame.split_last().unwrap();
        assert_eq!(counter.advance(before), 0);
        assert_eq!(counter.advance(&[*last]), 1);
    }
}
