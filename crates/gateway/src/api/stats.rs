//! Statistics.

use axum::extract::State;
use axum::response::Response;
use chat_domain::ports::{NodeStats, NodeStatsSource as _};
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
    /// The node that answers, then the others, as of a few seconds ago.
    nodes: Vec<NodeObject>,
    /// `false` while the other nodes cannot be reached, and are missing.
    complete: bool,
}

/// What one node does now.
#[derive(Serialize, ToSchema)]
#[schema(as = NodeStats)]
struct NodeObject {
    /// Connected Socket.IO clients.
    connections: u64,
    /// Users with a connection to this node.
    users: u64,
    /// Rooms that a client of this node has joined.
    rooms: u64,
}

impl From<NodeStats> for NodeObject {
    fn from(stats: NodeStats) -> Self {
        Self {
            connections: stats.connections,
            users: stats.users,
            rooms: stats.rooms,
        }
    }
}

/// Count connections, users and rooms.
///
/// On every node.
#[utoipa::path(
    get,
    path = "/stats",
    operation_id = "getStats",
    tag = "Statistics",
    responses((status = 200, description = "The counts.", body = StatsObject)),
)]
async fn get_stats(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let others = shared.statistics.of_others();
    let object = StatsObject {
        complete: others.is_some(),
        nodes: std::iter::once(shared.statistics.stats())
            .chain(others.into_iter().flatten())
            .map(NodeObject::from)
            .collect(),
    };
    Ok(answer::json(StatusCode::OK, &object))
}
