//! The export of users.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chat_domain::ports::UserRecordData;
use chat_domain::use_cases::{Exported, UserExport};
use chat_domain::{StorageError, Timestamp, one_line};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::error::ApiError;
use super::extract::LoneUserPath;
use super::import::NDJSON;
use super::schemas::LoneUserParameter;
use crate::socket::objects::{json, message_json};
use crate::socket::reply::Failure;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(export_user))
}

/// A line of an export, besides those with messages.
#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Line<'a> {
    User {
        name: &'a str,
        last_seen_at: Option<String>,
    },
    Member {
        room_id: u64,
        role: &'static str,
        notify: &'static str,
        joined_at: String,
    },
    Ban {
        room_id: u64,
        until: Option<String>,
        reason: Option<&'a str>,
    },
    Mute {
        room_id: u64,
        until: Option<String>,
        reason: Option<&'a str>,
    },
    SlowModeTurn {
        room_id: u64,
        due_at: String,
    },
    ReadPointer {
        room_id: u64,
        seq: u64,
    },
    Reaction {
        room_id: u64,
        seq: u64,
        key: &'a str,
        created_at: String,
    },
    Mention {
        room_id: u64,
        seq: u64,
    },
    Change {
        room_id: u64,
        seq: u64,
        rev: u64,
        change: &'static str,
    },
    Revocation {
        issued_before: Option<String>,
        changed_at: String,
    },
    Disconnection {
        changed_at: String,
    },
    Erasure {
        messages: &'static str,
        requested_at: String,
    },
    End {
        lines: u64,
    },
}

/// Export a user.
///
/// Everything that is stored about the user, as newline-delimited JSON: objects that state their
/// `type`. The last one is `{ "type": "end", "lines": … }`, with the number of lines before it; an
/// answer without it is not complete.
#[utoipa::path(
    get,
    path = "/users/{userId}/export",
    operation_id = "exportUser",
    tag = "Users",
    params(LoneUserParameter),
    responses((
        status = 200,
        description = "The lines of the export.",
        body = String,
        content_type = "application/x-ndjson",
    )),
)]
async fn export_user(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
) -> Result<Response, ApiError> {
    let mut export = shared.gateway.export_user.begin(user_id);
    // A storage that is away is noticed before an answer begins.
    let first = export.next().await.map_err(|error| failure(&error))?;
    let first = first.unwrap_or_default();
    let mut lines = 0;
    let begun = encode(&first, &mut lines);
    let state = Some((export, lines, Some(begun)));
    let pages = stream::try_unfold(state, async |state| {
        let Some((mut export, mut lines, begun)) = state else {
            return Ok(None);
        };
        if let Some(begun) = begun {
            return Ok(Some((begun, Some((export, lines, None)))));
        }
        match next_page(&mut export, &mut lines).await {
            Ok(Some(page)) => Ok(Some((page, Some((export, lines, None))))),
            Ok(None) => {
                let mut end = String::new();
                push(&mut end, &Line::End { lines });
                Ok(Some((Bytes::from(end), None)))
            }
            Err(error) => {
                tracing::warn!(error = %one_line(&error), "an export was broken off");
                Err(error)
            }
        }
    });
    let mut response = answer::encoded(StatusCode::OK, Bytes::new());
    *response.body_mut() = Body::from_stream(pages);
    let ndjson = HeaderValue::from_static(NDJSON);
    response.headers_mut().insert(CONTENT_TYPE, ndjson);
    Ok(response)
}

fn failure(error: &StorageError) -> ApiError {
    Failure::not_read(error, "the user cannot be exported now").into()
}

/// Reads and encodes pages until there is something to send.
async fn next_page(
    export: &mut UserExport,
    lines: &mut u64,
) -> Result<Option<Bytes>, StorageError> {
    while let Some(page) = export.next().await? {
        if !page.is_empty() {
            return Ok(Some(encode(&page, lines)));
        }
    }
    Ok(None)
}

fn encode(page: &[Exported], lines: &mut u64) -> Bytes {
    let mut text = String::new();
    for exported in page {
        match exported {
            Exported::Record(record) => push(&mut text, &Line::of(record)),
            Exported::Message(message) => {
                text.push_str(r#"{"type":"message","message":"#);
                text.push_str(&message_json(message));
                text.push_str("}\n");
            }
        }
        *lines += 1;
    }
    text.into()
}

fn push(text: &mut String, line: &Line<'_>) {
    text.push_str(&json(line));
    text.push('\n');
}

impl<'a> Line<'a> {
    fn of(record: &'a UserRecordData) -> Self {
        let text = |at: &Option<Timestamp>| at.map(|at| at.to_string());
        match record {
            UserRecordData::User { name, last_seen } => Self::User {
                name: name.as_str(),
                last_seen_at: text(last_seen),
            },
            UserRecordData::Member {
                room_id,
                role,
                notify,
                joined_at,
            } => Self::Member {
                room_id: room_id.get(),
                role: role.as_str(),
                notify: notify.as_str(),
                joined_at: joined_at.to_string(),
            },
            UserRecordData::Ban {
                room_id,
                until,
                reason,
            } => Self::Ban {
                room_id: room_id.get(),
                until: text(until),
                reason: reason.as_ref().map(|reason| reason.as_str()),
            },
            UserRecordData::Mute {
                room_id,
                until,
                reason,
            } => Self::Mute {
                room_id: room_id.get(),
                until: text(until),
                reason: reason.as_ref().map(|reason| reason.as_str()),
            },
            UserRecordData::SlowModeTurn { room_id, due_at } => Self::SlowModeTurn {
                room_id: room_id.get(),
                due_at: due_at.to_string(),
            },
            UserRecordData::ReadPointer { room_id, seq } => Self::ReadPointer {
                room_id: room_id.get(),
                seq: seq.get(),
            },
            UserRecordData::Reaction {
                room_id,
                seq,
                key,
                created_at,
            } => Self::Reaction {
                room_id: room_id.get(),
                seq: seq.get(),
                key: key.as_str(),
                created_at: created_at.to_string(),
            },
            UserRecordData::Mention { room_id, seq } => Self::Mention {
                room_id: room_id.get(),
                seq: seq.get(),
            },
            UserRecordData::Change {
                room_id,
                seq,
                rev,
                kind,
            } => Self::Change {
                room_id: room_id.get(),
                seq: seq.get(),
                rev: rev.get(),
                change: kind.as_str(),
            },
            UserRecordData::Revocation {
                issued_before,
                changed_at,
            } => Self::Revocation {
                issued_before: text(issued_before),
                changed_at: changed_at.to_string(),
            },
            UserRecordData::Disconnection { changed_at } => Self::Disconnection {
                changed_at: changed_at.to_string(),
            },
            UserRecordData::Erasure {
                messages,
                requested_at,
            } => Self::Erasure {
                messages: messages.as_str(),
                requested_at: requested_at.to_string(),
            },
        }
    }
}
