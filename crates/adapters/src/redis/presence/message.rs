//! The presence messages that nodes exchange: typed, versioned JSON.
//!
//! To all nodes, on the channel `{prefix}presence`:
//!
//! ```json
//! {"v":1,"node":"3f…","changes":{"number":5,"came":["42"],"went":[["43",1769860800500],["44",null]]}}
//! {"v":1,"node":"3f…","snapshot":{"number":5,"part":0,"parts":1,"users":["42"]}}
//! {"v":1,"node":"3f…","wanted":{"of":"77…"}}
//! {"v":1,"node":"3f…","question":{"id":7,"room":1}}
//! ```
//!
//! To the node that has asked, on `{prefix}presence:{node}`:
//!
//! ```json
//! {"v":1,"node":"77…","answer":{"id":7,"users":[["42","Ada"]],"others":[17,18]}}
//! ```
//!
//! Times are in milliseconds since 1970. A receiver ignores keys that it does not know, and counts
//! as invalid what it cannot interpret.

use std::borrow::Cow;

use chat_domain::ports::{NodeName, PresenceNews};
use chat_domain::{DisplayName, RoomId, Timestamp, User, UserId};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// One of its fields is set, besides the version and the node.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Message<'a> {
    v: u32,
    #[serde(borrow)]
    pub(super) node: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    changes: Option<Changes<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    wanted: Option<Wanted<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<Question>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Changes<'a> {
    number: u64,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    came: Vec<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    went: Vec<(Text<'a>, Option<i64>)>,
}

#[derive(Serialize, Deserialize)]
struct Snapshot<'a> {
    number: u64,
    part: u32,
    parts: u32,
    #[serde(borrow)]
    users: Vec<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Wanted<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    of: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Question {
    id: u64,
    room: u64,
}

#[derive(Serialize, Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    users: Vec<(Text<'a>, Text<'a>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<u64>,
}

/// A text that is borrowed where JSON allows it, also in a list.
#[derive(Serialize, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Text<'a> {
    fn of(user_id: &'a UserId) -> Self {
        Self(user_id.as_str().into())
    }

    fn user_id(self) -> Option<UserId> {
        UserId::new(self.0).ok()
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(node: &'a str, news: &'a PresenceNews) -> Self {
        let message = Self {
            v: VERSION,
            node: node.into(),
            ..Self::default()
        };
        match news {
            PresenceNews::Changes { number, came, went } => Self {
                changes: Some(Changes {
                    number: *number,
                    came: came.iter().map(Text::of).collect(),
                    went: went
                        .iter()
                        .map(|(user_id, at)| (Text::of(user_id), at.map(Timestamp::unix_millis)))
                        .collect(),
                }),
                ..message
            },
            PresenceNews::Snapshot {
                number,
                part,
                parts,
                users,
            } => Self {
                snapshot: Some(Snapshot {
                    number: *number,
                    part: *part,
                    parts: *parts,
                    users: users.iter().map(Text::of).collect(),
                }),
                ..message
            },
            PresenceNews::Wanted { of } => Self {
                wanted: Some(Wanted {
                    of: of.as_ref().map(|of| Text(of.as_str().into())),
                }),
                ..message
            },
            PresenceNews::Question { id, room_id } => Self {
                question: Some(Question {
                    id: *id,
                    room: room_id.get(),
                }),
                ..message
            },
            PresenceNews::Answer {
                id, users, others, ..
            } => Self {
                answer: Some(Answer {
                    id: *id,
                    users: users
                        .iter()
                        .map(|user| (Text::of(&user.id), Text(user.name.as_str().into())))
                        .collect(),
                    others: others.clone(),
                }),
                ..message
            },
        }
    }

    /// Returns the news; `None` if they cannot be interpreted.
    pub(super) fn news(self, own: &str) -> Option<PresenceNews> {
        match self {
            Self {
                v: VERSION,
                changes: Some(changes),
                snapshot: None,
                wanted: None,
                question: None,
                answer: None,
                ..
            } => {
                let went = changes
                    .went
                    .into_iter()
                    .map(|(user, at)| Some((user.user_id()?, at.map(Timestamp::from_unix_millis))));
                Some(PresenceNews::Changes {
                    number: changes.number,
                    came: ids(changes.came)?,
                    went: went.collect::<Option<_>>()?,
                })
            }
            Self {
                v: VERSION,
                changes: None,
                snapshot: Some(snapshot),
                wanted: None,
                question: None,
                answer: None,
                ..
            } => Some(PresenceNews::Snapshot {
                number: snapshot.number,
                part: snapshot.part,
                parts: snapshot.parts,
                users: ids(snapshot.users)?,
            }),
            Self {
                v: VERSION,
                changes: None,
                snapshot: None,
                wanted: Some(Wanted { of }),
                question: None,
                answer: None,
                ..
            } => Some(PresenceNews::Wanted {
                of: of.map(|of| NodeName::new(&*of.0)),
            }),
            Self {
                v: VERSION,
                changes: None,
                snapshot: None,
                wanted: None,
                question: Some(Question { id, room }),
                answer: None,
                ..
            } => Some(PresenceNews::Question {
                id,
                room_id: RoomId::new(room).ok()?,
            }),
            Self {
                v: VERSION,
                changes: None,
                snapshot: None,
                wanted: None,
                question: None,
                answer: Some(answer),
                ..
            } => {
                let users = answer.users.into_iter().map(|(id, name)| {
                    Some(User {
                        id: id.user_id()?,
                        name: DisplayName::from_text(&name.0),
                    })
                });
                Some(PresenceNews::Answer {
                    to: NodeName::new(own),
                    id: answer.id,
                    users: users.collect::<Option<_>>()?,
                    others: answer.others,
                })
            }
            _ => None,
        }
    }
}

fn ids(texts: Vec<Text<'_>>) -> Option<Vec<UserId>> {
    texts.into_iter().map(Text::user_id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    fn parse(json: &str) -> Option<PresenceNews> {
        let message: Message<'_> = serde_json::from_str(json).ok()?;
        message.news("a")
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let at = Timestamp::from_unix_millis(1_769_860_800_500);
        let changes = PresenceNews::Changes {
            number: 5,
            came: vec![id("4\"2")],
            went: vec![(id("43"), Some(at)), (id("44"), None)],
        };
        let snapshot = PresenceNews::Snapshot {
            number: 5,
            part: 0,
            parts: 1,
            users: vec![id("42")],
        };
        let alive = PresenceNews::Changes {
            number: 5,
            came: vec![],
            went: vec![],
        };
        let answer = PresenceNews::Answer {
            to: NodeName::new("a"),
            id: 7,
            users: vec![User {
                id: id("42"),
                name: DisplayName::from_text("Ada"),
            }],
            others: vec![17, u64::MAX],
        };
        let question = PresenceNews::Question {
            id: 7,
            room_id: RoomId::new(1).unwrap(),
        };
        let wanted = |of: Option<&str>| PresenceNews::Wanted {
            of: of.map(NodeName::new),
        };
        for (news, json) in [
            (
                changes,
                r#""changes":{"number":5,"came":["4\"2"],"went":[["43",1769860800500],["44",null]]}"#,
            ),
            (alive, r#""changes":{"number":5}"#),
            (
                snapshot,
                r#""snapshot":{"number":5,"part":0,"parts":1,"users":["42"]}"#,
            ),
            (wanted(Some("77")), r#""wanted":{"of":"77"}"#),
            (wanted(None), r#""wanted":{}"#),
            (question, r#""question":{"id":7,"room":1}"#),
            (
                answer,
                r#""answer":{"id":7,"users":[["42","Ada"]],"others":[17,18446744073709551615]}"#,
            ),
        ] {
            let json = format!(r#"{{"v":1,"node":"b",{json}}}"#);
            let written = serde_json::to_string(&Message::new("b", &news)).unwrap();
            assert_eq!(written, json);
            assert_eq!(parse(&json), Some(news.clone()));
            let later = json.replace(r#""node""#, r#""later":[1],"node""#);
            assert_eq!(parse(&later), Some(news));
        }
    }

    #[test]
    fn what_cannot_be_interpreted_is_invalid() {
        for json in [
            r#"{"v":2,"node":"b","wanted":{}}"#,
            r#"{"v":1,"wanted":{}}"#,
            r#"{"v":1,"node":"b"}"#,
            r#"{"v":1,"node":"b","later":{}}"#,
            r#"{"v":1,"node":"b","wanted":{},"changes":{"number":1}}"#,
            r#"{"v":1,"node":"b","changes":{"number":1,"came":[""]}}"#,
            r#"{"v":1,"node":"b","changes":{"number":1,"went":[["",1]]}}"#,
            r#"{"v":1,"node":"b","changes":{"number":-1}}"#,
            r#"{"v":1,"node":"b","question":{"id":7,"room":0}}"#,
            r#"{"v":1,"node":"b","answer":{"id":7,"users":[["","Ada"]]}}"#,
        ] {
            assert_eq!(parse(json), None, "{json}");
        }
    }
}
