//! One connection: its socket, its state, and the bytes pending in either direction.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::ledger::View;

/// The most bytes that are queued for a server that does not read.
const MAX_UNSENT: usize = 1 << 20;

/// The stages of a connection, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    /// It has requested the WebSocket upgrade.
    Upgrading,
    /// It is waiting for the Engine.IO session.
    Opening,
    /// It has sent its token.
    Authenticating,
    Ready,
    Joining,
    Joined,
    Closed,
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) state: State,
    /// The rooms that it joins.
    pub(crate) rooms: Range<usize>,
    /// Messages that it has sent, to its rooms in turn.
    pub(crate) sent: usize,
    /// What it has seen of each room that it has joined so far.
    pub(crate) views: Vec<View>,
    /// The start of an incomplete frame.
    pub(crate) received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Client {
    /// Starts to connect, without waiting.
    pub(crate) fn dial(
        address: SocketAddr,
        source: Option<IpAddr>,
        rooms: Range<usize>,
    ) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            // Ports of a previous run may still be in TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        Ok(Self {
            socket: TcpStream::from_std(socket.into()),
            state: State::Connecting,
            rooms,
            sent: 0,
            views: Vec::new(),
            received: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Writes as much as the socket accepts now and queues the rest.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.unsent.is_empty() {
            true => self.write_now(bytes)?,
            false => 0,
        };
        if self.unsent.len() + bytes.len() - written > MAX_UNSENT {
            return Err(io::Error::other("the server does not read"));
        }
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes as much of the queue as the socket accepts now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        let written = self.write_now(&unsent)?;
        self.unsent.extend_from_slice(&unsent[written..]);
        Ok(())
    }

    /// Returns the number of bytes read, or `None` if there is nothing to read now.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.socket.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INPROGRESS) || error.kind() == ErrorKind::WouldBlock
}
