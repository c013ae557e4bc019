//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use chat_domain::{Timestamp, ports::Clock};

/// The operating system's real-time clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A clock before 1970 is wrong; 1970 is the least wrong answer.
            Err(_) => 0,
        };
        Timestamp::from_unix_millis(millis)
    }
}
