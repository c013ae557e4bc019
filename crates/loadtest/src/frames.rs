//! WebSocket frames as a client writes and reads them (RFC 6455).

/// The largest payload that a server may put into one frame, in bytes.
const MAX_PAYLOAD: usize = 1 << 20;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close,
    /// Binary data or a pong, which the load test ignores.
    Other,
}

/// The kind of a frame from the client; the value is the opcode.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text = 1,
    Pong = 10,
}

/// Appends a frame with this payload. The masking key is zero, so that the payload is
/// copied as it is: masking protects proxies, and would cost a pass over every byte.
///
/// # Panics
/// If the payload is longer than 65,535 bytes; the load test sends none that long.
pub(crate) fn write(frame: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    const MASKED: u8 = 0x80;
    frame.push(0x80 | kind as u8);
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(MASKED | length),
        _ => {
            let length = u16::try_from(payload.len()).expect("a packet of the load test is short");
            frame.push(MASKED | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
}

/// Reads the first frame of what was received, and its length in bytes; `None` if it is
/// incomplete.
///
/// # Errors
/// Names a frame that Socket.IO servers do not send.
#[inline]
pub(crate) fn read(received: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let &[first, second, ref rest @ ..] = received else {
        return Ok(None);
    };
    let (header, length) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => {
                let length = u64::from_be_bytes(*length);
                (10, usize::try_from(length).unwrap_or(usize::MAX))
            }
            None => return Ok(None),
        },
        128.. => return Err("a masked frame"),
        length => (2, usize::from(length)),
    };
    if length > MAX_PAYLOAD {
        return Err("a frame larger than 1 MiB");
    }
    let Some(payload) = received.get(header..header + length) else {
        return Ok(None);
    };
    let frame = match first {
        0x81 => Frame::Text(payload),
        0x88 => Frame::Close,
        0x89 => Frame::Ping(payload),
        0x82 | 0x8A => Frame::Other,
        _ => return Err("a fragmented or compressed frame"),
    };
    Ok(Some((frame, header + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_complete() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = vec![0x81];
            match length {
                0..126 => bytes.push(u8::try_from(length).unwrap()),
                126..65_536 => {
                    bytes.push(126);
                    bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((length as u64).to_be_bytes());
                }
            }
            bytes.extend(&payload);
            let whole = bytes.len();
            bytes.push(0x89);
            assert_eq!(read(&bytes), Ok(Some((Frame::Text(&payload), whole))));
            for part in [0, 1, whole.min(9), whole - 1] {
                let part = &bytes[..part.min(whole - 1)];
                assert_eq!(read(part), Ok(None), "{length}");
            }
        }
    }

    #[test]
    fn a_frame_that_servers_do_not_send_is_an_error() {
        for bytes in [&[0x81, 0x80][..], &[0x01, 0], &[0xC1, 0]] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        assert!(read(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_written_frame_is_masked_with_zeros() {
        let mut frame = Vec::new();
        write(&mut frame, Kind::Text, b"40");
        assert_eq!(frame, b"\x81\x82\0\0\0\x0040");
        frame.clear();
        write(&mut frame, Kind::Pong, &[b'x'; 200]);
        assert_eq!(frame[..8], [0x8A, 0xFE, 0, 200, 0, 0, 0, 0]);
    }
}
