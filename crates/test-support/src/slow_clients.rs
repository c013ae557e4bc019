//! Clients of Redis that do not read, so that what Redis has to send them fills its memory.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Subscribers of every channel.
const SUBSCRIBERS: usize = 100;
/// Clients that are sent every command.
const MONITORS: usize = 10;
/// What is published to all of them. More than the kernel takes for each, and less than the
/// amount at which Redis disconnects a subscriber.
const MESSAGES: usize = 12;
const MESSAGE_BYTES: usize = 512 * 1024;
/// How long Redis may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Clients that do not read, on connections that end when the value is dropped.
#[derive(Debug)]
pub struct SlowClients {
    /// Never read; dropping them closes them.
    _clients: Vec<TcpStream>,
    control: BufReader<TcpStream>,
}

impl SlowClients {
    /// Connects the clients to the Redis server on this port, and fills its buffers for them.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses a command.
    pub fn connect(port: u16) -> io::Result<Self> {
        let open = |command: &str| -> io::Result<TcpStream> {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            client.write_all(command.as_bytes())?;
            Ok(client)
        };
        let control = open("")?;
        control.set_read_timeout(Some(DEADLINE))?;
        let subscribers = (0..SUBSCRIBERS).map(|_| open("PSUBSCRIBE *\r\n"));
        let monitors = (0..MONITORS).map(|_| open("MONITOR\r\n"));
        let clients: io::Result<_> = subscribers.chain(monitors).collect();
        let mut slow = Self {
            _clients: clients?,
            control: BufReader::new(control),
        };
        let noise = "x".repeat(MESSAGE_BYTES);
        for _ in 0..MESSAGES {
            slow.command(&["PUBLISH", "noise", &noise])?;
        }
        Ok(slow)
    }

    /// Returns how many of the clients Redis holds output for, and how many bytes.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn held(&mut self) -> io::Result<(usize, u64)> {
        let clients = self.command(&["CLIENT", "LIST"])?;
        let waiting = clients.lines().filter_map(|client| {
            let bytes = field(client, "omem")?.parse::<u64>().ok()?;
            (bytes > 0).then_some(bytes)
        });
        Ok(waiting.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes)))
    }

    /// Disconnects every other client, and has the server accept none until `make_room`.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn shut_others_out(&mut self) -> io::Result<()> {
        self.command(&["CONFIG", "SET", "maxclients", "1"])?;
        let clients = self.command(&["CLIENT", "LIST"])?;
        let own = self.command(&["CLIENT", "ID"])?;
        for client in clients.lines() {
            let is_slow = field(client, "psub") == Some("1")
                || field(client, "flags").is_some_and(|flags| flags.contains('O'));
            if let Some(id) = field(client, "id").filter(|id| *id != own && !is_slow) {
                self.command(&["CLIENT", "KILL", "ID", id])?;
            }
        }
        Ok(())
    }

    /// Has the server accept clients again.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn make_room(&mut self) -> io::Result<()> {
        self.command(&["CONFIG", "SET", "maxclients", "10000"])
            .map(drop)
    }

    /// Runs a command on a connection that stays open, because a full server accepts no other.
    fn command(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.control.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.control.read_line(&mut line)?;
        let line = line.trim_end();
        if let Some(length) = line.strip_prefix('$') {
            let length: usize = length.parse().map_err(io::Error::other)?;
            let mut text = vec![0; length + "\r\n".len()];
            self.control.read_exact(&mut text)?;
            text.truncate(length);
            return String::from_utf8(text).map_err(io::Error::other);
        }
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(rest.to_owned()),
            _ => Err(io::Error::other(format!("Redis answers {line}"))),
        }
    }
}

/// Returns a field of a line of `CLIENT LIST`.
fn field<'a>(client: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = client.split(' ').filter_map(|field| field.split_once('='));
    fields.find_map(|(key, value)| (key == name).then_some(value))
}
