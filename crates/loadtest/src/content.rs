//! The content of a message that the load test sends, by which it recognizes the message
//! when it arrives.
//!
//! `@`, then in hexadecimal the run's id, the room and the message's place in the room's
//! log (8 digits each); then prose, up to a hundred characters.

use crate::packets::MarkerFinder;

/// The length of every content, in characters.
pub(crate) const LENGTH: usize = 100;

/// The hexadecimal digits of a stamp.
const STAMP: usize = 16;
const PROSE: &str =
    " the quick brown fox jumps over the lazy dog, and then it does it all over again";

/// What a content states about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The room that it was sent to.
    pub(crate) room: u32,
    /// Its place among the messages that this run has sent to the room, from 0.
    pub(crate) place: u32,
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
        for number in [stamp.room, stamp.place] {
            packet.extend(hexadecimal(number));
        }
        let left = LENGTH - (packet.len() - start);
        packet.push_str(&PROSE[..left]);
    }

    /// Returns the stamp in a packet, if it is from this run.
    #[inline]
    pub(crate) fn find(&mut self, packet: &[u8]) -> Option<Stamp> {
        let digits: &[u8; STAMP] = self.finder.after(packet)?.first_chunk()?;
        let (digits, _) = digits.as_chunks();
        let [room, place] = [0, 1].map(|n| value(digits[n]));
        Some(Stamp { room, place })
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
        for (room, place) in [(1, 0), (0xFEDC_BA98, u32::MAX), (7, 0x1000_000A)] {
            let stamp = Stamp { room, place };
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
