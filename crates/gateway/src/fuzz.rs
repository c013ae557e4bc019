//! The internals that the fuzz targets run. Nothing else may use them.

use std::cell::RefCell;
use std::net::IpAddr;

use chat_domain::Seq;
use http::{HeaderMap, HeaderValue, Request};

use crate::client_address::{InvalidNetwork, TrustedProxies};
use crate::socket::handshake::{self, Auth};
use crate::socket::outbox::frame_counter::FrameCounter;
use crate::socket::{Event, packet, protocol, reply};
use crate::transport::query::Query;
use crate::wire::frame_headers::FrameHeaders;

/// What was read from an event packet.
#[derive(Debug, Default)]
pub struct ReadPacket {
    /// The event's name.
    pub event: Option<String>,
    /// The room's number.
    pub room_id: Option<u64>,
    /// The content of a `sendMessage`.
    pub content: Option<String>,
    /// The `replyTo` of a `sendMessage`.
    pub reply_to: Option<u64>,
    /// The `mentions` of a `sendMessage`.
    pub mentions: Vec<String>,
    /// The `metadata` of a `sendMessage`, as JSON.
    pub metadata: Option<String>,
    /// The packets that refuse the event; empty if it is accepted.
    pub refusal: Vec<String>,
}

/// Reads an event packet's array, with an acknowledgement requested.
pub fn read_packet(packet: &str) -> ReadPacket {
    let received = protocol::read(packet, Event::parse);
    let mut read = ReadPacket {
        event: received.event.clone(),
        room_id: received.room_id.map(|room_id| room_id.get()),
        ..ReadPacket::default()
    };
    match received.outcome {
        Ok(Event::SendMessage(sent)) => {
            let extras = sent.extras.as_deref().cloned().unwrap_or_default();
            read.content = Some(sent.content.as_str().to_owned());
            read.reply_to = extras.reply_to.map(Seq::get);
            let mentions = extras.mentions.iter();
            read.mentions = mentions.map(|id| id.as_str().to_owned()).collect();
            read.metadata = extras.metadata.map(|json| json.as_str().to_owned());
        }
        Ok(_) => {}
        Err(malformed) => {
            let request = reply::Request {
                event: received.event,
                room_id: received.room_id,
                client_message_id: received.client_message_id,
                ack: Some(1),
            };
            let frames = request.failure(&malformed.into());
            read.refusal = frames
                .map(|frame| packet::text(&frame).to_owned())
                .collect();
        }
    }
    read
}

/// Returns the query that socketioxide receives; `None` if it is refused.
pub fn canonical_query(query: &str) -> Option<String> {
    let uri = Query::parse(query).ok()?.canonical_uri()?;
    uri.query().map(str::to_owned)
}

/// Returns the token of an `auth` payload and a canonical query.
///
/// # Errors
/// When the token is malformed.
pub fn find_token(auth: &str, canonical_query: &str) -> Result<Option<String>, String> {
    let uri = format!("/socket.io/?{canonical_query}");
    let request = Request::get(uri)
        .body(())
        .map_err(|error| error.to_string())?;
    let auth = Auth((!auth.is_empty()).then(|| auth.to_owned()));
    let found = handshake::find_token(&auth, &request.into_parts().0);
    found.map_err(|refusal| refusal.to_string())
}

/// Counts the packets in what socketioxide writes to a WebSocket.
pub fn count_packets<'a>(written: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let mut counter = FrameCounter::default();
    written
        .into_iter()
        .map(|bytes| counter.advance(bytes))
        .sum()
}

/// Returns the sizes of messages that a peer's WebSocket frames announce.
pub fn announced_sizes<'a>(received: impl IntoIterator<Item = &'a [u8]>) -> Vec<u64> {
    let sizes = RefCell::new(Vec::new());
    let mut headers = FrameHeaders::default();
    for bytes in received {
        headers.follow(bytes, |size| sizes.borrow_mut().push(size));
    }
    sizes.into_inner()
}

/// Returns the client of a request with these lines of `X-Forwarded-For`.
///
/// # Errors
/// When the networks of the trusted proxies are malformed.
pub fn client_address<'a>(
    trusted_proxies: &str,
    peer: IpAddr,
    lines: impl IntoIterator<Item = &'a HeaderValue>,
) -> Result<IpAddr, InvalidNetwork> {
    let trusted_proxies: TrustedProxies = trusted_proxies.parse()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", line.clone());
    }
    Ok(trusted_proxies.client_of(peer, &headers))
}
