//! Rooms.

use axum::extract::State;
use axum::response::Response;
use chat_domain::use_cases::{Actor, Put, RulesRequest};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::description::{Conflict, NotFound};
use super::error::ApiError;
use super::extract::{JsonBody, RoomPath, RoomsQuery};
use super::schemas::{RoomParameter, RoomSettingsBody, RoomsParameters};
use crate::rules;
use crate::socket::objects::RoomObject;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_rooms))
        .routes(routes!(get_room, put_room, delete_room))
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
#[schema(as = RoomPage)]
struct RoomPageObject<'a> {
    /// Ascending by number.
    rooms: Vec<RoomObject<'a>>,
    /// Present if there are more: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991u64,
        example = 7
    )]
    next: Option<u64>,
}

/// List rooms.
///
/// Rooms that have only messages, and neither settings nor members, are left out.
#[utoipa::path(
    get,
    path = "/rooms",
    operation_id = "listRooms",
    tag = "Rooms",
    params(RoomsParameters),
    responses((status = 200, description = "A page of rooms.", body = RoomPageObject)),
)]
async fn list_rooms(
    State(shared): State<Shared>,
    RoomsQuery { after, limit }: RoomsQuery,
) -> Result<Response, ApiError> {
    let page = shared.gateway.product_view.rooms(after, limit).await?;
    let last = page.rooms.last().filter(|_| page.has_more);
    let rooms = page.rooms.iter();
    let object = RoomPageObject {
        rooms: rooms
            .map(|(room_id, settings)| RoomObject::of_settings(*room_id, settings))
            .collect(),
        next: last.map(|(room_id, _)| room_id.get()),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Return a room.
///
/// A room exists once it has a message, a setting or a member. A room that has only messages has
/// `createdAt: null`.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}",
    operation_id = "getRoom",
    tag = "Rooms",
    params(RoomParameter),
    responses(
        (status = 200, description = "The room.", body = RoomObject),
        (status = 404, response = NotFound),
    ),
)]
async fn get_room(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
) -> Result<Response, ApiError> {
    let room = shared.gateway.product_view.room(room_id).await?;
    let object = RoomObject::of_view(room_id, &room);
    Ok(answer::json(StatusCode::OK, &object))
}

/// Create a room, or change its settings.
///
/// Settings that are not given keep their values. Connections in the room receive `roomChanged`.
/// If the room becomes private, all who are not members leave it.
#[utoipa::path(
    put,
    path = "/rooms/{roomId}",
    operation_id = "putRoom",
    tag = "Rooms",
    params(RoomParameter),
    request_body = RoomSettingsBody,
    responses(
        (status = 200, description = "The room, which had settings before.", body = RoomObject),
        (status = 201, description = "The room, which had no settings before.", body = RoomObject),
        (status = 409, response = Conflict),
    ),
)]
async fn put_room(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let patch = body.object()?.settings()?;
    let gateway = &shared.gateway;
    let (changed, put) = gateway
        .change_rules
        .put_room(room_id, patch.clone())
        .await?;
    let request = RulesRequest::Settings(patch);
    rules::changed(
        gateway,
        &shared.clients,
        Actor::Product,
        room_id,
        &request,
        &changed,
    )
    .await;
    let status = match put {
        Put::Created => StatusCode::CREATED,
        Put::Changed => StatusCode::OK,
    };
    let object = RoomObject::of_settings(room_id, &changed.settings);
    Ok(answer::json(status, &object))
}

/// Delete a room.
///
/// Its connections receive `leftRoom` with the reason `closed`, and nothing more is stored in it.
/// Its messages, members, bans, mutes and read pointers are deleted in the background; until then,
/// what would change the room fails with 409, and then its number can be used again. Succeeds
/// without such a room.
#[utoipa::path(
    delete,
    path = "/rooms/{roomId}",
    operation_id = "deleteRoom",
    tag = "Rooms",
    params(RoomParameter),
    responses((status = 204, description = "The room does not exist.")),
)]
async fn delete_room(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
) -> Result<Response, ApiError> {
    shared.gateway.delete_room.execute(room_id).await?;
    Ok(answer::done())
}
