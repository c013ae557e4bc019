//! A room as a list of messages.

use std::collections::BTreeSet;

use chat_domain::ports::MessageChangeError;
use chat_domain::{ChangeKind, MessageEdit, ReactionKey};

use crate::change_repository::{edit, react};

pub(crate) const USERS: [&str; 4] = ["1", "2", "3", "deleted"];
pub(crate) const KEYS: [&str; 3] = ["+", "-", "👍"];
const TEXTS: [&str; 3] = ["a", "b", "c"];

/// A small generator (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

#[derive(Debug)]
pub(crate) enum Step {
    Append {
        author: String,
        text: String,
        id: Option<String>,
    },
    Change {
        position: u64,
        edit: MessageEdit,
        by: Option<String>,
    },
}

/// What a reader sees of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) position: u64,
    pub(crate) author: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) id: Option<String>,
    pub(crate) rev: u64,
    pub(crate) is_edited: bool,
    pub(crate) is_deleted: bool,
    pub(crate) is_erased: bool,
    pub(crate) reactions: Vec<(String, u64)>,
}

#[derive(Default)]
struct Stored {
    shown: Shown,
    /// In the order in which the keys were first set.
    reactions: Vec<(String, BTreeSet<String>)>,
    latest: Option<(ChangeKind, Option<String>)>,
    previous: u64,
}

#[derive(Default)]
pub(crate) struct Model {
    messages: Vec<Stored>,
    newest: u64,
}

/// A message, how it changed last, who changed it, and the number before.
pub(crate) type Changed = (Shown, ChangeKind, Option<String>, u64);

impl Model {
    pub(crate) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn random_step(&self, random: &mut Random) -> Step {
        if self.messages.is_empty() || random.below(5) == 0 {
            let id = format!("id{}", random.below(4));
            return Step::Append {
                author: random.of(&USERS).to_owned(),
                text: random.of(&TEXTS).to_owned(),
                id: (random.below(2) == 0).then_some(id),
            };
        }
        let edit = match random.below(20) {
            0 => MessageEdit::Delete,
            1 => MessageEdit::Erase,
            2..8 => edit(random.of(&TEXTS)),
            _ => react(random.of(&USERS), random.of(&KEYS), random.below(3) > 0),
        };
        // Sometimes one that does not exist.
        let beyond = u64::from(random.below(10) == 0);
        Step::Change {
            position: 1 + random.below(self.len() + beyond),
            edit,
            by: (random.below(3) > 0).then(|| random.of(&USERS).to_owned()),
        }
    }

    /// Returns the position; `None` for a conflict.
    pub(crate) fn append(&mut self, author: &str, text: &str, id: Option<String>) -> Option<u64> {
        let is_original = |message: &&Stored| {
            id.is_some() && message.shown.id == id && message.shown.author == author
        };
        if let Some(original) = self.messages.iter().find(is_original) {
            let shown = &original.shown;
            let is_same = shown.is_edited || shown.is_deleted || shown.text == text;
            return is_same.then_some(original.shown.position);
        }
        let position = self.len() + 1;
        self.messages.push(Stored {
            shown: Shown {
                position,
                author: author.to_owned(),
                name: format!("name of {author}"),
                text: text.to_owned(),
                id,
                ..Shown::default()
            },
            ..Stored::default()
        });
        Some(position)
    }

    /// Returns whether the message changed.
    pub(crate) fn change(
        &mut self,
        position: u64,
        edit: &MessageEdit,
        by: Option<String>,
    ) -> Result<bool, MessageChangeError> {
        let index = usize::try_from(position).unwrap() - 1;
        let message = self.messages.get_mut(index);
        let message = message.ok_or(MessageChangeError::NotFound)?;
        let shown = &mut message.shown;
        let is_gone = shown.is_deleted || shown.is_erased;
        let kind = match edit {
            MessageEdit::Edit(_) | MessageEdit::React { .. } if is_gone => {
                return Err(MessageChangeError::Deleted);
            }
            MessageEdit::Edit(content) => {
                if shown.text == content.as_str() {
                    return Ok(false);
                }
                shown.text = content.as_str().to_owned();
                shown.is_edited = true;
                ChangeKind::Edited
            }
            MessageEdit::React { user_id, key, on } => {
                let key = key.as_str();
                if !message.reactions.iter().any(|(known, _)| known == key) {
                    assert!(message.reactions.len() < ReactionKey::MAX_PER_MESSAGE);
                    message.reactions.push((key.to_owned(), BTreeSet::new()));
                }
                let users = message.reactions.iter_mut().find(|(known, _)| known == key);
                let users = &mut users.unwrap().1;
                let has_changed = match on {
                    true => users.insert(user_id.to_string()),
                    false => users.remove(user_id.as_str()),
                };
                message.reactions.retain(|(_, users)| !users.is_empty());
                if !has_changed {
                    return Ok(false);
                }
                ChangeKind::Reactions
            }
            MessageEdit::Delete => {
                if is_gone {
                    return Ok(false);
                }
                shown.text.clear();
                shown.is_deleted = true;
                message.reactions.clear();
                ChangeKind::Deleted
            }
            MessageEdit::Erase => {
                if shown.is_erased {
                    return Ok(false);
                }
                *shown = Shown {
                    position,
                    author: "deleted".to_owned(),
                    name: "deleted".to_owned(),
                    rev: shown.rev,
                    is_erased: true,
                    ..Shown::default()
                };
                message.reactions.clear();
                ChangeKind::Erased
            }
        };
        self.newest += 1;
        message.previous = message.shown.rev;
        message.shown.rev = self.newest;
        message.latest = Some((kind, by));
        Ok(true)
    }

    pub(crate) fn shown(&self, position: u64) -> Shown {
        let message = &self.messages[usize::try_from(position).unwrap() - 1];
        let reactions = message.reactions.iter();
        Shown {
            reactions: reactions
                .map(|(key, users)| (key.clone(), users.len() as u64))
                .collect(),
            ..message.shown.clone()
        }
    }

    pub(crate) fn changed_after(&self, number: u64, up_to: Option<u64>) -> Vec<Changed> {
        let is_included = |message: &&Stored| {
            message.shown.rev > number && up_to.is_none_or(|end| message.shown.position <= end)
        };
        let mut changed: Vec<_> = self.messages.iter().filter(is_included).collect();
        changed.sort_by_key(|message| message.shown.rev);
        let columns = changed.into_iter().map(|message| {
            let (kind, by) = message.latest.clone().unwrap();
            (
                self.shown(message.shown.position),
                kind,
                by,
                message.previous,
            )
        });
        columns.collect()
    }

    pub(crate) fn own_reactions(&self, user: &str) -> Vec<(u64, String)> {
        let mut own = Vec::new();
        for message in &self.messages {
            let set = message
                .reactions
                .iter()
                .filter(|(_, users)| users.contains(user));
            own.extend(set.map(|(key, _)| (message.shown.position, key.clone())));
        }
        own.sort();
        own
    }

    pub(crate) fn reacting(&self, position: u64, key: &str) -> Vec<String> {
        let message = &self.messages[usize::try_from(position).unwrap() - 1];
        let users = message.reactions.iter().find(|(known, _)| known == key);
        users.map_or(Vec::new(), |(_, users)| users.iter().cloned().collect())
    }
}
