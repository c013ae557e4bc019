//! The import of messages: a body of any length, which is read only as fast as its lines are stored.

mod lines;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chat_domain::use_cases::{
    ImportError, ImportMessages, ImportedMessage, RevokeTokens, RoomImport,
};
use chat_domain::{RoomId, Timestamp};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::lines::{Line, Lines};
use super::Shared;
use super::answer;
use super::description::Conflict;
use super::error::ApiError;
use super::extract::RoomPath;
use super::schemas::{RoomParameter, UserIdBody};
use crate::gateway::Gateway;
use crate::limits::{BODY_DEADLINE, IMPORT_REST_DEADLINE};
use crate::socket::protocol::Fields;
use crate::socket::reply::Failure;

/// Newline-delimited JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(import_messages))
}

/// A line of an import.
#[derive(ToSchema)]
#[schema(as = ImportedMessage, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
struct ImportLine {
    user_id: UserIdBody,
    /// The user's name from now on. Absent or null: the latest that is known.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "Ada"
    )]
    name: Option<String>,
    /// Not only white space, and without NUL.
    #[schema(
        min_length = 1,
        max_length = 4000,
        pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
        example = "hello"
    )]
    content: String,
    /// When the message was written: a time between 1970 and now.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    created_at: String,
    /// By which a repeat is recognized. Unique per user and room.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_.:-]+$",
        example = "c0ffee-1"
    )]
    client_message_id: Option<String>,
    /// The number of an earlier message in the room, to which this one replies. Into an empty room,
    /// the messages of an import get the numbers 1, 2, 3 ….
    #[schema(minimum = 1, maximum = 9007199254740991u64, example = 41)]
    reply_to: Option<u64>,
    /// The users whom the message mentions. Duplicates are collapsed.
    #[schema(max_items = 50)]
    mentions: Option<Vec<UserIdBody>>,
    /// A JSON object that only the product understands, of at most 2048 bytes without whitespace
    /// and at most 50 levels, without duplicate keys.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Import)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportObject {
    /// How many messages are stored now.
    stored: u64,
    /// How many had been stored before.
    repeated: u64,
    /// How many lines are done, blank ones included. Those after them are not: an import that failed
    /// is resumed with the next line.
    lines: u64,
}

/// Import messages.
///
/// The body is newline-delimited JSON of any length: one message per line, in their order, each
/// of at most 64 KiB. They are ordinary messages: numbered after those of the room, and received by
/// connections in it. They keep their times. An error names the line, and states as well how many
/// lines are done: those before it are stored. Lines with a `clientMessageId` can be repeated.
#[utoipa::path(
    post,
    path = "/rooms/{roomId}/import",
    operation_id = "importMessages",
    tag = "Messages",
    params(RoomParameter),
    request_body(content = ImportLine, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "All lines are done.", body = ImportObject),
        (status = 409, response = Conflict),
    ),
)]
async fn import_messages(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    request: Request,
) -> Result<Response, ApiError> {
    if !is_ndjson(request.headers()) {
        return Err(ApiError::not_ndjson());
    }
    let Ok(_permit) = shared.imports.try_acquire() else {
        return Err(ApiError::unavailable("this node has enough imports to do"));
    };
    let gateway = &shared.gateway;
    let mut importing = Importing::new(gateway, room_id);
    let mut body = request.into_body();
    let outcome = importing.run(&mut body).await;
    let progress = importing.progress();
    Ok(match outcome {
        Ok(()) => answer::json(StatusCode::OK, &progress),
        Err(error) => {
            // Most clients read no answer before they have sent everything.
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            tokio::select! {
                _ = timeout(IMPORT_REST_DEADLINE, rest) => {}
                () = gateway.draining.cancelled() => {}
            }
            error.with_progress(progress).into_response()
        }
    })
}

/// Returns whether a body is declared as NDJSON, with whatever parameters.
fn is_ndjson(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok());
    let essence = declared.and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(NDJSON))
}

/// An import in progress.
struct Importing<'a> {
    gateway: &'a Gateway,
    target: RoomImport,
    lines: Lines,
    batch: Vec<ImportedMessage>,
    batch_bytes: usize,
    /// The number of the line of each message of the batch.
    places: Vec<u64>,
    /// How many messages were stored or repeated before the batch.
    before: u64,
    done: u64,
}

impl<'a> Importing<'a> {
    fn new(gateway: &'a Gateway, room_id: RoomId) -> Self {
        Self {
            gateway,
            target: gateway.import_messages.begin(room_id),
            lines: Lines::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            places: Vec::new(),
            before: 0,
            done: 0,
        }
    }

    fn progress(&self) -> ImportObject {
        ImportObject {
            stored: self.target.stored(),
            repeated: self.target.repeated(),
            lines: self.done,
        }
    }

    /// Stores the lines of a body, up to the first that cannot be stored.
    async fn run(&mut self, body: &mut Body) -> Result<(), ApiError> {
        let refused = loop {
            match self.read(body).await {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        // What precedes a line that is wrong, or the end of what has arrived.
        self.store().await?;
        if refused.is_none() {
            self.done = self.lines.count();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Reads on, and stores what fills a batch. Returns `false` at the end of the body.
    async fn read(&mut self, body: &mut Body) -> Result<bool, ApiError> {
        let frame = tokio::select! {
            frame = timeout(BODY_DEADLINE, body.frame()) => frame,
            () = self.gateway.draining.cancelled() => return Err(ApiError::draining()),
        };
        let is_last = match frame {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.lines.push(&data);
                }
                false
            }
            Ok(None) => {
                self.lines.end();
                true
            }
            Ok(Some(Err(_))) | Err(_) => return Err(ApiError::body_incomplete()),
        };
        while let Some(line) = self.lines.next() {
            self.add(&line)?;
            if self.batch.len() >= ImportMessages::BATCH
                || self.batch_bytes >= ImportMessages::BATCH_BYTES
            {
                self.store().await?;
                if self.gateway.draining.is_cancelled() {
                    return Err(ApiError::draining());
                }
            }
        }
        Ok(!is_last)
    }

    fn add(&mut self, line: &Line) -> Result<(), ApiError> {
        let parsed = line.text().and_then(|text| match text.trim() {
            "" => Ok(None),
            text => parse(text, self.gateway.clock.now()).map(Some),
        });
        if let Some(message) = parsed.map_err(|error| error.in_line(line.number))? {
            let extras = message.extras.as_ref().map_or(0, |extras| extras.size());
            self.batch_bytes += message.content.as_str().len() + extras;
            self.batch.push(message);
            self.places.push(line.number);
        }
        Ok(())
    }

    /// Stores the batch.
    async fn store(&mut self) -> Result<(), ApiError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let places = std::mem::take(&mut self.places);
        let outcome = self.target.store(batch).await;
        let done = self.target.stored() + self.target.repeated() - self.before;
        self.before += done;
        let done = usize::try_from(done).unwrap_or(usize::MAX);
        if let Some(last) = done.checked_sub(1).and_then(|last| places.get(last)) {
            self.done = *last;
        }
        outcome.map_err(|error| {
            let error = ApiError::from(error);
            match places.get(done) {
                Some(line) => error.in_line(*line),
                None => error,
            }
        })
    }
}

fn parse(text: &str, now: Timestamp) -> Result<ImportedMessage, ApiError> {
    let object = serde_json::from_str(text);
    let object = object.map_err(|_| ApiError::invalid("it must be a JSON object"))?;
    let fields =
        Fields::read_unique(object).map_err(|error| ApiError::invalid(format!("it {error}")))?;
    let created_at = fields.created_at()?;
    let ahead = created_at.unix_millis().saturating_sub(now.unix_millis());
    if created_at.unix_millis() < 0
        || i128::from(ahead) > RevokeTokens::MAX_AHEAD.as_millis() as i128
    {
        return Err(ApiError::field("createdAt", "must be between 1970 and now"));
    }
    Ok(ImportedMessage {
        user_id: fields.user_id()?,
        name: fields.display_name()?,
        content: fields.content()?,
        extras: fields.extras()?,
        client_message_id: fields.client_message_id()?,
        created_at,
    })
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Closed | ImportError::Conflict => {
                Failure::conflict(error.to_string()).into()
            }
            ImportError::UnknownReplyTo => Self::field(
                "replyTo",
                "must be the seq of an earlier message in the room",
            ),
            ImportError::Storage(storage) => {
                Failure::not_read(storage, "the line was not stored").into()
            }
        }
    }
}
