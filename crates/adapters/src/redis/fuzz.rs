//! The internals that the fuzz targets run. Nothing else may use them.

use super::payload::{NodeId, Received, encode_command, parse_command};
use super::presence;

/// Reads a payload with hints and encodes what was understood; `None` if nothing was.
pub fn encode_again(payload: &[u8]) -> Option<Vec<u8>> {
    let entries = Received::parse(payload).entries;
    // The name of a node has no part in what is read.
    let mut encoded = NodeId::new(0).begin();
    for (generation, entry) in &entries {
        encoded
            .push(*generation, entry)
            .expect("what was read can be encoded");
    }
    (!entries.is_empty()).then(|| encoded.finish())
}

/// Returns whether a payload is a command, which is the same after it is encoded again.
pub fn is_command(payload: &[u8]) -> bool {
    let Some(command) = parse_command(payload) else {
        return false;
    };
    let encoded = encode_command(&command);
    assert_eq!(parse_command(&encoded), Some(command));
    true
}

/// Reads news about presence and encodes them again; `None` if they are not understood.
pub fn encode_presence_again(payload: &[u8]) -> Option<Vec<u8>> {
    presence::encode_again(payload)
}
