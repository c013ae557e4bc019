//! What socketioxide writes to a WebSocket, in which the gateway counts packets.

use chat_gateway::fuzz::count_packets;

/// The pieces in which the bytes arrive must not matter. The first byte determines their
/// length.
pub(crate) fn run(data: &[u8]) {
    let Some((&len, stream)) = data.split_first() else {
        return;
    };
    let whole = count_packets([stream]);
    let in_pieces = count_packets(stream.chunks(usize::from(len).max(1)));
    assert_eq!(whole, in_pieces);
    // The shortest frame with a packet has three bytes.
    assert!(whole <= stream.len() / 3, "{whole} packets");
}
