//! What other nodes publish: hints, and commands.

use chat_adapters::redis::fuzz::{encode_again, is_command};

/// What was understood must be the same when it is sent on, and hints are not commands.
pub(crate) fn run(data: &[u8]) {
    let Some(encoded) = encode_again(data) else {
        is_command(data);
        return;
    };
    assert_eq!(encode_again(&encoded).as_ref(), Some(&encoded));
    assert!(!is_command(&encoded));
}
