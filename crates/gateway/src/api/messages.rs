//! Messages of rooms.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use chat_domain::use_cases::{Page, Posted, ProductMessage, SentMessage};
use http::StatusCode;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::description::{Conflict, NotFound};
use super::error::ApiError;
use super::extract::{JsonBody, MessagesQuery, RoomPath};
use super::schemas::{MessageBody, MessagesParameters, RoomParameter};
use crate::socket::objects::WireMessage;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list_messages, send_message))
}

/// A page of messages.
#[derive(ToSchema)]
#[schema(as = MessagePage, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "it describes what is joined from encoded messages"
)]
struct MessagePageObject<'a> {
    /// Ascending by `seq`. At most 192 KiB, unless one message alone is larger.
    messages: Vec<WireMessage<'a>>,
    /// Whether there are more in the direction of the page.
    has_more: bool,
}

/// List messages of a room.
///
/// Without `beforeSeq` and `afterSeq`: the newest. To read on, pass the first `seq` as
/// `beforeSeq`, or the last one as `afterSeq`.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}/messages",
    operation_id = "listMessages",
    tag = "Messages",
    params(RoomParameter, MessagesParameters),
    responses(
        (status = 200, description = "A page of messages.", body = MessagePageObject),
        (status = 404, response = NotFound),
    ),
)]
async fn list_messages(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    MessagesQuery { start, limit }: MessagesQuery,
) -> Result<Response, ApiError> {
    let view = &shared.gateway.product_view;
    let page = view.messages(room_id, start, limit).await?;
    Ok(answer::encoded(StatusCode::OK, page_json(&page)))
}

/// Send a message as a user.
///
/// The user needs no membership, and no rule binds it. Every connection in the room receives
/// `newMessage`. With a `clientMessageId` the request is idempotent, also across sockets.
#[utoipa::path(
    post,
    path = "/rooms/{roomId}/messages",
    operation_id = "sendMessage",
    tag = "Messages",
    params(RoomParameter),
    request_body = MessageBody,
    responses(
        (status = 200, description = "The message, which was stored before.", body = WireMessage),
        (status = 201, description = "The message, which is stored now.", body = WireMessage),
        (status = 409, response = Conflict),
    ),
)]
async fn send_message(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let fields = body.object()?;
    let message = ProductMessage {
        user_id: fields.user_id()?,
        name: fields.display_name()?,
        sent: SentMessage {
            room_id,
            content: fields.content()?,
            extras: fields.extras()?,
            client_message_id: fields.client_message_id()?,
        },
    };
    let gateway = &shared.gateway;
    let stored = || gateway.metrics.committed(arrived);
    let posted = gateway.send_message.execute_as_product(message, stored);
    let (status, message) = match posted.await? {
        Posted::Stored(message) => (StatusCode::CREATED, message),
        Posted::Repeat(message) => (StatusCode::OK, message),
    };
    Ok(answer::encoded(status, message.encoded().to_owned()))
}

pub(super) fn page_json(page: &Page) -> String {
    let bytes: usize = page.messages.iter().map(|m| m.encoded().len() + 1).sum();
    let mut json = String::with_capacity(bytes + 40);
    json.push_str(r#"{"messages":["#);
    for (place, message) in page.messages.iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        json.push_str(message.encoded());
    }
    json.push_str(match page.has_more {
        true => r#"],"hasMore":true}"#,
        false => r#"],"hasMore":false}"#,
    });
    json
}
