//! Editing and deleting one's own messages and reacting to all of a room; and keeping each
//! message in its newest state.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::membership::Membership;
use super::{BACKOFF, Client, Phase, Request, Role};
use crate::record::{Edit, Event, Shown, State, compact, edited};
use crate::stage::EDITED;

/// How many of the newest messages change.
const CHANGING: usize = 12;

/// What an editor has, and what it is about to do.
#[derive(Default)]
pub(super) struct Editing {
    /// The number of the last change that the client has.
    rev: u64,
    /// It reads the changes after the first number itself, up to the second.
    missed: Option<(u64, u64)>,
    is_paging: bool,
    /// The newest of its own messages: their numbers, and what they were sent with.
    own: Vec<(u64, String)>,
    newest: u64,
    /// A change without an answer. On the next connection it is made again: it says what shall be
    /// so, and is made at most once.
    unanswered: Option<(&'static str, Value)>,
    is_waiting: bool,
    due: Option<Instant>,
    edits: u64,
}

impl Editing {
    pub(super) fn begin(&mut self) {
        self.is_waiting = false;
        self.is_paging = false;
    }

    /// Returns the number of things that the client has not completed.
    pub(super) fn unsettled(&self) -> usize {
        usize::from(self.missed.is_some()) + usize::from(self.unanswered.is_some())
    }

    /// Returns the last change that the client has.
    pub(super) fn rev(&self) -> u64 {
        self.rev
    }

    /// Returns the change after which the client asks for those that it missed.
    pub(super) fn after_rev(&self) -> u64 {
        self.missed.map_or(self.rev, |(after, _)| after)
    }
}

impl Client {
    pub(super) fn is_editor(&self) -> bool {
        self.profile.role == Role::Editor
    }

    pub(super) fn record_edit(&mut self, edit: Edit) {
        self.record(Event::Edit { room: EDITED, edit });
    }

    /// Changes a message, or reads which changed, if it is time for that.
    pub(super) fn edit(&mut self, phase: Phase, now: Instant) {
        if self.room(EDITED).membership != Membership::In {
            return;
        }
        if let Some((after, _)) = self.editing.missed
            && !std::mem::replace(&mut self.editing.is_paging, true)
        {
            let payload = json!({ "roomId": EDITED, "afterRev": after, "limit": 200 });
            self.request(&payload, Request::ListChanges { after });
        }
        if self.editing.is_waiting || self.editing.due.is_some_and(|due| now < due) {
            return;
        }
        if self.editing.unanswered.is_none() && phase == Phase::Load {
            self.editing.unanswered = self.plan_edit();
        }
        let Some((event, payload)) = self.editing.unanswered.clone() else {
            return;
        };
        self.editing.is_waiting = true;
        if event == "deleteMessage" {
            let seq = payload["seq"].as_u64().unwrap();
            self.record_edit(Edit::Deleting { seq });
        }
        self.request(&payload, Request::Edit { event });
    }

    fn plan_edit(&mut self) -> Option<(&'static str, Value)> {
        let choice = self.random.below(20);
        if choice < 12 {
            let newest = self.editing.newest;
            if newest == 0 {
                return None;
            }
            let seq = newest - self.random.below(newest.min(CHANGING as u64));
            let key = ["a", "b"][self.random.below(2) as usize];
            let on = !self.random.one_in(3);
            let payload = json!({ "roomId": EDITED, "seq": seq, "key": key, "on": on });
            return Some(("setReaction", payload));
        }
        let count = self.editing.own.len();
        if count == 0 {
            return None;
        }
        let place = self.random.below(count as u64) as usize;
        if choice == 19 {
            let (seq, _) = self.editing.own.remove(place);
            return Some(("deleteMessage", json!({ "roomId": EDITED, "seq": seq })));
        }
        let (seq, content) = &self.editing.own[place];
        self.editing.edits += 1;
        let content = edited(content, self.editing.edits, self.crowd.length);
        let payload = json!({ "roomId": EDITED, "seq": seq, "content": content });
        Some(("editMessage", payload))
    }

    /// Notes that one of the client's own messages is stored.
    pub(super) fn may_edit(&mut self, seq: u64, content: &str) {
        if self.is_editor() {
            self.editing.own.push((seq, content.to_owned()));
            if self.editing.own.len() > CHANGING {
                self.editing.own.remove(0);
            }
        }
    }

    /// Handles a message of the wire that shows its state.
    pub(super) fn shown(&mut self, message: &Value, by: Shown) {
        if !self.is_editor() {
            return;
        }
        let seq = message["seq"].as_u64().expect("a number");
        self.editing.newest = self.editing.newest.max(seq);
        let state = state(message);
        self.record_edit(Edit::Shown { seq, by, state });
    }

    pub(super) fn message_changed(&mut self, payload: &Value) {
        let rev = &payload["rev"];
        assert_eq!(payload["message"]["rev"], *rev, "{payload}");
        assert!(payload["change"].is_string(), "{payload}");
        self.shown(&payload["message"], Shown::Change);
        self.editing.rev = rev.as_u64().expect("rev");
    }

    /// Notes what `joinedRoom` says about changes.
    pub(super) fn joined_at(&mut self, payload: &Value) {
        if !self.is_editor() {
            return;
        }
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{payload}"));
        let rev = number(&payload["rev"]);
        let missed = payload.get("changesMissed");
        let missed = missed.map(|missed| (number(&missed["from"]), number(&missed["to"])));
        self.record_edit(Edit::Joined { rev, missed });
        self.editing.rev = rev;
        self.editing.missed = missed.map(|(from, to)| (from - 1, to));
    }

    /// Handles the answer to `listChanges`, which is `None` if it was refused.
    pub(super) fn changes_listed(&mut self, after: u64, answer: Option<&Value>) {
        self.editing.is_paging = false;
        let (Some(answer), Some((_, to))) = (answer, self.editing.missed) else {
            return;
        };
        let messages = answer["messages"].as_array().expect("messages");
        for message in messages {
            self.shown(message, Shown::Page);
        }
        let last = messages.last().and_then(|message| message["rev"].as_u64());
        let last = last.unwrap_or(after);
        self.editing.missed = match answer["hasMore"] == true && last < to {
            true => Some((last, to)),
            false => None,
        };
    }

    /// Handles the answer to a change, which is `None` if it was refused.
    pub(super) fn edit_answered(&mut self, answer: Option<&Value>, is_retryable: bool) {
        self.editing.is_waiting = false;
        let pause = match answer {
            Some(answer) => {
                self.shown(&answer["message"], Shown::Acknowledgement);
                Duration::from_millis(5 + self.random.below(25))
            }
            None => BACKOFF,
        };
        if answer.is_some() || !is_retryable {
            self.editing.unanswered = None;
        }
        self.editing.due = Some(Instant::now() + pause);
    }
}

/// Reads the state of a `Message` of the wire.
fn state(message: &Value) -> State {
    let reactions = message["reactions"].as_array();
    let reactions: Vec<_> = reactions
        .into_iter()
        .flatten()
        .map(|reaction| {
            let key = reaction["key"].as_str().expect("a key");
            (key.to_owned(), reaction["count"].as_u64().expect("a count"))
        })
        .collect();
    State::new(
        message["rev"].as_u64().unwrap_or_default(),
        &compact(message["content"].as_str().expect("the content")),
        &reactions,
        message["editedAt"].is_string(),
        message["deletedAt"].is_string(),
    )
}
