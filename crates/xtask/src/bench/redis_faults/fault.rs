//! What happens to Redis.

use std::io;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chat_test_support::{Redis, SlowClients};

use super::cable::{Cable, Direction};
use crate::machine::step;

/// How long Redis is down, and how long it runs, when it is restarted again and again.
const DOWN: Duration = Duration::from_secs(1);
const UP: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Fault {
    None,
    Killed,
    Restarted,
    Suspended,
    SlowClients,
    /// Nothing arrives at Redis.
    CutToRedis,
    /// Nothing arrives from Redis.
    CutFromRedis,
}

/// What a fault can break.
pub(super) struct Links<'a> {
    pub(super) redis: &'a mut Redis,
    /// Between the nodes and Redis.
    pub(super) cable: Option<&'a Cable>,
}

impl Fault {
    pub(in crate::bench) const ALL: [Self; 7] = [
        Self::None,
        Self::Killed,
        Self::Restarted,
        Self::Suspended,
        Self::SlowClients,
        Self::CutToRedis,
        Self::CutFromRedis,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Killed => "killed",
            Self::Restarted => "restarted",
            Self::Suspended => "suspended",
            Self::SlowClients => "slow-clients",
            Self::CutToRedis => "cut-to-redis",
            Self::CutFromRedis => "cut-from-redis",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::None => "no fault",
            Self::Killed => "killed, and started again after 12 s",
            Self::Restarted => "killed and started again, every 3 s",
            Self::Suspended => "suspended for 30 s",
            Self::SlowClients => "full of clients that do not read",
            Self::CutToRedis => "nothing arrives at Redis for 12 s",
            Self::CutFromRedis => "nothing arrives from Redis for 12 s",
        }
    }

    /// Returns the seconds of each measurement. The fault lasts for two of them, and the two
    /// seconds between them.
    pub(super) fn seconds(self) -> u64 {
        match self {
            Self::Suspended => 14,
            _ => 5,
        }
    }

    pub(super) fn needs_cable(self) -> bool {
        matches!(self, Self::CutToRedis | Self::CutFromRedis)
    }

    /// Strikes, and lasts until the end is announced. Returns when Redis could be used again.
    pub(super) fn last(self, links: &mut Links, ends: &Receiver<()>) -> io::Result<Instant> {
        let wait = || ends.recv().map_err(io::Error::other);
        match self {
            Self::None => wait()?,
            Self::Killed => {
                links.redis.kill()?;
                wait()?;
                links.redis.start_again()?;
            }
            Self::Restarted => loop {
                links.redis.kill()?;
                let is_over = has_come(ends, DOWN)?;
                links.redis.start_again()?;
                if is_over || has_come(ends, UP)? {
                    break;
                }
            },
            Self::Suspended => {
                links.redis.signal("STOP")?;
                wait()?;
                links.redis.signal("CONT")?;
            }
            Self::SlowClients => {
                let mut clients = SlowClients::connect(links.redis.port())?;
                wait()?;
                let (count, bytes) = clients.held()?;
                let mib = bytes >> 20;
                step(&format!(
                    "Redis held {mib} MiB for {count} clients that do not read"
                ));
            }
            Self::CutToRedis | Self::CutFromRedis => {
                let direction = match self {
                    Self::CutToRedis => Direction::ToRedis,
                    _ => Direction::FromRedis,
                };
                let cable = links.cable.ok_or(io::ErrorKind::NotFound)?;
                cable.cut(direction);
                wait()?;
                cable.mend();
            }
        }
        Ok(Instant::now())
    }
}

/// Returns whether the end is announced within this time.
fn has_come(ends: &Receiver<()>, time: Duration) -> io::Result<bool> {
    match ends.recv_timeout(time) {
        Ok(()) => Ok(true),
        Err(RecvTimeoutError::Timeout) => Ok(false),
        Err(error) => Err(io::Error::other(error)),
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("--redis-faults must be one of {names}, not \"{name}\"")
        })
    }
}
