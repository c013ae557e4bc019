//! Converts what is stored about changes to messages. Both databases store it alike, except for
//! times.

use chat_domain::ports::{ChangesPage, MadeChange, MessageChangeError, ReadLimit};
use chat_domain::{
    ChangeKind, ChangedMessage, Content, DisplayName, Message, MessageChanges, MessageEdit,
    ReactionCount, ReactionKey, Rev, StorageError, Timestamp, User, UserId,
};

use crate::page::{self, ReadOf};
use crate::stored_extras;
use crate::stored_rules;

/// The user id of the author of an erased message.
#[cfg(feature = "sqlite")]
pub(crate) const DELETED_USER: &str = "deleted";

/// What has become of a message.
pub(crate) struct ChangesColumns {
    pub(crate) rev: i64,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) deleted_at: Option<Timestamp>,
    pub(crate) erased_at: Option<Timestamp>,
    pub(crate) reactions: Option<String>,
}

/// The latest change of a message.
pub(crate) struct LatestColumns {
    pub(crate) previous: i64,
    pub(crate) kind: String,
    pub(crate) changed_by: Option<String>,
}

pub(crate) fn rev(number: i64) -> Result<Rev, StorageError> {
    Rev::new(number.unsigned_abs())
        .ok_or_else(|| StorageError::corrupt(format!("{number} is not a valid rev")))
}

/// Converts what has become of a message.
pub(crate) fn changes(columns: ChangesColumns) -> Result<Box<MessageChanges>, StorageError> {
    Ok(Box::new(MessageChanges {
        rev: rev(columns.rev)?,
        edited_at: columns.edited_at,
        deleted_at: columns.deleted_at,
        erased_at: columns.erased_at,
        reactions: columns
            .reactions
            .as_deref()
            .map_or(Ok(Vec::new()), reactions)?,
    }))
}

fn reactions(json: &str) -> Result<Vec<ReactionCount>, StorageError> {
    let counts: Vec<(String, i64)> = serde_json::from_str(json).map_err(StorageError::corrupt)?;
    let counts = counts.into_iter().map(|(key, count)| {
        Ok(ReactionCount {
            key: ReactionKey::new(key).map_err(StorageError::corrupt)?,
            count: stored_rules::count(count)?,
        })
    });
    counts.collect()
}

/// Converts the text of a message. That of a deleted one is empty, whatever the column holds; no
/// other text is.
pub(crate) fn content(
    text: String,
    changes: Option<&ChangesColumns>,
) -> Result<Content, StorageError> {
    let is_deleted = |c: &ChangesColumns| c.deleted_at.is_some() || c.erased_at.is_some();
    match changes.is_some_and(is_deleted) {
        true => Ok(Content::deleted()),
        false => Content::new(text).map_err(StorageError::corrupt),
    }
}

/// Converts the author of a message. An author that is not stored has its id as its name; so has
/// that of an erased message, even if a user has this id.
pub(crate) fn author(
    id: String,
    name: Option<String>,
    changes: Option<&ChangesColumns>,
) -> Result<User, StorageError> {
    let is_erased = changes.is_some_and(|changes| changes.erased_at.is_some());
    let name = name.filter(|_| !is_erased);
    user(id, name.as_deref())
}

/// Converts a user. One whose name is not stored has its id as its name.
pub(crate) fn user(id: String, name: Option<&str>) -> Result<User, StorageError> {
    Ok(User {
        name: DisplayName::from_text(name.unwrap_or(&id)),
        id: UserId::new(id).map_err(StorageError::corrupt)?,
    })
}

/// Joins a message and its latest change.
pub(crate) fn changed_message(
    message: Message,
    latest: LatestColumns,
) -> Result<ChangedMessage, StorageError> {
    let kind = &latest.kind;
    Ok(ChangedMessage {
        message,
        kind: ChangeKind::from_name(kind)
            .ok_or_else(|| StorageError::corrupt(format!("{kind:?} is not a valid change")))?,
        by: latest
            .changed_by
            .map(UserId::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
        previous: rev(latest.previous)?,
    })
}

/// Builds the page of the messages that changed after each other. Takes at most one message more
/// than the page contains.
pub(crate) fn page(
    newest: i64,
    read: ReadOf,
    messages: impl IntoIterator<Item = Result<ChangedMessage, StorageError>>,
    limit: ReadLimit,
) -> Result<ChangesPage, StorageError> {
    let size = |changed: &ChangedMessage| stored_extras::size_of(&changed.message);
    let (messages, has_more) = page::cut(messages, size, limit)?;
    Ok(ChangesPage {
        messages,
        has_more,
        newest: rev(newest)?,
        generation: read.generation,
    })
}

/// Returns how a message changes by this.
pub(crate) fn kind(edit: &MessageEdit) -> ChangeKind {
    match edit {
        MessageEdit::Edit(_) => ChangeKind::Edited,
        MessageEdit::Delete => ChangeKind::Deleted,
        MessageEdit::React { .. } => ChangeKind::Reactions,
        MessageEdit::Erase => ChangeKind::Erased,
    }
}

/// Outcomes of a change, as the function `change_message` returns them on PostgreSQL.
pub(crate) const CHANGED: &str = "changed";
pub(crate) const UNCHANGED: &str = "unchanged";
pub(crate) const RULES_CHANGED: &str = "rules_changed";
pub(crate) const NOT_FOUND: &str = "not_found";
pub(crate) const MESSAGE_DELETED: &str = "message_deleted";
pub(crate) const TOO_MANY_REACTIONS: &str = "too_many_reactions";

/// Converts the outcome of a change, and the message in its newest state.
pub(crate) fn made(
    outcome: &str,
    message: Option<Result<Message, StorageError>>,
) -> Result<MadeChange, MessageChangeError> {
    let is_new = is_new(outcome)?;
    // What is stored cannot be shown, but the change is made.
    let message = message.ok_or_else(|| StorageError::corrupt("a change has no message"))?;
    Ok(MadeChange {
        message: message?,
        is_new,
    })
}

/// Returns whether a call with this outcome changed the message, or why it was refused.
fn is_new(outcome: &str) -> Result<bool, MessageChangeError> {
    match outcome {
        CHANGED => Ok(true),
        UNCHANGED => Ok(false),
        RULES_CHANGED => Err(MessageChangeError::RulesChanged),
        NOT_FOUND => Err(MessageChangeError::NotFound),
        MESSAGE_DELETED => Err(MessageChangeError::Deleted),
        TOO_MANY_REACTIONS => Err(MessageChangeError::TooManyReactions),
        other => {
            let reason = format!("{other:?} is not an outcome of a change");
            Err(StorageError::corrupt(reason).into())
        }
    }
}

/// Cuts what was read to a limit: one row more, if there is one.
pub(crate) fn up_to<T>(mut rows: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    (rows, has_more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(reactions: &str) -> ChangesColumns {
        ChangesColumns {
            rev: 1,
            edited_at: None,
            deleted_at: None,
            erased_at: None,
            reactions: Some(reactions.to_owned()),
        }
    }

    #[test]
    fn reactions_that_are_not_valid_are_corrupt() {
        let valid = changes(columns(r#"[["👍", 2], ["a\"b", 1]]"#)).unwrap();
        let keys: Vec<_> = valid.reactions.iter().map(|r| r.key.as_str()).collect();
        assert_eq!(keys, ["👍", "a\"b"]);
        for json in [
            "",
            "{}",
            "[1]",
            r#"[["a b", 1]]"#,
            r#"[["a"]]"#,
            r#"[["a", -1]]"#,
        ] {
            let outcome = changes(columns(json));
            assert!(matches!(outcome, Err(StorageError::Corrupt(_))), "{json}");
        }
        for number in [i64::MAX, i64::MIN] {
            assert!(matches!(rev(number), Err(StorageError::Corrupt(_))));
        }
    }

    #[test]
    fn only_a_deleted_message_has_no_text() {
        let none = content(String::new(), Some(&columns("[]")));
        assert!(matches!(none, Err(StorageError::Corrupt(_))));
        assert!(matches!(
            content(String::new(), None),
            Err(StorageError::Corrupt(_))
        ));
        let deleted = ChangesColumns {
            deleted_at: Some(Timestamp::from_unix_millis(0)),
            ..columns("[]")
        };
        for text in ["", "left behind"] {
            let content = content(text.to_owned(), Some(&deleted)).unwrap();
            assert_eq!(content, Content::deleted());
        }
    }
}
