//! Handing packets to socketioxide, whose queue long-polling is served from.
//!
//! That queue is short. A packet that finds it full is dropped, and a heartbeat that does
//! ends the connection. So only a few packets are in it at a time, and they are counted
//! when they leave in a response.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use socketioxide_core::Value;

use super::frame_counter::FrameCounter;
use crate::limits::{MAX_HANDED_OVER, MAX_HANDED_OVER_BYTES};
use crate::socket::packet::{self, Parts};

/// What of ours is in socketioxide's queue.
pub(super) struct HandOver {
    /// The sizes of the packets.
    packets: VecDeque<usize>,
    bytes: usize,
    /// Finds the packets in what socketioxide writes to a WebSocket.
    counter: FrameCounter,
}

impl HandOver {
    /// Creates the record of a new session: the queue starts with the answer to CONNECT,
    /// which socketioxide puts there itself.
    pub(super) fn new() -> Self {
        Self {
            packets: VecDeque::from([0]),
            bytes: 0,
            counter: FrameCounter::default(),
        }
    }

    /// Returns whether everything has left the queue.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns how many packets end in bytes that socketioxide writes to a WebSocket.
    pub(super) fn count(&mut self, written: &[u8]) -> usize {
        self.counter.advance(written)
    }

    /// Removes packets that have left the queue.
    pub(super) fn left(&mut self, count: usize) {
        for _ in 0..count {
            self.bytes -= self.packets.pop_front().unwrap_or_default();
        }
    }

    /// Hands over what waits, as far as the queue should hold it; returns the bytes.
    pub(super) fn fill(&mut self, socket: &Arc<Socket>, waiting: &mut VecDeque<Bytes>) -> usize {
        let mut handed_over = 0;
        while self.packets.len() < MAX_HANDED_OVER
            && self.bytes < MAX_HANDED_OVER_BYTES
            && let Some(frames) = waiting.front_mut()
        {
            let mut rest = frames.clone();
            let frame = packet::split_first(&mut rest);
            match send(socket, &frame) {
                // It stays here until there is space.
                Err(SendError::Socket(SocketError::InternalChannelFull)) => break,
                // The client has just disconnected.
                Err(_) => {}
                Ok(()) => {
                    self.packets.push_back(frame.len());
                    self.bytes += frame.len();
                }
            }
            handed_over += frame.len();
            if rest.is_empty() {
                waiting.pop_front();
            } else {
                *frames = rest;
            }
        }
        handed_over
    }
}

fn send(socket: &Arc<Socket>, frame: &Bytes) -> Result<(), SendError> {
    match packet::parts(frame) {
        Parts::Event(name, json) => socket.emit(name, raw(json)),
        Parts::Ack(id, json) => {
            // socketioxide creates a sender only from a message.
            let mut message = Value::Str(Default::default(), None);
            let Ok(ack) = AckSender::from_message_parts(socket, &mut message, &Some(id));
            ack.send(raw(json))
        }
        Parts::Disconnect => Ok(socket.clone().disconnect()?),
    }
}

/// JSON of ours, as socketioxide passes it through.
fn raw(json: &str) -> &RawValue {
    match serde_json::from_str(json) {
        Ok(raw) => raw,
        Err(error) => unreachable!("a packet was encoded as JSON: {error}"),
    }
}
