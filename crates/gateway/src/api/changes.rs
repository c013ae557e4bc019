//! Changes to messages.

use axum::extract::State;
use axum::response::Response;
use chat_domain::MessageEdit;
use http::StatusCode;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::description::{Conflict, NotFound};
use super::error::ApiError;
use super::extract::{ChangesQuery, EraseQuery, JsonBody, MessagePath, RoomPath};
use super::messages::page_json;
use super::schemas::RoomParameter;
use crate::socket::objects::WireMessage;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_changes))
        .routes(routes!(edit_message, delete_message))
}

/// A message in a room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what the router extracts")]
struct MessageParameters {
    /// The room's number.
    #[param(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
    /// The message's number in the room.
    #[param(minimum = 1, maximum = 9007199254740991u64, example = 57)]
    seq: u64,
}

/// A page of changed messages.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
struct ChangesParameters {
    /// Only messages whose `rev` is larger.
    #[param(
        required = false,
        nullable = false,
        minimum = 0,
        maximum = 9007199254740991u64,
        default = 0
    )]
    after_rev: Option<u64>,
    /// The `next` of the previous page. The greater one of this and `afterRev` counts.
    #[param(
        required = false,
        nullable = false,
        minimum = 0,
        maximum = 9007199254740991u64
    )]
    after: Option<u64>,
    /// The maximum number of messages.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 200,
        default = 50
    )]
    limit: Option<u32>,
}

/// How a message is deleted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
struct EraseParameters {
    /// Whether its author, its `clientMessageId` and its times of change are removed as well.
    #[param(required = false, nullable = false, default = false)]
    erase: Option<bool>,
}

/// The new text of a message.
#[derive(ToSchema)]
#[schema(as = MessageEdit, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
struct EditBody {
    /// Not only white space, and without NUL.
    #[schema(
        min_length = 1,
        max_length = 4000,
        pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
        example = "hello"
    )]
    content: String,
}

/// A page of changed messages.
#[derive(ToSchema)]
#[schema(as = ChangesPage, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "it describes what is joined from encoded messages"
)]
struct ChangesPageObject<'a> {
    /// In their newest state, ascending by `rev`. At most 192 KiB, unless one message alone is
    /// larger.
    messages: Vec<WireMessage<'a>>,
    /// Whether there are more after these.
    has_more: bool,
    /// Present if there are more: the `after` of the next page.
    #[schema(nullable = false, minimum = 1, maximum = 9007199254740991u64)]
    next: Option<u64>,
}

/// List changed messages of a room.
///
/// To read on, pass `next` as `after`, or the last `rev` as `afterRev`.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}/changes",
    operation_id = "listChanges",
    tag = "Messages",
    params(RoomParameter, ChangesParameters),
    responses(
        (status = 200, description = "A page of messages.", body = ChangesPageObject),
        (status = 404, response = NotFound),
    ),
)]
async fn list_changes(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    ChangesQuery { after, limit }: ChangesQuery,
) -> Result<Response, ApiError> {
    let view = &shared.gateway.product_view;
    let read = view.changes(room_id, after, limit).await?;
    let mut page = page_json(&read.page);
    if read.page.has_more && page.pop() == Some('}') {
        page.push_str(&format!(r#","next":{}}}"#, read.last.get()));
    }
    Ok(answer::encoded(StatusCode::OK, page))
}

/// Edit a message.
///
/// No rule binds the product. A message that is deleted cannot be edited.
#[utoipa::path(
    patch,
    path = "/rooms/{roomId}/messages/{seq}",
    operation_id = "editMessage",
    tag = "Messages",
    params(MessageParameters),
    request_body = EditBody,
    responses(
        (status = 200, description = "The message.", body = WireMessage),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
    ),
)]
async fn edit_message(
    State(shared): State<Shared>,
    MessagePath(room_id, seq): MessagePath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let edit = MessageEdit::Edit(body.object()?.content()?);
    let changing = &shared.gateway.change_message;
    let message = changing.execute_as_product(room_id, seq, edit).await?;
    let encoded = message.encoded().to_owned();
    Ok(answer::encoded(StatusCode::OK, encoded))
}

/// Delete or erase a message.
///
/// The message keeps its number. A repeat changes nothing.
#[utoipa::path(
    delete,
    path = "/rooms/{roomId}/messages/{seq}",
    operation_id = "deleteMessage",
    tag = "Messages",
    params(MessageParameters, EraseParameters),
    responses(
        (status = 204, description = "The message is deleted."),
        (status = 404, response = NotFound),
    ),
)]
async fn delete_message(
    State(shared): State<Shared>,
    MessagePath(room_id, seq): MessagePath,
    EraseQuery(erases): EraseQuery,
) -> Result<Response, ApiError> {
    let edit = match erases {
        true => MessageEdit::Erase,
        false => MessageEdit::Delete,
    };
    let changing = &shared.gateway.change_message;
    changing.execute_as_product(room_id, seq, edit).await?;
    Ok(answer::done())
}
