//! A server with one room that breaks a promise of the wire contract.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Whether a server numbers the messages of its rooms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Numbering {
    Seq,
    /// As in the founding contract.
    None,
}

/// The fault of a server. A delivery is the tenth of the second connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    /// A delivery does not arrive.
    Drops,
    /// A delivery arrives twice.
    Repeats,
    /// A delivery arrives after the eleventh.
    Swaps,
    /// A delivery names a room that the connection has not joined.
    Misroutes,
    /// The tenth message is refused, and nothing else is wrong.
    Refuses,
    /// The tenth message is refused but delivered, and the twelfth is lost without an answer:
    /// together, they cause as many deliveries as one refused message.
    RefusesAnother,
    /// No message is ever answered.
    Silent,
    /// Each message takes a second, once the tenth has arrived.
    Stalls,
}

/// What all connections share.
struct Room {
    numbering: Numbering,
    fault: Fault,
    messages: broadcast::Sender<(u64, String)>,
    /// The number of messages received so far, and of those stored.
    counts: Mutex<(u64, u64)>,
}

/// Starts a server with one room, no database and a fault.
pub(super) async fn broken_server(numbering: Numbering, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (messages, _) = broadcast::channel(4096);
    let room = Arc::new(Room {
        numbering,
        fault,
        messages,
        counts: Mutex::new((0, 0)),
    });
    // The test's runtime ends the task; each connection ends with its client.
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            tokio::spawn(serve(stream, room.clone(), connections == 2));
        }
    });
    address
}

async fn serve(stream: TcpStream, room: Arc<Room>, is_second: bool) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let mut messages = room.messages.subscribe();
    socket
        .send(Message::text("0{\"sid\":\"x\"}"))
        .await
        .unwrap();
    let (mut count, mut held) = (0, None);
    loop {
        tokio::select! {
            received = socket.next() => {
                let Some(Ok(Message::Text(text))) = received else { return };
                if room.answer(&mut socket, &text).await.is_err() {
                    return;
                }
            }
            message = messages.recv() => {
                let Ok((seq, content)) = message else { return };
                count += 1;
                let is_tenth = is_second && count == 10;
                let packet = room.new_message(seq, &content, 1);
                let packets = match room.fault {
                    Fault::Drops if is_tenth => vec![],
                    Fault::Repeats if is_tenth => vec![packet.clone(), packet],
                    Fault::Misroutes if is_tenth => vec![room.new_message(seq, &content, 2)],
                    Fault::Swaps if is_tenth => {
                        held = Some(packet);
                        vec![]
                    }
                    _ => Vec::from_iter(std::iter::once(packet).chain(held.take())),
                };
                for packet in packets {
                    if socket.send(Message::text(packet)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Room {
    async fn answer(
        &self,
        socket: &mut WebSocketStream<TcpStream>,
        text: &str,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        if text.starts_with("40") {
            return socket.send(Message::text("40{\"sid\":\"x\"}")).await;
        }
        if text.starts_with("42[\"joinRoom\"") {
            let joined = match self.numbering {
                Numbering::Seq => "42[\"joinedRoom\",{\"roomId\":1,\"seq\":0}]",
                Numbering::None => "42[\"joinedRoom\",{\"roomId\":1}]",
            };
            return socket.send(Message::text(joined)).await;
        }
        let Some(event) = text.strip_prefix("42") else {
            return Ok(());
        };
        let event: Value = serde_json::from_str(event).unwrap();
        let content = event[1]["content"].as_str().unwrap().to_owned();
        let (is_refused, is_stored) = self.decide();
        if is_refused {
            let error = json!(["error", { "message": "no", "code": "internal", "roomId": 1 }]);
            socket.send(Message::text(format!("42{error}"))).await?;
        }
        if self.fault == Fault::Stalls && self.counts.lock().unwrap().0 > 10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if is_stored {
            self.store(content);
        }
        Ok(())
    }

    /// Returns whether the next message is refused, and whether it is stored.
    fn decide(&self) -> (bool, bool) {
        let mut counts = self.counts.lock().unwrap();
        counts.0 += 1;
        match (self.fault, counts.0) {
            (Fault::Silent, _) => (false, false),
            (Fault::Refuses, 10) => (true, false),
            (Fault::RefusesAnother, 10) => (true, true),
            (Fault::RefusesAnother, 12) => (false, false),
            _ => (false, true),
        }
    }

    fn store(&self, content: String) {
        let mut counts = self.counts.lock().unwrap();
        counts.1 += 1;
        // Sent under the lock, so that every connection receives one order.
        self.messages.send((counts.1, content)).unwrap();
    }

    fn new_message(&self, seq: u64, content: &str, room: u64) -> String {
        let mut message = json!({ "roomId": room, "content": content });
        if self.numbering == Numbering::Seq {
            message["seq"] = json!(seq);
        }
        format!("42{}", json!(["newMessage", message]))
    }
}
