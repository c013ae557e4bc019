//! One accepted TCP connection: its deadlines, its kill switch, and what has been
//! written to it.
//!
//! The [`Stream`] goes to hyper (and from there, after an upgrade, to the
//! WebSocket); the [`Wire`] stays in other hands and can end the connection in
//! whatever state it is: reading, stuck in a write, or idle.

mod frames;

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

use frames::FrameCounter;

/// A peer that takes nothing for this long, with data waiting for it, is cut off.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Data that the peer's machine does not confirm for this long ends the
/// connection: a black hole.
const UNCONFIRMED_DEADLINE: Duration = Duration::from_secs(20);

/// The machine's buffer for what a peer has not taken yet, in bytes; Linux doubles
/// it for its own bookkeeping.
const SEND_BUFFER: usize = 128 * 1024;

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What was written still arrives, and then the end.
    Finish,
    /// What waits in the machine's buffers is thrown away.
    Abort,
}

/// Who is told what happens on a connection once it carries a WebSocket.
pub(crate) trait WireObserver: Send + Sync {
    /// The machine took some bytes, with which so many packets of Socket.IO are out
    /// whole.
    fn written(&self, packets: usize);
    /// Ready when more may be read: what the peer already sent has to be answered
    /// first, and the answers wait for the peer to read.
    fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The kill switch of a connection.
pub(crate) struct Wire {
    tcp: TcpStream,
    ended: AtomicBool,
    observer: OnceLock<Weak<dyn WireObserver>>,
}

impl Wire {
    /// Ends the connection, in whatever state it is. Again is nothing.
    pub(crate) fn end(&self, ending: Ending) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let socket = SockRef::from(&self.tcp);
        // Both can only fail on a connection that has ended by itself.
        if ending == Ending::Abort {
            socket.set_linger(Some(Duration::ZERO)).ok();
        }
        socket.shutdown(Shutdown::Both).ok();
    }

    /// From now on this connection carries a WebSocket, and the observer is told
    /// of it; only the first one counts.
    pub(crate) fn observe(&self, observer: Weak<dyn WireObserver>) {
        self.observer.set(observer).ok();
    }

    fn observer(&self) -> Option<Arc<dyn WireObserver>> {
        self.observer.get()?.upgrade()
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
    frames: FrameCounter,
    /// Runs while a write waits; `None` before the first one that does.
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalled: bool,
}

impl Stream {
    /// Takes an accepted connection.
    ///
    /// # Errors
    /// When the connection has already ended.
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        // Without it, a small packet waits for the peer to confirm the one before.
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(&tcp);
        // What waits in the machine for a slow peer is bounded too.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(30))
                .with_interval(Duration::from_secs(5)),
        )?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(UNCONFIRMED_DEADLINE))?;
        Ok(Self {
            wire: Arc::new(Wire {
                tcp,
                ended: AtomicBool::new(false),
                observer: OnceLock::new(),
            }),
            frames: FrameCounter::default(),
            stalled: None,
            is_stalled: false,
        })
    }

    /// The connection's kill switch. It holds the connection open, so whoever
    /// keeps it longer keeps it weakly.
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// A write waits: if it does so for too long, the connection ends.
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
        tracing::debug!("a peer that read nothing is cut off");
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

    /// Tells the observer which packets went out with the bytes that were taken.
    fn count_packets<'a>(&mut self, taken: usize, slices: impl Iterator<Item = &'a [u8]>) {
        let Some(observer) = self.wire.observer() else {
            return;
        };
        let mut left = taken;
        let mut packets = 0;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            packets += self.frames.advance(part);
            left -= part.len();
        }
        observer.written(packets);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &self.wire;
        if let Some(observer) = wire.observer() {
            // An ended connection wakes its reader by itself.
            if observer.poll_may_read(cx).is_pending() {
                return match wire.check() {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
        }
        loop {
            wire.check()?;
            ready!(wire.tcp.poll_read_ready(cx))?;
            match wire.tcp.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome.map(|_| ())),
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
        let taken = ready!(self.poll_write_with(cx, |tcp| tcp.try_write(buf)))?;
        self.count_packets(taken, std::iter::once(buf));
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.poll_write_with(cx, |tcp| tcp.try_write_vectored(bufs)))?;
        self.count_packets(taken, bufs.iter().map(|slice| &**slice));
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is kept back: what was taken is with the machine.
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

#[cfg(test)]
mod tests;
