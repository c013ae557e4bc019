//! What has become of messages, and who has reacted to them.

use chat_domain::ports::ReactingUsers;
use chat_domain::{MessageChanges, ReactionKey, User};
use serde::Serialize;
use utoipa::ToSchema;

use super::WireUser;

/// The reactions to a message with one key.
#[derive(Serialize, ToSchema)]
#[schema(as = Reaction)]
pub(crate) struct WireReaction<'a> {
    #[schema(min_length = 1, max_length = 32, example = "👍")]
    key: &'a str,
    /// How many users have set it.
    #[schema(minimum = 1, example = 3)]
    count: u64,
    /// Present in pages that serve one user, if it is among those who have set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mine: Option<bool>,
}

impl<'a> WireReaction<'a> {
    /// Describes the reactions to a message to a user who has set these.
    pub(super) fn all(changes: &'a MessageChanges, own: &[ReactionKey]) -> Vec<Self> {
        let reactions = changes.reactions.iter().map(|reaction| Self {
            key: reaction.key.as_str(),
            count: reaction.count,
            mine: own.contains(&reaction.key).then_some(true),
        });
        reactions.collect()
    }
}

/// The acknowledgement of `listReactions`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReactionsAck<'a> {
    users: Vec<WireUser<'a>>,
    has_more: bool,
}

impl<'a> ReactionsAck<'a> {
    pub(crate) fn new(found: &'a ReactingUsers) -> Self {
        Self {
            users: found.users.iter().map(wire_user).collect(),
            has_more: found.has_more,
        }
    }
}

fn wire_user(user: &User) -> WireUser<'_> {
    WireUser {
        id: user.id.as_str(),
        name: user.name.as_str(),
    }
}
