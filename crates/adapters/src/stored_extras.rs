//! Converts what messages carry besides their text. Both databases store it alike: as one JSON
//! object in the form of the wire, with `replyTo`, `mentions` and `metadata` in this order, without
//! spaces, and without those that are absent.
//!
//! Exactly one text stands for each value. What the database counts of a page is therefore what
//! [`size_of`] counts, and any other text is corrupt.

use std::borrow::Cow;

use chat_domain::{Message, MessageExtras, MessageMetadata, Seq, StorageError, UserId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::stored_changes::ChangesColumns;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Columns<'a> {
    reply_to: Option<u64>,
    #[serde(borrow, default)]
    mentions: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

pub(crate) fn encode(extras: &MessageExtras) -> String {
    let mut json = String::new();
    let mut field = |name: &str, value: &str| {
        json.push(if json.is_empty() { '{' } else { ',' });
        json.push_str(name);
        json.push_str(value);
    };
    if let Some(seq) = extras.reply_to {
        field(r#""replyTo":"#, &seq.get().to_string());
    }
    if !extras.mentions.is_empty() {
        let users: Vec<&str> = extras.mentions.iter().map(UserId::as_str).collect();
        field(r#""mentions":"#, &Value::from(users).to_string());
    }
    if let Some(metadata) = &extras.metadata {
        field(r#""metadata":"#, metadata.as_str());
    }
    json.push('}');
    json
}

/// Converts what a message carries. Of a deleted one, only the message to which it replies remains,
/// and of an erased one nothing, whatever the column holds.
pub(crate) fn of(
    json: Option<String>,
    changes: Option<&ChangesColumns>,
) -> Result<Option<Box<MessageExtras>>, StorageError> {
    let extras = json.as_deref().map(decode).transpose()?;
    Ok(match (extras, changes) {
        (Some(_), Some(changes)) if changes.erased_at.is_some() => None,
        (Some(extras), Some(changes)) if changes.deleted_at.is_some() => MessageExtras {
            reply_to: extras.reply_to,
            ..MessageExtras::default()
        }
        .boxed(),
        (extras, _) => extras.map(Box::new),
    })
}

fn decode(json: &str) -> Result<MessageExtras, StorageError> {
    let columns: Columns<'_> = serde_json::from_str(json).map_err(StorageError::corrupt)?;
    let reply_to = columns.reply_to.map(Seq::new).transpose();
    let mentions = columns.mentions.into_iter().map(UserId::new);
    let metadata = columns.metadata.map(|json| match json.get() {
        object if object.starts_with('{') => {
            MessageMetadata::new(object).map_err(StorageError::corrupt)
        }
        _ => Err(StorageError::corrupt("metadata is not an object")),
    });
    let extras = MessageExtras {
        reply_to: reply_to.map_err(StorageError::corrupt)?,
        mentions: mentions
            .collect::<Result<_, _>>()
            .map_err(StorageError::corrupt)?,
        metadata: metadata.transpose()?,
    };
    match !extras.is_empty() && encode(&extras) == json {
        true => Ok(extras),
        false => Err(StorageError::corrupt("the extras are not as stored")),
    }
}

/// Removes the mention of a user from what a message carries.
pub(crate) fn without_mention(json: &str, user_id: &str) -> Result<Option<String>, StorageError> {
    let mut extras = decode(json)?;
    extras.mentions.retain(|id| id.as_str() != user_id);
    Ok(extras.boxed().map(|extras| encode(&extras)))
}

/// Returns how many bytes of a page a message takes: those of its text and its extras.
pub(crate) fn size_of(message: &Message) -> usize {
    let extras = message.extras.as_deref();
    message.content.as_str().len() + extras.map_or(0, |extras| encode(extras).len())
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;

    fn extras(reply_to: Option<u64>, mentions: &[&str], metadata: Option<&str>) -> MessageExtras {
        MessageExtras {
            reply_to: reply_to.map(|seq| Seq::new(seq).unwrap()),
            mentions: mentions
                .iter()
                .map(|id| UserId::new(*id).unwrap())
                .collect(),
            metadata: metadata.map(|json| MessageMetadata::new(json).unwrap()),
        }
    }

    #[test]
    fn each_value_is_one_text() {
        for (extras, json) in [
            (extras(Some(5), &[], None), r#"{"replyTo":5}"#),
            (
                extras(None, &["7", "a\"b\u{1}é"], None),
                "{\"mentions\":[\"7\",\"a\\\"b\\u0001é\"]}",
            ),
            (
                extras(None, &[], Some(r#"{"a":"\u0000"}"#)),
                r#"{"metadata":{"a":"\u0000"}}"#,
            ),
            (
                extras(Some(9_007_199_254_740_991), &["7"], Some("{}")),
                r#"{"replyTo":9007199254740991,"mentions":["7"],"metadata":{}}"#,
            ),
        ] {
            assert_eq!(encode(&extras), json);
            assert_eq!(decode(json).unwrap(), extras, "{json}");
        }
    }

    #[test]
    fn any_other_text_is_corrupt() {
        for json in [
            "",
            "{}",
            "null",
            "[]",
            r#"{"replyTo": 5}"#,
            r#"{"replyTo":5.0}"#,
            r#"{"replyTo":9007199254740992}"#,
            r#"{"mentions":[]}"#,
            r#"{"mentions":[""]}"#,
            r#"{"mentions":[7]}"#,
            r#"{"mentions":["\u0037"]}"#,
            r#"{"metadata":[]}"#,
            r#"{"metadata":{}"#,
            r#"{"metadata":{},"replyTo":5}"#,
            r#"{"replyTo":5,"other":1}"#,
        ] {
            let outcome = decode(json);
            assert!(matches!(outcome, Err(StorageError::Corrupt(_))), "{json}");
        }
    }

    #[test]
    fn a_deleted_message_keeps_only_to_which_it_replies() {
        let json = r#"{"replyTo":5,"mentions":["7"],"metadata":{}}"#;
        let columns = |deleted_at, erased_at| ChangesColumns {
            rev: 1,
            edited_at: None,
            deleted_at,
            erased_at,
            reactions: None,
        };
        let at = Some(Timestamp::from_unix_millis(0));
        let of = |json: &str, columns| of(Some(json.to_owned()), Some(&columns)).unwrap();
        let all = Some(Box::new(extras(Some(5), &["7"], Some("{}"))));
        assert_eq!(of(json, columns(None, None)), all);
        let reply = Some(Box::new(extras(Some(5), &[], None)));
        assert_eq!(of(json, columns(at, None)), reply);
        assert_eq!(of(r#"{"mentions":["7"]}"#, columns(at, None)), None);
        assert_eq!(of(json, columns(None, at)), None);
    }
}
