//! The objects of rooms with rules.

use chat_domain::ports::{Changed, MemberPage, RoomSettings, SanctionedUser};
use chat_domain::use_cases::RoomView;
use chat_domain::{Member, Reason, RoomId, RoomName, RoomRules, Until, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::WireUser;
use crate::api::schemas::{Kind, RoleName};

/// `mutedUntil` of a mute that lasts until it is lifted.
const FOREVER: &str = "9999-12-31T23:59:59.999Z";

/// A room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Room)]
pub(crate) struct RoomObject<'a> {
    #[schema(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
    #[schema(value_type = Kind)]
    kind: &'static str,
    #[schema(required, min_length = 1, max_length = 255, example = "Support")]
    name: Option<&'a str>,
    /// Whether only moderators and owners may write.
    frozen: bool,
    /// The pause between two messages of a user, in seconds; 0 for none.
    #[schema(maximum = 86400)]
    slow_mode_seconds: u32,
    /// A JSON object that only the product understands, as it was given.
    #[schema(value_type = Object)]
    metadata: &'a RawValue,
    /// When the room got its first setting or member; null if it has only messages.
    #[schema(required, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    created_at: Option<String>,
    member_count: u64,
}

impl<'a> RoomObject<'a> {
    /// Describes a room as a user sees it.
    pub(crate) fn of_view(room_id: RoomId, view: &'a RoomView) -> Self {
        Self::new(room_id, view.rules, view.settings.as_ref())
    }

    /// Describes a room with these settings.
    pub(crate) fn of_settings(room_id: RoomId, settings: &'a RoomSettings) -> Self {
        Self::new(room_id, settings.rules, Some(settings))
    }

    fn new(room_id: RoomId, rules: RoomRules, settings: Option<&'a RoomSettings>) -> Self {
        let metadata = settings.map_or("{}", |settings| settings.metadata.as_str());
        Self {
            room_id: room_id.get(),
            kind: rules.kind.as_str(),
            name: settings.and_then(|settings| settings.name.as_ref().map(RoomName::as_str)),
            frozen: rules.frozen,
            slow_mode_seconds: rules.slow_mode_seconds,
            // What another program has stored instead of JSON must not break the packet.
            metadata: serde_json::from_str(metadata).unwrap_or(RawValue::NULL),
            created_at: settings.map(|settings| settings.created_at.to_string()),
            member_count: settings.map_or(0, |settings| settings.member_count),
        }
    }
}

/// The acknowledgement of `setRoom` and `getRoom`.
#[derive(Serialize)]
pub(crate) struct RoomAck<'a> {
    room: RoomObject<'a>,
}

impl<'a> RoomAck<'a> {
    pub(crate) fn new(room: RoomObject<'a>) -> Self {
        Self { room }
    }
}

/// `roomChanged`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomChanged<'a> {
    room_id: u64,
    room: RoomObject<'a>,
}

impl<'a> RoomChanged<'a> {
    pub(crate) fn new(room_id: RoomId, settings: &'a RoomSettings) -> Self {
        Self {
            room_id: room_id.get(),
            room: RoomObject::of_settings(room_id, settings),
        }
    }
}

/// A member of a room.
// To clients, also a user without membership, whose `role` is `null`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(crate) struct MemberObject<'a> {
    #[schema(min_length = 1, max_length = 255, example = "42")]
    user_id: &'a str,
    user: WireUser<'a>,
    #[schema(value_type = RoleName)]
    role: Option<&'static str>,
    /// Present while the member is muted; in the year 9999 if until the mute is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    muted_until: Option<String>,
    /// Since when the user has membership.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, nullable = false, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    joined_at: Option<String>,
}

impl<'a> MemberObject<'a> {
    /// Describes the user that a change concerns.
    pub(crate) fn of_change(user_id: &'a UserId, changed: &'a Changed) -> Self {
        match &changed.member {
            Some(member) => Self::of_member(member),
            None => Self::absent(user_id),
        }
    }

    /// Describes a member.
    pub(crate) fn of_member(member: &'a Member) -> Self {
        Self {
            user_id: member.user.id.as_str(),
            user: WireUser {
                id: member.user.id.as_str(),
                name: member.user.name.as_str(),
            },
            role: Some(member.role.as_str()),
            muted_until: member.muted.map(until_text),
            joined_at: Some(member.joined_at.to_string()),
        }
    }

    /// Describes a user without membership, whose name is not read: its id stands for it.
    pub(crate) fn absent(user_id: &'a UserId) -> Self {
        let id = user_id.as_str();
        Self {
            user_id: id,
            user: WireUser { id, name: id },
            role: None,
            muted_until: None,
            joined_at: None,
        }
    }
}

/// Writes an end that may be absent as one far in the future.
fn until_text(until: Until) -> String {
    match until {
        Until::Time(until) => until.to_string(),
        Until::Lifted => FOREVER.to_owned(),
    }
}

/// A user that a room has banned or muted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SanctionedUser)]
pub(crate) struct SanctionedObject<'a> {
    #[schema(min_length = 1, max_length = 255, example = "42")]
    user_id: &'a str,
    user: WireUser<'a>,
    /// Until when; in the year 9999 if until it is lifted.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    until: String,
    /// Present if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500, example = "spam")]
    reason: Option<&'a str>,
}

impl<'a> SanctionedObject<'a> {
    pub(crate) fn new(sanctioned: &'a SanctionedUser) -> Self {
        let user = &sanctioned.user;
        Self {
            user_id: user.id.as_str(),
            user: WireUser {
                id: user.id.as_str(),
                name: user.name.as_str(),
            },
            until: until_text(sanctioned.until),
            reason: sanctioned.reason.as_ref().map(Reason::as_str),
        }
    }
}

/// The acknowledgement of the events that change where a user stands.
#[derive(Serialize)]
pub(crate) struct MemberAck<'a> {
    member: MemberObject<'a>,
}

impl<'a> MemberAck<'a> {
    pub(crate) fn new(member: MemberObject<'a>) -> Self {
        Self { member }
    }
}

/// `memberChanged`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberChanged<'a> {
    room_id: u64,
    member: MemberObject<'a>,
    by: Option<&'a str>,
}

impl<'a> MemberChanged<'a> {
    /// Describes a change that this user has made, or else the product.
    pub(crate) fn new(room_id: RoomId, member: MemberObject<'a>, by: Option<&'a UserId>) -> Self {
        Self {
            room_id: room_id.get(),
            member,
            by: by.map(UserId::as_str),
        }
    }
}

/// The acknowledgement of `listMembers`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MembersAck<'a> {
    members: Vec<MemberObject<'a>>,
    has_more: bool,
}

impl<'a> MembersAck<'a> {
    pub(crate) fn new(page: &'a MemberPage) -> Self {
        Self {
            members: page.members.iter().map(MemberObject::of_member).collect(),
            has_more: page.has_more,
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{
        DisplayName, Generation, Metadata, Role, RoomKind, RulesNumber, Timestamp, User,
    };
    use serde_json::{Value, json};

    use super::super::LeftRoom;
    use super::*;
    use crate::socket::packet::{Parts, parts};
    use crate::socket::reply::Request;

    fn room() -> RoomId {
        RoomId::new(7).unwrap()
    }

    fn value(object: &impl Serialize) -> Value {
        serde_json::from_str(&super::super::json(object)).unwrap()
    }

    fn settings(metadata: &str) -> RoomSettings {
        RoomSettings {
            rules: RoomRules {
                kind: RoomKind::Private,
                frozen: true,
                slow_mode_seconds: 30,
            },
            name: RoomName::new("Support").ok(),
            metadata: Metadata::new(metadata).unwrap(),
            created_at: Timestamp::from_unix_millis(1_769_860_800_000),
            member_count: 3,
        }
    }

    fn changed(member: Option<Member>) -> Changed {
        Changed {
            rules: RulesNumber::new(4),
            generation: Generation::FIRST,
            settings: settings("{}"),
            member,
            has_changed: true,
        }
    }

    fn ada(muted: Option<Until>) -> Member {
        Member {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            role: Role::Moderator,
            muted,
            joined_at: Timestamp::from_unix_millis(1_769_860_800_000),
        }
    }

    #[test]
    fn a_room_has_its_settings_and_metadata_as_it_was_sent() {
        let settings = settings(r#"{ "b": 1.0, "a": [] }"#);
        let described = RoomChanged::new(room(), &settings);
        let object = json!({
            "roomId": 7, "kind": "private", "name": "Support", "frozen": true,
            "slowModeSeconds": 30, "metadata": { "b": 1.0, "a": [] },
            "createdAt": "2026-01-31T12:00:00.000Z", "memberCount": 3
        });
        assert_eq!(value(&described), json!({ "roomId": 7, "room": object }));
        let request = Request {
            ack: Some(1),
            ..Request::default()
        };
        let room = RoomObject::of_settings(room(), &settings);
        let packet = request.success(&RoomAck::new(room)).unwrap();
        let Parts::Ack(1, text) = parts(&packet) else {
            panic!("this is not the acknowledgement");
        };
        assert!(
            text.contains(r#""metadata":{ "b": 1.0, "a": [] }"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            json!({ "ok": true, "room": object })
        );
    }

    #[test]
    fn a_room_that_never_had_rules_has_no_name_and_no_members() {
        let view = RoomView {
            rules: chat_domain::Permit::OPEN.rules,
            settings: None,
        };
        assert_eq!(
            value(&RoomObject::of_view(room(), &view)),
            json!({
                "roomId": 7, "kind": "open", "name": null, "frozen": false,
                "slowModeSeconds": 0, "metadata": {}, "createdAt": null, "memberCount": 0
            })
        );
    }

    #[test]
    fn metadata_that_is_not_json_breaks_no_packet() {
        let described = value(&RoomObject::of_settings(room(), &settings("{")));
        assert_eq!(described["metadata"], Value::Null);
    }

    #[test]
    fn a_member_has_a_role_and_may_be_muted() {
        let user_id = UserId::new("42").unwrap();
        let object = json!({
            "userId": "42", "user": { "id": "42", "name": "Ada" }, "role": "moderator",
            "joinedAt": "2026-01-31T12:00:00.000Z"
        });
        for (muted, until) in [
            (None, None),
            (Some(Until::Lifted), Some("9999-12-31T23:59:59.999Z")),
            (
                Some(Until::Time(Timestamp::from_unix_millis(1_769_860_800_000))),
                Some("2026-01-31T12:00:00.000Z"),
            ),
        ] {
            let mut expected = object.clone();
            if let Some(until) = until {
                expected["mutedUntil"] = until.into();
            }
            let changed = changed(Some(ada(muted)));
            let member = MemberObject::of_change(&user_id, &changed);
            assert_eq!(
                value(&MemberAck::new(member)),
                json!({ "member": expected })
            );
        }
        let page = MemberPage {
            members: vec![ada(None)],
            has_more: true,
        };
        assert_eq!(
            value(&MembersAck::new(&page)),
            json!({ "members": [object], "hasMore": true })
        );
    }

    #[test]
    fn a_user_without_membership_has_no_role() {
        let (user_id, by) = (UserId::new("43").unwrap(), UserId::new("42").unwrap());
        let changed = changed(None);
        let object = json!({ "userId": "43", "user": { "id": "43", "name": "43" }, "role": null });
        for (by, name) in [(Some(&by), json!("42")), (None, Value::Null)] {
            let member = MemberObject::of_change(&user_id, &changed);
            assert_eq!(
                value(&MemberChanged::new(room(), member, by)),
                json!({ "roomId": 7, "member": object, "by": name })
            );
        }
    }

    #[test]
    fn an_excluded_client_learns_the_reason() {
        for (left, reason) in [
            (LeftRoom::removed(room()), "removed"),
            (LeftRoom::banned(room()), "banned"),
        ] {
            assert_eq!(value(&left), json!({ "roomId": 7, "reason": reason }));
        }
    }
}
