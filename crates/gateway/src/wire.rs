//! One accepted TCP connection: its deadlines, its kill switch, and what writes to it.
//!
//! The [`Stream`] goes to hyper and from there, after an upgrade, to the WebSocket. The
//! [`Wire`] stays elsewhere and can end the connection in any state: reading, stuck in a
//! write, or idle.

pub(crate) mod frame_headers;
mod pace;

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use self::frame_headers::FrameHeaders;
use self::pace::Pace;
use crate::limits::{READ_AHEAD, SEND_BUFFER, UNACKNOWLEDGED_DEADLINE, WRITE_DEADLINE};

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What was written still arrives, and then the end.
    Finish,
    /// What waits in the kernel's buffers is discarded.
    Abort,
}

/// Whether a call ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did.
    Now,
    /// An earlier call had.
    Before,
}

/// The owner of a connection that carries a WebSocket: all writes go through it, and it
/// decides when more is read.
pub(crate) trait WireOwner: Send + Sync {
    /// Takes bytes that socketioxide writes, whole. They leave soon, in their turn.
    fn write(&self, bytes: &[u8]);
    /// Notes that the peer has announced a message of at least this many bytes. Returns
    /// whether it may be that large.
    fn announced(&self, bytes: u64) -> bool;
    /// Notes that the peer has closed the connection. Returns how long the reader waits
    /// before it learns of it.
    fn depart(&self) -> Duration;
    /// Writes what waits, as far as the kernel takes it now: there will be no more.
    fn finish(&self);
    /// Returns `Ready` when more may be read. What the peer already sent has to be
    /// answered first, and the answers wait for the peer to read.
    fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The kill switch of a connection.
pub(crate) struct Wire {
    tcp: TcpStream,
    ended: AtomicBool,
    owner: OnceLock<Weak<dyn WireOwner>>,
}

impl Wire {
    /// Ends the connection, whatever its state. Only the first call has an effect.
    pub(crate) fn end(&self, ending: Ending) -> Ended {
        if self.ended.swap(true, Ordering::SeqCst) {
            return Ended::Before;
        }
        let socket = SockRef::from(&self.tcp);
        // Both can only fail on a connection that has ended by itself.
        if ending == Ending::Abort {
            socket.set_linger(Some(Duration::ZERO)).ok();
        }
        socket.shutdown(Shutdown::Both).ok();
        Ended::Now
    }

    /// Sets the owner: from now on this connection carries a WebSocket. Only the first
    /// call has an effect.
    pub(crate) fn belongs_to(&self, owner: Weak<dyn WireOwner>) {
        self.owner.set(owner).ok();
    }

    fn owner(&self) -> Option<Arc<dyn WireOwner>> {
        self.owner.get()?.upgrade()
    }

    /// Writes as much as the kernel takes now.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; otherwise the connection has ended.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check()?;
        self.tcp.try_write_vectored(slices)
    }

    /// Completes when the kernel may take more.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.tcp.writable().await
    }

    fn check(&self) -> io::Result<()> {
        if self.ended.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// The connection as hyper reads and writes it.
pub(crate) struct Stream {
    wire: Arc<Wire>,
    /// What the peer sent and has not been asked for yet; empty while the peer is idle.
    unread: Unread,
    frame_headers: FrameHeaders,
    pace: Pace,
    /// Whether the peer has announced a message that is too large. Nothing more is read, so
    /// that no part of it is kept for the whole.
    has_announced_too_much: bool,
    /// Whether the peer has closed the connection.
    is_departing: bool,
    /// Whether the last read filled its buffer, so that more is waiting: other tasks run before
    /// the next read, however fast this peer sends.
    has_had_its_turn: bool,
    /// Runs while a write waits; `None` until the first one does.
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalled: bool,
}

impl Stream {
    /// Wraps an accepted connection.
    ///
    /// # Errors
    /// When the connection has already ended.
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        // Without it, a small packet waits until the peer acknowledges the previous one.
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(&tcp);
        // What waits in the kernel for a slow peer is bounded as well.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(30))
                .with_interval(Duration::from_secs(5)),
        )?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_DEADLINE))?;
        Ok(Self {
            wire: Arc::new(Wire {
                tcp,
                ended: AtomicBool::new(false),
                owner: OnceLock::new(),
            }),
            unread: Unread::default(),
            frame_headers: FrameHeaders::default(),
            pace: Pace::new(),
            has_announced_too_much: false,
            is_departing: false,
            has_had_its_turn: false,
            stalled: None,
            is_stalled: false,
        })
    }

    /// Returns the connection's kill switch. It holds the connection open, so it is kept
    /// weakly elsewhere.
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Puts bytes back, to be read before anything else. It keeps a copy, because even an
    /// empty slice would keep the whole buffer alive.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.unread = Unread::of(bytes);
        if let Some(owner) = self.wire.owner() {
            self.follow(&*owner, bytes);
        }
    }

    /// Follows the frames in what was read from a WebSocket.
    fn follow(&mut self, owner: &dyn WireOwner, bytes: &[u8]) {
        let frames = self.frame_headers.follow(bytes, |size| {
            if !self.has_announced_too_much {
                self.has_announced_too_much = !owner.announced(size);
            }
        });
        self.pace.count(frames);
    }

    /// Ends the connection if a write waits for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let deadline = Instant::now() + WRITE_DEADLINE;
        let sleep = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.is_stalled {
            self.is_stalled = true;
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        tracing::debug!("a peer that reads nothing is disconnected");
        self.wire.end(Ending::Abort);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            self.wire.check()?;
            match self.wire.tcp.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return self.poll_stalled(cx),
            }
            match write(&self.wire.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.is_stalled = false;
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

/// Bytes that were read before they were asked for.
#[derive(Default)]
struct Unread {
    bytes: Box<[u8]>,
    taken: usize,
}

impl Unread {
    fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.into();
        Self { bytes, taken: 0 }
    }

    /// Fills `buf` and keeps the rest.
    fn read(bytes: &[u8], buf: &mut ReadBuf<'_>) -> Self {
        let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
        buf.put_slice(now);
        Self::of(later)
    }

    /// Fills `buf` with what is left; returns whether anything was.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.bytes[self.taken..];
        if left.is_empty() {
            return false;
        }
        let now = &left[..left.len().min(buf.remaining())];
        buf.put_slice(now);
        self.taken += now.len();
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
        true
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.take(buf) {
            return Poll::Ready(Ok(()));
        }
        if self.has_announced_too_much {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if std::mem::take(&mut self.has_had_its_turn) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.pace.poll_may_read(cx));
        let owner = self.wire.owner();
        if let Some(owner) = &owner {
            // An ended connection wakes its reader by itself.
            if owner.poll_may_read(cx).is_pending() {
                return match self.wire.check() {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
        }
        loop {
            self.wire.check()?;
            ready!(self.wire.tcp.poll_read_ready(cx))?;
            let Some(owner) = &owner else {
                match self.wire.tcp.try_read_buf(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    outcome => return Poll::Ready(outcome.map(|_| ())),
                }
            };
            // socketioxide keeps a buffer for each connection, so it is small.
            let mut ahead = [0; READ_AHEAD];
            match self.wire.tcp.try_read(&mut ahead) {
                Ok(count @ 1..) => {
                    self.has_had_its_turn = count == READ_AHEAD;
                    let ahead = &ahead[..count];
                    self.follow(&**owner, ahead);
                    self.unread = Unread::read(ahead, buf);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => {
                    if !std::mem::replace(&mut self.is_departing, true) {
                        self.pace.pause(owner.depart());
                    }
                    ready!(self.pace.poll_may_read(cx));
                    return Poll::Ready(ended.map(|_| ()));
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.wire.owner() {
            Some(owner) => {
                self.wire.check()?;
                owner.write(buf);
                Poll::Ready(Ok(buf.len()))
            }
            None => self.poll_write_with(cx, |tcp| tcp.try_write(buf)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.wire.owner() {
            Some(owner) => {
                self.wire.check()?;
                bufs.iter().for_each(|buf| owner.write(buf));
                Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
            }
            None => self.poll_write_with(cx, |tcp| tcp.try_write_vectored(bufs)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// There is nothing to flush: the kernel has what was written, or the owner, which
    /// writes it soon without being asked, together with what follows.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.wire.check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = SockRef::from(&self.wire.tcp).shutdown(Shutdown::Write);
        Poll::Ready(match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(owner) = self.wire.owner() {
            owner.finish();
        }
    }
}

#[cfg(test)]
mod tests;
