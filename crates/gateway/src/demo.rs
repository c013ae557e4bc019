//! The demo page's users, their tokens, and the rooms they begin with.

use std::sync::Arc;

use chat_domain::ports::SettingsPatch;
use chat_domain::use_cases::{Actor, ChangeRules, RulesChange, RulesRequest};
use chat_domain::{BoxError, DisplayName, Role, RoomId, RoomKind, RoomName, User, UserId};

/// The demo page. Every browser that can load it can write as its users.
#[derive(Clone)]
pub struct Demo {
    /// Mints a token for one of the page's users.
    pub mint: Arc<MintToken>,
}

/// Mints a token that the gateway accepts for this user.
pub type MintToken = dyn Fn(&User) -> Result<String, BoxError> + Send + Sync;

/// The ids and names of the demo's users.
const USERS: [(&str, &str); 4] = [("1", "Ada"), ("2", "Grace"), ("3", "Alan"), ("4", "Edsger")];

/// The rooms of the demo. The last user is not a member of the private one.
const ROOMS: [DemoRoom; 2] = [
    DemoRoom {
        id: 1,
        name: "Lobby",
        kind: RoomKind::Open,
        members: &[
            ("1", Role::Owner),
            ("2", Role::Moderator),
            ("3", Role::Member),
            ("4", Role::Member),
        ],
    },
    DemoRoom {
        id: 2,
        name: "Engine room",
        kind: RoomKind::Private,
        members: &[
            ("1", Role::Owner),
            ("2", Role::Moderator),
            ("3", Role::Member),
        ],
    },
];

struct DemoRoom {
    id: u64,
    name: &'static str,
    kind: RoomKind,
    members: &'static [(&'static str, Role)],
}

/// Returns the demo's users.
pub(crate) fn demo_users() -> Vec<User> {
    USERS
        .into_iter()
        .filter_map(|(id, name)| {
            Some(User {
                id: UserId::new(id).ok()?,
                name: DisplayName::from_text(name),
            })
        })
        .collect()
}

/// Creates the demo's rooms, with their members.
///
/// # Errors
/// The database cannot be written.
pub(crate) async fn create_demo_rooms(change_rules: &ChangeRules) -> Result<(), BoxError> {
    for room in &ROOMS {
        let settings = RulesRequest::Settings(SettingsPatch {
            kind: Some(room.kind),
            name: Some(RoomName::new(room.name)?),
            ..SettingsPatch::default()
        });
        let mut requests = vec![settings];
        for (user, role) in room.members {
            requests.push(RulesRequest::User {
                user_id: UserId::new(*user)?,
                change: RulesChange::Role(*role),
            });
        }
        for request in &requests {
            change_rules
                .execute(Actor::Product, RoomId::new(room.id)?, request)
                .await?;
        }
    }
    Ok(())
}
