//! The schemas of what requests contain. Those of what is answered are beside the objects.

mod users;

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

pub(super) use self::users::*;

/// The number of a room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what the router extracts")]
pub(super) struct RoomParameter {
    /// The room's number.
    #[param(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
}

/// A user in a room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what the router extracts")]
pub(super) struct UserParameters {
    /// The room's number.
    #[param(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
    /// The user's id: the `sub` of its tokens, at most 255 bytes.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "42"
    )]
    user_id: String,
}

/// A page of rooms.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct RoomsParameters {
    /// The `next` of the previous page; absent for the first page.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991u64
    )]
    after: Option<u64>,
    /// The maximum number of rooms.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 200,
        default = 50
    )]
    limit: Option<u32>,
}

/// A page of users.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct UsersParameters {
    /// The `next` of the previous page; absent for the first page.
    #[param(
        required = false,
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$"
    )]
    after: Option<String>,
    /// The maximum number of users.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 200,
        default = 50
    )]
    limit: Option<u32>,
}

/// A page of messages.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct MessagesParameters {
    /// Only messages with smaller numbers: the newest of them. Excludes `afterSeq`.
    #[param(
        required = false,
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991u64
    )]
    before_seq: Option<u64>,
    /// Only messages with larger numbers: the oldest of them. 0: from the beginning.
    #[param(
        required = false,
        nullable = false,
        minimum = 0,
        maximum = 9007199254740991u64
    )]
    after_seq: Option<u64>,
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

/// New settings of a room. Those that are absent or null keep their values.
#[derive(ToSchema)]
#[schema(as = RoomSettings, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct RoomSettingsBody {
    kind: Option<Kind>,
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "Support"
    )]
    name: Option<String>,
    /// Whether only moderators and owners may write.
    frozen: Option<bool>,
    /// The pause between two messages of a user, in seconds; 0 for none.
    #[schema(maximum = 86400, example = 0)]
    slow_mode_seconds: Option<u32>,
    /// A JSON object of at most 4096 bytes, which is returned as it was sent.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// A member's role, and its name if it is known.
#[derive(ToSchema)]
#[schema(as = MemberSettings, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct MemberBody {
    role: RoleName,
    /// The user's name from now on. Absent or null: the latest that is known.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "Ada"
    )]
    name: Option<String>,
}

/// Members to be added, or whose roles are to be changed.
#[derive(ToSchema)]
#[schema(as = NewMembers, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct MembersBody {
    /// Each user once.
    #[schema(min_items = 1, max_items = 1000)]
    members: Vec<NewMemberBody>,
}

/// A member to be added, or whose role is to be changed.
#[derive(ToSchema)]
#[schema(as = NewMember, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct NewMemberBody {
    user_id: UserIdBody,
    role: RoleName,
    /// The user's name from now on. Absent or null: the latest that is known.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "Ada"
    )]
    name: Option<String>,
}

/// The id of a user: the `sub` of its tokens, of at most 255 bytes; also as an integer.
pub(super) struct UserIdBody;

impl PartialSchema for UserIdBody {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::String, Type::Integer]))
            .description(Some(
                "The user's id: the `sub` of its tokens, at most 255 bytes; also as an integer.",
            ))
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some(r"^[^\u0000]*$"))
            .minimum(Some(i64::MIN))
            .maximum(Some(u64::MAX))
            .examples([serde_json::json!("42")])
            .build()
            .into()
    }
}

impl ToSchema for UserIdBody {
    fn name() -> Cow<'static, str> {
        "UserId".into()
    }
}

/// How long a ban or a mute lasts, and why it is imposed.
#[derive(ToSchema)]
#[schema(as = Sanction, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct SanctionBody {
    /// Absent or null: until it is lifted.
    #[schema(minimum = 1, maximum = 315360000, example = 3600)]
    seconds: Option<u32>,
    /// Only the product's backend sees it.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\u0000]*$",
        example = "spam"
    )]
    reason: Option<String>,
}

/// A message, which a user sends.
#[derive(ToSchema)]
#[schema(as = NewMessage, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
pub(super) struct MessageBody {
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
    /// Makes the request idempotent. Unique per user and room.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_.:-]+$",
        example = "c0ffee-1"
    )]
    client_message_id: Option<String>,
    /// The number of an earlier message in the room, to which this one replies.
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

/// Which users may join a room: all, or its members only.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what is parsed by name")]
pub(crate) enum Kind {
    Open,
    Private,
}

/// What a member may do.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what is parsed by name")]
pub(crate) enum RoleName {
    Reader,
    Member,
    Moderator,
    Owner,
}
