//! Statistics.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::error::ApiError;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(get_stats))
}

/// What the nodes do now.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
struct StatsObject {
    nodes: Vec<NodeObject>,
}

/// What one node does now.
#[derive(Serialize, ToSchema)]
#[schema(as = NodeStats)]
struct NodeObject {
    /// Connected Socket.IO clients.
    connections: usize,
    /// Users with a connection to this node.
    users: usize,
    /// Rooms that a client of this node has joined.
    rooms: usize,
}

/// Count connections, users and rooms.
///
/// Of the node that answers: the counts of others are in their metrics.
#[utoipa::path(
    get,
    path = "/stats",
    operation_id = "getStats",
    tag = "Statistics",
    responses((status = 200, description = "The counts.", body = StatsObject)),
)]
async fn get_stats(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let node = NodeObject {
        connections: shared.clients.count(),
        users: shared.clients.users(),
        rooms: shared.gateway.rooms.count(),
    };
    let object = StatsObject { nodes: vec![node] };
    Ok(answer::json(StatusCode::OK, &object))
}
