//! The fields of payloads.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use chat_domain::ports::{InboxPosition, SettingsPatch};
use chat_domain::use_cases::{InboxLimit, PageLimit, PageStart};
use chat_domain::{
    ClientMessageId, Content, DisplayName, MAX_NUMBER, Metadata, NewMember, Notify, Reason, Role,
    RoomId, RoomKind, RoomName, Sanction, Seq, Timestamp, UserId,
};
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

use super::super::objects::position_of;
use super::{Malformed, Text, Token, malformed, malformed_field, metadata};

mod changes;
mod extras;
mod signals;

/// Ten years, in seconds. For longer, a client leaves the time out.
const MAX_SECONDS: u64 = 315_360_000;
/// A day, in seconds.
const MAX_SLOW_MODE_SECONDS: u64 = 86_400;

/// How many members one request of the server API adds.
const MAX_NEW_MEMBERS: usize = 1000;

/// The fields of a payload that the contract defines, as they were sent.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    room_id: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    client_message_id: Option<&'a RawValue>,
    after_seq: Option<&'a RawValue>,
    before_seq: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
    limit: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    role: Option<&'a RawValue>,
    seconds: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    frozen: Option<&'a RawValue>,
    slow_mode_seconds: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
    notify: Option<&'a RawValue>,
    issued_before: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    members: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    on: Option<&'a RawValue>,
    after_rev: Option<&'a RawValue>,
    reply_to: Option<&'a RawValue>,
    mentions: Option<&'a RawValue>,
    typing: Option<&'a RawValue>,
    user_ids: Option<&'a RawValue>,
    pub(super) has_duplicates: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn read(payload: &'a RawValue) -> Result<Self, Malformed> {
        serde_json::Deserializer::from_str(payload.get())
            .deserialize_map(FieldsVisitor)
            .map_err(|_| malformed("the payload must be an object"))
    }

    /// Reads an object without duplicate keys.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn read_unique(object: &'a RawValue) -> Result<Self, Malformed> {
        let fields = serde_json::Deserializer::from_str(object.get())
            .deserialize_map(FieldsVisitor)
            .map_err(|_| malformed("must be a JSON object"))?;
        match fields.has_duplicates {
            true => Err(malformed("contains a duplicate key")),
            false => Ok(fields),
        }
    }

    /// Returns `roomId`.
    pub(crate) fn room_id(&self) -> Result<RoomId, Malformed> {
        let room_id = required("roomId", self.room_id)?;
        let number = integer(room_id.get()).and_then(|number| RoomId::new(number).ok());
        number.ok_or_else(|| out_of_range("roomId", &(1..=MAX_NUMBER)))
    }

    /// Returns `afterSeq`.
    pub(crate) fn after_seq(&self) -> Result<Option<Seq>, Malformed> {
        position("afterSeq", self.after_seq, 0)
    }

    /// Returns `seq`.
    pub(crate) fn seq(&self) -> Result<Seq, Malformed> {
        let seq = required("seq", self.seq)?;
        let seq = position("seq", Some(seq), 1)?;
        Ok(seq.unwrap_or_default())
    }

    /// Returns where a page starts.
    pub(crate) fn page_start(&self) -> Result<PageStart, Malformed> {
        let before = position("beforeSeq", self.before_seq, 1)?;
        let after = self.after_seq()?;
        match (before, after) {
            (None, None) => Ok(PageStart::Newest),
            (Some(before), None) => Ok(PageStart::Before(before)),
            (None, Some(after)) => Ok(PageStart::After(after)),
            (Some(_), Some(_)) => Err(malformed("beforeSeq and afterSeq are mutually exclusive")),
        }
    }

    /// Returns `limit`.
    pub(crate) fn limit(&self) -> Result<PageLimit, Malformed> {
        let limit = integer_in("limit", self.limit, 1..=PageLimit::MAX as u64)?;
        let limit = limit.and_then(|limit| PageLimit::new(limit as usize));
        Ok(limit.unwrap_or_default())
    }

    /// Returns `content`.
    pub(crate) fn content(&self) -> Result<Content, Malformed> {
        let content = required("content", self.content)?;
        Content::new(text("content", content)?)
            .map_err(|error| malformed_field("content", error.to_string()))
    }

    /// Returns `token`. One that is not a string is an invalid token, as in the handshake.
    pub(crate) fn token(&self) -> Result<Token, Malformed> {
        let token = required("token", self.token)?;
        let token = serde_json::from_str(token.get());
        token.map(Token).map_err(|_| Malformed::Token)
    }

    /// Returns `clientMessageId`.
    pub(crate) fn client_message_id(&self) -> Result<Option<ClientMessageId>, Malformed> {
        let Some(field) = present(self.client_message_id) else {
            return Ok(None);
        };
        let text: String = serde_json::from_str(field.get())
            .map_err(|_| malformed_field("clientMessageId", "must be a string"))?;
        match ClientMessageId::new(text) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(malformed_field("clientMessageId", error.to_string())),
        }
    }

    /// Returns `userId`: like the `sub` of a token, a string or an integer.
    pub(crate) fn user_id(&self) -> Result<UserId, Malformed> {
        user(required("userId", self.user_id)?).map_err(|what| malformed_field("userId", what))
    }

    /// Returns `after`, the user after whom a page of members starts.
    pub(crate) fn after(&self) -> Result<Option<UserId>, Malformed> {
        let Some(after) = present(self.after) else {
            return Ok(None);
        };
        match UserId::new(text("after", after)?) {
            Ok(after) => Ok(Some(after)),
            Err(error) => Err(malformed_field("after", error.to_string())),
        }
    }

    /// Returns `after`, the place after which a page of an inbox starts.
    pub(crate) fn after_room(&self) -> Result<Option<InboxPosition>, Malformed> {
        let Some(after) = present(self.after) else {
            return Ok(None);
        };
        match name(after).and_then(|next| position_of(&next)) {
            Some(after) => Ok(Some(after)),
            None => Err(malformed("after must be the next of a page")),
        }
    }

    /// Returns the `limit` of a page of an inbox.
    pub(crate) fn inbox_limit(&self) -> Result<InboxLimit, Malformed> {
        let limit = integer_in("limit", self.limit, 1..=InboxLimit::MAX as u64)?;
        let limit = limit.and_then(|limit| InboxLimit::new(limit as usize));
        Ok(limit.unwrap_or_default())
    }

    /// Returns `createdAt`.
    pub(crate) fn created_at(&self) -> Result<Timestamp, Malformed> {
        const NAME: &str = "createdAt";
        let field = required(NAME, self.created_at)?;
        text(NAME, field)?
            .parse()
            .map_err(|_| malformed_field(NAME, "must be an RFC 3339 time"))
    }

    /// Returns `issuedBefore`.
    pub(crate) fn issued_before(&self) -> Result<Option<Timestamp>, Malformed> {
        const NAME: &str = "issuedBefore";
        let Some(field) = present(self.issued_before) else {
            return Ok(None);
        };
        match text(NAME, field)?.parse() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(malformed_field(NAME, "must be a time as in createdAt")),
        }
    }

    /// Returns `notify`.
    pub(crate) fn notify(&self) -> Result<Notify, Malformed> {
        let notify = required("notify", self.notify)?;
        let notify = name(notify).and_then(|name| Notify::from_name(&name));
        notify.ok_or_else(|| malformed("notify must be all, mentions or none"))
    }

    /// Returns `role`.
    pub(crate) fn role(&self) -> Result<Role, Malformed> {
        let role = required("role", self.role)?;
        let role = name(role).and_then(|name| Role::from_name(&name));
        role.ok_or_else(|| malformed_field("role", "must be reader, member, moderator or owner"))
    }

    /// Returns `seconds`.
    pub(crate) fn seconds(&self) -> Result<Option<u32>, Malformed> {
        let seconds = integer_in("seconds", self.seconds, 1..=MAX_SECONDS)?;
        Ok(seconds.map(|seconds| seconds as u32))
    }

    /// Returns the ban or mute that a client imposes: one without a reason.
    pub(crate) fn lasting(&self) -> Result<Sanction, Malformed> {
        Ok(Sanction::lasting(self.seconds()?))
    }

    /// Returns the ban or mute that the product imposes.
    pub(crate) fn sanction(&self) -> Result<Sanction, Malformed> {
        let reason = present(self.reason).map(|reason| {
            let reason = Reason::new(text("reason", reason)?);
            reason.map_err(|error| malformed_field("reason", error.to_string()))
        });
        Ok(Sanction {
            seconds: self.seconds()?,
            reason: reason.transpose()?,
        })
    }

    /// Returns `name`, a user's.
    pub(crate) fn display_name(&self) -> Result<Option<DisplayName>, Malformed> {
        let Some(name) = present(self.name) else {
            return Ok(None);
        };
        match DisplayName::new(&text("name", name)?) {
            Ok(name) => Ok(Some(name)),
            Err(error) => Err(malformed_field("name", error.to_string())),
        }
    }

    /// Returns `members`, in ascending order of their ids, each once.
    pub(crate) fn members(&self) -> Result<Vec<NewMember>, Malformed> {
        const NAME: &str = "members";
        let wrong = || {
            let most = MAX_NEW_MEMBERS;
            malformed_field(NAME, format!("must be an array of 1 to {most} objects"))
        };
        let members = required(NAME, self.members)?;
        let members: Vec<&RawValue> = serde_json::from_str(members.get()).map_err(|_| wrong())?;
        if !(1..=MAX_NEW_MEMBERS).contains(&members.len()) {
            return Err(wrong());
        }
        let members = members.into_iter().enumerate().map(|(place, member)| {
            let member = Fields::read_unique(member).and_then(|fields| fields.new_member());
            member.map_err(|error| malformed_field(NAME, format!("[{place}]: {error}")))
        });
        let mut members = members.collect::<Result<Vec<NewMember>, Malformed>>()?;
        members.sort_unstable_by(|one, other| one.user_id.cmp(&other.user_id));
        match members
            .windows(2)
            .any(|pair| pair[0].user_id == pair[1].user_id)
        {
            true => Err(malformed_field(NAME, "contains a user twice")),
            false => Ok(members),
        }
    }

    fn new_member(&self) -> Result<NewMember, Malformed> {
        Ok(NewMember {
            user_id: self.user_id()?,
            role: self.role()?,
            name: self.display_name()?,
        })
    }

    /// Returns the settings that a room is to have.
    pub(crate) fn settings(&self) -> Result<SettingsPatch, Malformed> {
        Ok(SettingsPatch {
            name: self.name()?,
            kind: self.kind()?,
            frozen: self.frozen()?,
            slow_mode_seconds: self.slow_mode_seconds()?,
            metadata: self.metadata()?,
        })
    }

    fn name(&self) -> Result<Option<RoomName>, Malformed> {
        let Some(name) = present(self.name) else {
            return Ok(None);
        };
        match RoomName::new(text("name", name)?) {
            Ok(name) => Ok(Some(name)),
            Err(error) => Err(malformed_field("name", error.to_string())),
        }
    }

    fn kind(&self) -> Result<Option<RoomKind>, Malformed> {
        let Some(kind) = present(self.kind) else {
            return Ok(None);
        };
        match name(kind).and_then(|name| RoomKind::from_name(&name)) {
            Some(kind) => Ok(Some(kind)),
            None => Err(malformed_field("kind", "must be open or private")),
        }
    }

    fn frozen(&self) -> Result<Option<bool>, Malformed> {
        match present(self.frozen).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(malformed_field("frozen", "must be true or false")),
        }
    }

    fn slow_mode_seconds(&self) -> Result<Option<u32>, Malformed> {
        const NAME: &str = "slowModeSeconds";
        let seconds = integer_in(NAME, self.slow_mode_seconds, 0..=MAX_SLOW_MODE_SECONDS)?;
        Ok(seconds.map(|seconds| seconds as u32))
    }

    fn metadata(&self) -> Result<Option<Metadata>, Malformed> {
        match present(self.metadata) {
            None => Ok(None),
            Some(json) => metadata::parse(json).map(Some),
        }
    }
}

/// Leaves out `null`, which counts as absent.
fn present(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|value| value.get() != "null")
}

fn required<'a>(
    name: &'static str,
    field: Option<&'a RawValue>,
) -> Result<&'a RawValue, Malformed> {
    present(field).ok_or_else(|| malformed_field(name, "is missing"))
}

/// Returns a user's id: like the `sub` of a token, a string or an integer.
///
/// # Errors
/// States what is wrong with it.
fn user(field: &RawValue) -> Result<UserId, Cow<'static, str>> {
    let text = serde_json::from_str::<String>(field.get()).ok();
    let text = text.or_else(|| {
        let number = serde_json::from_str::<Number>(field.get()).ok()?;
        (!number.is_f64()).then(|| number.to_string())
    });
    match text.map(UserId::new) {
        Some(Ok(user_id)) => Ok(user_id),
        Some(Err(error)) => Err(error.to_string().into()),
        None => Err("must be a string or an integer".into()),
    }
}

fn text(name: &'static str, field: &RawValue) -> Result<String, Malformed> {
    serde_json::from_str(field.get())
        .map_err(|_| malformed_field(name, "must be a string of Unicode text"))
}

/// Returns a name out of a fixed set, if the field is a string.
fn name(field: &RawValue) -> Option<String> {
    serde_json::from_str(field.get()).ok()
}

/// Returns a position of at least `least`.
fn position(
    name: &'static str,
    field: Option<&RawValue>,
    least: u64,
) -> Result<Option<Seq>, Malformed> {
    let number = integer_in(name, field, least..=MAX_NUMBER)?;
    Ok(number.and_then(|number| Seq::new(number).ok()))
}

fn integer_in(
    name: &'static str,
    field: Option<&RawValue>,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Malformed> {
    let Some(field) = present(field) else {
        return Ok(None);
    };
    match integer(field.get()).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(out_of_range(name, &range)),
    }
}

fn out_of_range(name: &'static str, range: &RangeInclusive<u64>) -> Malformed {
    let (least, most) = (range.start(), range.end());
    malformed_field(name, format!("must be an integer from {least} to {most}"))
}

/// Returns a JSON number's value if it is a non-negative integer: `1`, and also `1.0` and
/// `1e0`, which are the same number in JSON.
fn integer(json: &str) -> Option<u64> {
    if let Ok(number) = serde_json::from_str::<u64>(json) {
        return Some(number);
    }
    let number = serde_json::from_str::<f64>(json).ok()?;
    let exact = number.fract() == 0.0 && (0.0..=MAX_NUMBER as f64).contains(&number);
    exact.then_some(number as u64)
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut unknown = HashSet::new();
        while let Some(Text(key)) = map.next_key()? {
            let field = match &*key {
                "roomId" => &mut fields.room_id,
                "content" => &mut fields.content,
                "clientMessageId" => &mut fields.client_message_id,
                "afterSeq" => &mut fields.after_seq,
                "beforeSeq" => &mut fields.before_seq,
                "seq" => &mut fields.seq,
                "limit" => &mut fields.limit,
                "token" => &mut fields.token,
                "userId" => &mut fields.user_id,
                "role" => &mut fields.role,
                "seconds" => &mut fields.seconds,
                "name" => &mut fields.name,
                "kind" => &mut fields.kind,
                "frozen" => &mut fields.frozen,
                "slowModeSeconds" => &mut fields.slow_mode_seconds,
                "metadata" => &mut fields.metadata,
                "after" => &mut fields.after,
                "notify" => &mut fields.notify,
                "issuedBefore" => &mut fields.issued_before,
                "createdAt" => &mut fields.created_at,
                "reason" => &mut fields.reason,
                "members" => &mut fields.members,
                "key" => &mut fields.key,
                "on" => &mut fields.on,
                "afterRev" => &mut fields.after_rev,
                "replyTo" => &mut fields.reply_to,
                "mentions" => &mut fields.mentions,
                "typing" => &mut fields.typing,
                "userIds" => &mut fields.user_ids,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    fields.has_duplicates |= !unknown.insert(key);
                    continue;
                }
            };
            fields.has_duplicates |= field.replace(map.next_value()?).is_some();
        }
        Ok(fields)
    }
}
