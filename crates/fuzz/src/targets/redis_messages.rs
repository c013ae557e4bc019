//! What other nodes publish: hints, commands, and news about presence.

use chat_adapters::redis::fuzz::{encode_again, encode_presence_again, is_command};

/// What was understood must be the same when it is sent on, and hints are not commands.
pub(crate) fn run(data: &[u8]) {
    if let Some(encoded) = encode_presence_again(data) {
        assert_eq!(encode_presence_again(&encoded).as_ref(), Some(&encoded));
    }
    let Some(encoded) = encode_again(data) else {
        is_command(data);
        return;
    };
    assert_eq!(encode_again(&encoded).as_ref(), Some(&encoded));
    assert!(!is_command(&encoded));
}
