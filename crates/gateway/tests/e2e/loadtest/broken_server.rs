//! A server with one room that breaks a promise of the wire contract.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

/// Whether a server numbers the messages of its rooms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Numbering {
    Seq,
    /// As in the founding contract.
    None,
}

/// What happens to the tenth delivery of the second connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    Drops,
    Repeats,
    /// It arrives after the eleventh.
    Swaps,
}

/// Starts a server with one room, no database and a fault.
pub(super) async fn broken_server(numbering: Numbering, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (room, _) = broadcast::channel(4096);
    // The test's runtime ends the task; each connection ends with its client.
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            let fault = match connections {
                2 => fault,
                _ => Fault::None,
            };
            tokio::spawn(serve(stream, room.clone(), numbering, fault));
        }
    });
    address
}

async fn serve(
    stream: TcpStream,
    room: broadcast::Sender<String>,
    numbering: Numbering,
    fault: Fault,
) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let mut messages = room.subscribe();
    socket
        .send(Message::text("0{\"sid\":\"x\"}"))
        .await
        .unwrap();
    let (mut count, mut held) = (0, None);
    loop {
        tokio::select! {
            received = socket.next() => {
                let Some(Ok(Message::Text(text))) = received else { return };
                if text.starts_with("40") {
                    socket.send(Message::text("40{\"sid\":\"x\"}")).await.unwrap();
                } else if text.starts_with("42[\"joinRoom\"") {
                    let joined = match numbering {
                        Numbering::Seq => "42[\"joinedRoom\",{\"roomId\":1,\"seq\":0}]",
                        Numbering::None => "42[\"joinedRoom\",{\"roomId\":1}]",
                    };
                    socket.send(Message::text(joined)).await.unwrap();
                } else if let Some(event) = text.strip_prefix("42") {
                    let event: Value = serde_json::from_str(event).unwrap();
                    room.send(event[1]["content"].as_str().unwrap().to_owned()).unwrap();
                }
            }
            content = messages.recv() => {
                let Ok(content) = content else { return };
                count += 1;
                let mut message = json!({ "roomId": 1, "content": content });
                if numbering == Numbering::Seq {
                    message["seq"] = json!(count);
                }
                let packet = format!("42{}", json!(["newMessage", message]));
                let packets = match (fault, count) {
                    (Fault::Drops, 10) => vec![],
                    (Fault::Repeats, 10) => vec![packet.clone(), packet],
                    (Fault::Swaps, 10) => {
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
