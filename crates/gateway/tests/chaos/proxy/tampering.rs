//! Controls of the judge: faults that no gateway may have. The proxy changes one
//! `newMessage` on its way to a client, and the judge must notice.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::frames::Piece;

/// How long a delayed message is late: longer than a busy machine may take.
const DELAY: Duration = Duration::from_secs(8);

/// What happens to one `newMessage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tampering {
    Drops,
    Doubles,
    /// It changes places with the next message of its room.
    Swaps,
    /// It and everything behind it arrives late.
    Delays,
}

/// The room and number of a message.
pub(crate) type Place = (u64, u64);

/// Returns the place of the message if this packet is a `newMessage`.
pub(super) fn place(packet: &str) -> Option<Place> {
    let event = packet.strip_prefix("42")?;
    if !event.starts_with("[\"newMessage\"") {
        return None;
    }
    let [_, message]: [Value; 2] = serde_json::from_str(event).ok()?;
    Some((message["roomId"].as_u64()?, message["seq"].as_u64()?))
}

/// One connection on which a message is tampered with.
#[derive(Default)]
pub(super) struct Tampered {
    /// A message that waits for the next one of its room.
    held: Option<(Place, Piece)>,
}

impl Tampered {
    /// Returns what is sent instead of the chosen message.
    pub(super) async fn instead_of(
        &mut self,
        tampering: Tampering,
        place: Place,
        piece: Piece,
    ) -> Vec<u8> {
        let bytes = piece.bytes().to_vec();
        match tampering {
            Tampering::Drops => Vec::new(),
            Tampering::Doubles => bytes.repeat(2),
            Tampering::Swaps => {
                self.held = Some((place, piece));
                Vec::new()
            }
            Tampering::Delays => {
                sleep(DELAY).await;
                bytes
            }
        }
    }

    /// Returns what follows the piece: the message that waited for it, if there is one.
    pub(super) fn after(&mut self, piece: &Piece) -> Vec<u8> {
        let Some(((room, _), _)) = &self.held else {
            return Vec::new();
        };
        let is_next = place(piece.text()).is_some_and(|(other, _)| other == *room);
        let held = if is_next { self.held.take() } else { None };
        held.map_or(Vec::new(), |(_, held)| held.bytes().to_vec())
    }
}
