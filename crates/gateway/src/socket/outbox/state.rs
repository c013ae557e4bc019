//! The state of an outbox: what waits, by which way it leaves, and how much it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use socketioxide::TransportType;
use socketioxide::socket::Socket;
use tokio::time::Instant;

use super::frame_queue::{FrameQueue, Written};
use super::hand_over::HandOver;
use crate::limits::SPACE_BYTES;

/// What waits for one client, and how it gets there.
pub(super) struct State {
    pub(super) carrier: Carrier,
    /// Frames that wait while they cannot be written.
    pub(super) waiting: VecDeque<Bytes>,
    pub(super) waiting_bytes: usize,
    /// What is to be written to the WebSocket.
    pub(super) frames: FrameQueue,
    /// Whether a flusher or a task will write the frames.
    pub(super) is_marked: bool,
    /// When the client last took something, or had nothing to take.
    pub(super) progress: Instant,
    pub(super) is_closed: bool,
    pub(super) reader: Option<Waker>,
}

/// How packets get to the client.
pub(super) enum Carrier {
    /// Through socketioxide's queue.
    SocketIoxide(HandOver),
    /// As frames.
    Frames,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            carrier: Carrier::SocketIoxide(HandOver::new()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            frames: FrameQueue::default(),
            is_marked: false,
            progress: Instant::now(),
            is_closed: false,
            reader: None,
        }
    }

    /// Discards what waits, and what is pushed from now on. Frames may still leave.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.wake_reader();
    }

    pub(super) fn push(&mut self, frames: Bytes) {
        match self.carrier {
            _ if self.is_closed => {}
            Carrier::Frames => self.push_frame(frames),
            Carrier::SocketIoxide(_) => {
                self.note_begin();
                self.waiting_bytes += frames.len();
                self.waiting.push_back(frames);
            }
        }
    }

    pub(super) fn push_frame(&mut self, frames: Bytes) {
        self.note_begin();
        self.frames.push(frames);
    }

    /// The time in which a client takes nothing begins with the first thing to take.
    pub(super) fn note_begin(&mut self) {
        if self.is_flushed() {
            self.progress = Instant::now();
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        let is_handed_over = match &self.carrier {
            Carrier::SocketIoxide(hand_over) => hand_over.is_empty(),
            Carrier::Frames => true,
        };
        self.waiting.is_empty() && self.frames.is_empty() && is_handed_over
    }

    /// Returns the number of bytes that wait here.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes + self.frames.bytes()
    }

    pub(super) fn has_space(&self) -> bool {
        self.bytes() < SPACE_BYTES
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn write(&mut self) -> Written {
        let before = self.frames.bytes();
        let written = self.frames.write();
        if self.frames.bytes() < before && written != Written::Nothing {
            self.progress = Instant::now();
        }
        written
    }

    /// Removes packets that have left socketioxide's queue.
    pub(super) fn left(&mut self, count: usize) {
        self.progress = Instant::now();
        if let Carrier::SocketIoxide(hand_over) = &mut self.carrier {
            hand_over.left(count);
        }
    }

    /// Hands over packets to socketioxide, or continues with frames if that is possible.
    pub(super) fn hand_over(&mut self, socket: &Arc<Socket>) {
        let Carrier::SocketIoxide(hand_over) = &mut self.carrier else {
            return;
        };
        if self.is_closed {
            return;
        }
        if socket.transport_type() != TransportType::Websocket {
            self.waiting_bytes -= hand_over.fill(socket, &mut self.waiting);
            return;
        }
        // Frames must not overtake what is still in socketioxide's queue.
        if hand_over.is_empty() && self.frames.wire().is_some() {
            self.carrier = Carrier::Frames;
            for frames in std::mem::take(&mut self.waiting) {
                self.frames.push(frames);
            }
            self.waiting_bytes = 0;
        }
    }
}
