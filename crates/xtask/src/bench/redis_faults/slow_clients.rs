//! Clients of Redis that do not read, so that what Redis has to send them fills its memory.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use chat_test_support::Redis;

use crate::machine::step;

/// Subscribers of every room, and of a channel of their own.
const SUBSCRIBERS: usize = 100;
/// Clients that are sent every command, also every hint.
const MONITORS: usize = 10;
/// What is published to the subscribers' own channel. More than the kernel takes for them, and
/// less than the amount at which Redis disconnects a subscriber.
const MESSAGES: usize = 12;
const MESSAGE_BYTES: usize = 512 * 1024;

pub(super) struct SlowClients(Vec<TcpStream>);

impl SlowClients {
    /// Connects the clients and fills Redis's buffers for them.
    pub(super) fn connect(port: u16) -> io::Result<Self> {
        let open = |command: &str| -> io::Result<TcpStream> {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            client.write_all(command.as_bytes())?;
            Ok(client)
        };
        let subscribers = (0..SUBSCRIBERS).map(|_| open("PSUBSCRIBE *\r\n"));
        let monitors = (0..MONITORS).map(|_| open("MONITOR\r\n"));
        let clients: io::Result<_> = subscribers.chain(monitors).collect();
        let clients = Self(clients?);
        let mut publisher = open("")?;
        let message = "x".repeat(MESSAGE_BYTES);
        for _ in 0..MESSAGES {
            let command =
                format!("*3\r\n$7\r\nPUBLISH\r\n$5\r\nnoise\r\n${MESSAGE_BYTES}\r\n{message}\r\n");
            publisher.write_all(command.as_bytes())?;
        }
        Ok(clients)
    }

    /// Prints what Redis holds for the clients at the end.
    pub(super) fn report(self, redis: &Redis) -> io::Result<()> {
        let clients = redis.command(&["CLIENT", "LIST"])?;
        let waiting = clients.lines().filter_map(|client| {
            let mut fields = client.split(' ');
            let bytes = fields.find_map(|field| field.strip_prefix("omem="))?;
            bytes.parse::<u64>().ok().filter(|bytes| *bytes > 0)
        });
        let waiting: Vec<u64> = waiting.collect();
        step(&format!(
            "Redis holds {} MiB for {} of {} clients that do not read",
            waiting.iter().sum::<u64>() >> 20,
            waiting.len(),
            self.0.len()
        ));
        Ok(())
    }
}
