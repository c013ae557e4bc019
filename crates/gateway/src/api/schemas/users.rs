//! The schemas of requests about users, and of what is answered to them.

use utoipa::{IntoParams, ToSchema};

use super::{Kind, RoleName};
use crate::socket::objects::WireMessage;

/// The id of a user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what the router extracts")]
pub(in crate::api) struct LoneUserParameter {
    /// The user's id: the `sub` of its tokens, at most 255 bytes.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "42"
    )]
    user_id: String,
}

/// A page of an inbox.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(in crate::api) struct InboxParameters {
    /// The `next` of the previous page; absent for the first page.
    #[param(
        required = false,
        nullable = false,
        pattern = "^(0|[1-9][0-9]{0,18})-[1-9][0-9]{0,14}$",
        example = "1769860800000000-7"
    )]
    after: Option<String>,
    /// The maximum number of rooms. A page has at most 100, also if the limit is larger.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 200,
        default = 50
    )]
    limit: Option<u32>,
}

/// The rooms in which a user has membership, those with the newest activity first.
#[derive(ToSchema)]
#[schema(as = Inbox, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is encoded room by room")]
pub(in crate::api) struct InboxPage {
    rooms: Vec<SummaryObject>,
    /// The `after` of the next page; absent if there is none.
    #[schema(nullable = false)]
    next: Option<String>,
    /// The number of unread messages in all rooms of the user, in this page or not.
    unread_total: u64,
}

/// A room as one of its members sees it.
#[derive(ToSchema)]
#[schema(as = Summary, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is encoded in parts")]
pub(in crate::api) struct SummaryObject {
    #[schema(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
    kind: Kind,
    #[schema(required, min_length = 1, max_length = 255, example = "Support")]
    name: Option<String>,
    /// A JSON object that only the product understands, as it was given.
    #[schema(value_type = Object)]
    metadata: (),
    role: RoleName,
    notify: NotifyName,
    /// The number of the room's newest message; 0 if it has none.
    #[schema(maximum = 9007199254740991u64)]
    seq: u64,
    /// The number of the room's newest change of a message; 0 if none has changed.
    rev: u64,
    /// How far the user has read.
    #[schema(maximum = 9007199254740991u64)]
    read_seq: u64,
    unread: u64,
    /// How many of the unread messages mention the user, counted up to 1000.
    #[schema(maximum = 1000)]
    mentions: u64,
    /// Absent if the room has no message.
    #[schema(nullable = false)]
    last_message: Option<WireMessage<'static>>,
}

/// About which messages of a room a member wants to be notified.
#[derive(ToSchema)]
#[schema(as = Notify, rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what is written by name")]
pub(in crate::api) enum NotifyName {
    All,
    Mentions,
    None,
}

/// How much a user has not read.
#[derive(ToSchema, serde::Serialize)]
#[schema(as = Unread)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct UnreadObject {
    /// The number of unread messages in all rooms in which the user has membership.
    pub(in crate::api) unread_total: u64,
}

/// Which tokens to revoke.
#[derive(ToSchema)]
#[schema(as = RevocationRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(in crate::api) struct RevocationBody {
    /// Tokens that were issued before this are revoked, and those that do not state when they were
    /// issued. A time between 1970 and now; absent or null: now.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    issued_before: Option<String>,
}

/// Which tokens are revoked.
#[derive(ToSchema, serde::Serialize)]
#[schema(as = Revocation)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct RevocationObject {
    /// Tokens that were issued before this are revoked, and those that do not state when they were
    /// issued. It is later than requested if more was revoked already.
    #[schema(required, nullable = false, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    pub(in crate::api) issued_before: Option<String>,
}
