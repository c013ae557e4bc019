//! The WebSocket frames of a peer, whose headers announce the sizes of messages.

use chat_gateway::fuzz::announced_sizes;

/// The sizes must be those of a reader that has all bytes at once, wherever they are cut. The
/// first byte is the number of the following bytes that are, in turn, the lengths of pieces.
pub(crate) fn run(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let Some((lengths, stream)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    let expected = sizes(stream);
    assert_eq!(announced_sizes([stream]), expected);
    assert_eq!(announced_sizes(pieces(stream, lengths)), expected);
}

/// Cuts pieces of these lengths off a stream; the last one is what is left.
fn pieces<'a>(mut stream: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    // Lengths of zero alone would never reach the end.
    for length in lengths.iter().cycle().take(stream.len()) {
        let (piece, rest) = stream.split_at(stream.len().min(usize::from(*length)));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

/// Reads the frames of RFC 6455, section 5.2, without a limit on the size of a message.
fn sizes(mut stream: &[u8]) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut message = 0;
    while let [first, second, rest @ ..] = stream {
        let short = second & 0x7f;
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((extended, rest)) = rest.split_at_checked(extended) else {
            break;
        };
        let length = match extended {
            [] => u128::from(short),
            bytes => bytes.iter().fold(0, |n, byte| n * 256 + u128::from(*byte)),
        };
        let opcode = first % 16;
        if opcode < 8 {
            message = if opcode == 0 {
                message + length
            } else {
                length
            };
            sizes.push(u64::try_from(message).unwrap_or(u64::MAX));
        }
        let mask = if *second >= 0x80 { 4 } else { 0 };
        let end = usize::try_from(mask + length).unwrap_or(usize::MAX);
        stream = rest.get(end..).unwrap_or_default();
    }
    sizes
}
