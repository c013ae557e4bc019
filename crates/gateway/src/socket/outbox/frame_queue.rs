//! The frames that are to be written to a WebSocket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};

use bytes::{Buf as _, Bytes};

use crate::wire::Wire;

/// How many frames go to the kernel in one call.
const FRAMES_PER_WRITE: usize = 64;
/// An empty queue that has grown beyond this returns its memory.
const KEPT_CAPACITY: usize = 16;

/// Frames in the order in which they are written. An entry may hold several.
#[derive(Default)]
pub(super) struct FrameQueue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    wire: Option<Weak<Wire>>,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The queue is empty.
    All,
    /// The kernel takes no more now.
    Part,
    /// The connection has ended; the queue was discarded.
    Nothing,
}

impl FrameQueue {
    pub(super) fn push(&mut self, frames: Bytes) {
        self.bytes += frames.len();
        self.frames.push_back(frames);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the number of bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets the connection to which the frames are written.
    pub(super) fn set_wire(&mut self, wire: &Arc<Wire>) {
        self.wire = Some(Arc::downgrade(wire));
    }

    /// Returns the connection, unless it has ended.
    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.wire.as_ref()?.upgrade()
    }

    /// Writes frames until there are none, or the kernel takes no more.
    pub(super) fn write(&mut self) -> Written {
        if self.frames.is_empty() {
            return Written::All;
        }
        let Some(wire) = self.wire() else {
            return self.discard();
        };
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            match wire.try_write_vectored(&slices[..count]) {
                Ok(taken) => self.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Part,
                Err(_) => return self.discard(),
            }
        }
        if self.frames.capacity() > KEPT_CAPACITY {
            self.frames = VecDeque::new();
        }
        Written::All
    }

    /// Removes what the kernel took.
    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(frame) = self.frames.front_mut() {
            if taken < frame.len() {
                frame.advance(taken);
                return;
            }
            taken -= frame.len();
            self.frames.pop_front();
        }
    }

    /// Discards everything: the connection has ended, which socketioxide finds out by
    /// itself.
    fn discard(&mut self) -> Written {
        self.frames = VecDeque::new();
        self.bytes = 0;
        Written::Nothing
    }
}
