//! The content of a message that is sent under load: what is found again in what arrives.
//!
//! `@`, then in hexadecimal the run (8 digits), when it was due to be sent (16,
//! nanoseconds on the load test's clock), the sender (8) and which of its messages it
//! is (8); then prose up to a hundred characters.

use crate::packets::Landmark;

/// How many characters a content has.
pub(crate) const LENGTH: usize = 100;

const STAMP: usize = 32;
const PROSE: &str = " the quick brown fox jumps over the lazy dog, and then it does it all";

/// What a content says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was due, in nanoseconds.
    pub(crate) due: u64,
    pub(crate) sender: u32,
    /// From 1 on.
    pub(crate) number: u32,
}

/// Writes the contents of one run, and knows them from those of any other.
pub(crate) struct Contents {
    run: String,
    mark: Landmark,
}

impl Contents {
    pub(crate) fn new(run: u32) -> Self {
        let run = format!("@{run:08x}");
        Self {
            mark: Landmark::new(run.as_bytes()),
            run,
        }
    }

    /// Appends the content.
    pub(crate) fn write(&self, stamp: Stamp, packet: &mut String) {
        let start = packet.len();
        packet.push_str(&self.run);
        let due = stamp.due;
        for half in [(due >> 32) as u32, due as u32, stamp.sender, stamp.number] {
            packet.extend(hexadecimal(half));
        }
        let left = LENGTH - (packet.len() - start);
        packet.push_str(&PROSE[..left]);
    }

    /// The stamp of this run in a packet.
    #[inline]
    pub(crate) fn find(&mut self, packet: &[u8]) -> Option<Stamp> {
        let digits: &[u8; STAMP] = self.mark.after(packet)?.first_chunk()?;
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

/// The value of eight hexadecimal digits, all at once. They are this run's own, so they
/// are not checked.
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
    fn what_is_written_is_found_again_and_only_by_its_own_run() {
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
