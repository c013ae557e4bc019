//! The content of a message that the load test sends, by which it recognizes the message
//! when it arrives.
//!
//! `@`, then in hexadecimal the run's id (8 digits), the time at which the message was due
//! (16 digits, nanoseconds on the load test's clock), its sender (8) and the sender's
//! number for it (8); then prose, up to a hundred characters.

use crate::packets::MarkerFinder;

/// The length of every content, in characters.
pub(crate) const LENGTH: usize = 100;

/// The hexadecimal digits of a stamp.
const STAMP: usize = 32;
const PROSE: &str = " the quick brown fox jumps over the lazy dog, and then it does it all";

/// What a content states about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was due, in nanoseconds.
    pub(crate) due: u64,
    pub(crate) sender: u32,
    /// Counted from 1, for each sender and room.
    pub(crate) number: u32,
}

/// Writes the contents of one run and tells them apart from those of any other.
pub(crate) struct Contents {
    prefix: String,
    finder: MarkerFinder,
}

impl Contents {
    pub(crate) fn new(run_id: u32) -> Self {
        let prefix = format!("@{run_id:08x}");
        Self {
            finder: MarkerFinder::new(prefix.as_bytes()),
            prefix,
        }
    }

    /// Appends the content to a packet.
    pub(crate) fn write(&self, stamp: Stamp, packet: &mut String) {
        let start = packet.len();
        packet.push_str(&self.prefix);
        let due = stamp.due;
        for half in [(due >> 32) as u32, due as u32, stamp.sender, stamp.number] {
            packet.extend(hexadecimal(half));
        }
        let left = LENGTH - (packet.len() - start);
        packet.push_str(&PROSE[..left]);
    }

    /// Returns the stamp in a packet, if it is from this run.
    #[inline]
    pub(crate) fn find(&mut self, packet: &[u8]) -> Option<Stamp> {
        let digits: &[u8; STAMP] = self.finder.after(packet)?.first_chunk()?;
        let (digits, _) = digits.as_chunks();
        let [high, low, sender, number] = [0, 1, 2, 3].map(|n| value(digits[n]));
        Some(Stamp {
            due: u64::from(high) << 32 | u64::from(low),
            sender,
            number,
        })
    }
}

fn hexadecimal(number: u32) -> [char; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|n| char::from(DIGITS[(number >> (28 - 4 * n)) as usize & 15]))
}

/// Converts eight hexadecimal digits at once. This run wrote them, so they are not
/// validated.
#[inline]
fn value(digits: [u8; 8]) -> u32 {
    let digits = u64::from_be_bytes(digits);
    let is_letter = digits >> 6 & 0x0101_0101_0101_0101;
    let fours = (digits & 0x0F0F_0F0F_0F0F_0F0F) + 9 * is_letter;
    let bytes = (fours | fours >> 4) & 0x00FF_00FF_00FF_00FF;
    let pairs = (bytes | bytes >> 8) & 0x0000_FFFF_0000_FFFF;
    (pairs | pairs >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_only_by_its_own_run() {
        let mut contents = Contents::new(0xC0FF_EE01);
        for (due, sender, number) in [
            (0, 0, 1),
            (0x0123_4567_89ab_cdef, 0xFEDC_BA98, u32::MAX),
            (u64::MAX, 7, 0x1000_000A),
        ] {
            let stamp = Stamp {
                due,
                sender,
                number,
            };
            let mut packet = r#"42["newMessage",{"content":""#.to_owned();
            let start = packet.len();
            contents.write(stamp, &mut packet);
            assert_eq!(packet.len() - start, LENGTH);
            packet.push_str("\"}]");
            assert_eq!(contents.find(packet.as_bytes()), Some(stamp));
            assert_eq!(Contents::new(1).find(packet.as_bytes()), None);
        }
        assert_eq!(contents.find(b"@c0ffee01 cut off"), None);
    }
}
