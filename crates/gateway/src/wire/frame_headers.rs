//! The sizes that a peer announces in the headers of its WebSocket frames.
//!
//! socketioxide refuses a packet that is too large as soon as it has read its header, and
//! closes the connection. It does not say why, so the headers are read here as well.

/// Follows a peer's frames.
#[derive(Default)]
pub(crate) struct FrameHeaders {
    /// The header in progress: two bytes, and up to eight of length.
    header: [u8; 10],
    len: u8,
    /// Bytes of the mask and the payload that are still to come.
    rest: u64,
    /// The size of the message in progress, as far as it is announced.
    message: u64,
}

impl FrameHeaders {
    /// Follows the next bytes. Calls `announced` for each frame of a message, with the size of
    /// the message up to the end of that frame. Returns how many frames have begun.
    pub(crate) fn follow(&mut self, mut bytes: &[u8], mut announced: impl FnMut(u64)) -> u32 {
        let mut frames = 0;
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped =
                    usize::try_from(self.rest).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.rest -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[usize::from(self.len)] = bytes[0];
            self.len += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.length() {
                frames += 1;
                self.begin(length, &mut announced);
            }
        }
        frames
    }

    /// Returns the payload's length once the header is complete, up to the mask.
    fn length(&self) -> Option<u64> {
        let [_, second, extended @ ..] = &self.header;
        match (second & 0x7f, self.len) {
            (_, 0 | 1) => None,
            (126, 4) => Some(u16::from_be_bytes([extended[0], extended[1]]).into()),
            (127, 10) => Some(u64::from_be_bytes(*extended)),
            (126 | 127, _) => None,
            (length, _) => Some(length.into()),
        }
    }

    fn begin(&mut self, length: u64, announced: &mut impl FnMut(u64)) {
        let [first, second, ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        self.len = 0;
        self.rest = length.saturating_add(mask);
        match first & 0x0f {
            // Control frames come between the frames of a message.
            8.. => return,
            0 => self.message = self.message.saturating_add(length),
            _ => self.message = length,
        }
        announced(self.message);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Returns the sizes that are announced, in pieces of this many bytes.
    fn sizes(bytes: &[u8], piece: usize) -> Vec<u64> {
        let sizes = RefCell::new(Vec::new());
        let mut headers = FrameHeaders::default();
        for bytes in bytes.chunks(piece) {
            headers.follow(bytes, |size| sizes.borrow_mut().push(size));
        }
        sizes.into_inner()
    }

    fn frame(first: u8, length: &[u8], masked: bool, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        frame.extend(length);
        if masked {
            frame[1] |= 0x80;
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(vec![0x81; payload]);
        frame
    }

    #[test]
    fn sizes_are_found_wherever_the_bytes_are_cut() {
        let stream = [
            frame(0x81, &[5], true, 5),
            frame(0x82, &[126, 1, 0], true, 256),
            frame(0x81, &[0], true, 0),
            // A message in three frames, with a ping between them.
            frame(0x01, &[100], true, 100),
            frame(0x00, &[20], true, 20),
            frame(0x89, &[3], true, 3),
            frame(0x80, &[7], true, 7),
            frame(0x81, &[1], false, 1),
            frame(0x81, &[127, 0, 0, 0, 0, 4, 0, 0, 0], true, 0),
        ];
        let stream = stream.concat();
        for piece in [1, 2, 3, 7, 64, stream.len()] {
            let expected = [5, 256, 0, 100, 120, 127, 1, 1 << 26];
            assert_eq!(sizes(&stream, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn the_largest_length_does_not_overflow() {
        let first = frame(
            0x01,
            &[127, 255, 255, 255, 255, 255, 255, 255, 255],
            true,
            9,
        );
        assert_eq!(sizes(&first, 4), [u64::MAX]);
    }
}
