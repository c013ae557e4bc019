//! Changes that are handed over together.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chat_domain::ports::ChangesPage;
use chat_domain::use_cases::OwnReactions;
use chat_domain::{ChangedMessage, Rev, RoomId, Seq};

use crate::batch::join;
use crate::encoder::{Encoder, rev_of};

/// How far a reader has come in a room's changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// It has every message as of this change, or newer.
    pub(crate) reach: Rev,
    /// Up to here, every change was handed to it, by itself or merged with later ones. Between
    /// here and `reach`, some were passed over, because a later change of the same message is
    /// still to be handed over.
    pub(crate) whole: Rev,
    /// The newest change that a read for it saw: it may have passed over changes up to here.
    seen: Rev,
}

impl Progress {
    pub(crate) fn at(rev: Rev) -> Self {
        Self {
            reach: rev,
            whole: rev,
            seen: rev,
        }
    }

    /// Returns how far a reader has come that has nothing beyond a change.
    pub(crate) fn up_to(self, rev: Rev) -> Self {
        Self {
            reach: rev,
            whole: self.whole.min(rev),
            seen: self.seen,
        }
    }

    /// Notes that the reader has what it lacked of a batch.
    pub(crate) fn pass(&mut self, batch: &ChangesBatch) {
        self.reach = self.reach.max(batch.reach);
        self.seen = self.seen.max(batch.seen);
        if !batch.is_cut && batch.seen >= self.seen {
            self.whole = self.reach;
        }
    }
}

/// Which part of a page of changes a reader may receive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// What it has.
    pub(crate) from: Progress,
    /// The last message that it has: no change precedes its message.
    pub(crate) released: Seq,
    /// Later changes than this one wait.
    pub(crate) to: Option<Rev>,
}

/// Changed messages in their newest state, each encoded when the first member receives it.
pub(crate) struct ChangesBatch {
    room_id: RoomId,
    from: Progress,
    /// With these changes, a reader has every message as of this one.
    pub(crate) reach: Rev,
    /// The newest change that the read saw.
    pub(crate) seen: Rev,
    /// Whether the log has changes after these that the reader does not receive with them.
    is_cut: bool,
    /// Whether that is for the size of the page alone.
    pub(crate) has_more: bool,
    changes: Vec<Change>,
    /// The frames for all readers that have what most have.
    frames: OnceLock<Option<Bytes>>,
    /// Marked in each message.
    own: OwnReactions,
    encoder: Arc<dyn Encoder>,
}

struct Change {
    rev: Rev,
    changed: ChangedMessage,
    /// By itself, and merged with earlier changes.
    frames: [OnceLock<Bytes>; 2],
}

impl ChangesBatch {
    /// Takes from a page, read after `part.from.reach`, what a reader may receive.
    pub(crate) fn new(
        room_id: RoomId,
        part: Part,
        page: ChangesPage,
        own: OwnReactions,
        encoder: Arc<dyn Encoder>,
    ) -> Self {
        let Part { from, released, to } = part;
        let (mut reach, mut end) = (from.reach, None);
        let mut changes = Vec::new();
        for changed in page.messages {
            let rev = rev_of(&changed.message);
            if to.is_some_and(|to| rev > to) {
                end = to;
                break;
            }
            if changed.message.seq > released {
                // What precedes it is here, or was superseded.
                end = Rev::new(rev.get().saturating_sub(1));
                break;
            }
            reach = reach.max(rev);
            changes.push(Change {
                rev,
                changed,
                frames: Default::default(),
            });
        }
        reach = match end {
            Some(end) => reach.max(end),
            None if page.has_more => reach,
            None => reach.max(page.newest),
        };
        Self {
            room_id,
            from,
            reach,
            seen: page.newest,
            is_cut: end.is_some() || page.has_more,
            has_more: end.is_none() && page.has_more,
            changes,
            frames: OnceLock::new(),
            own,
            encoder,
        }
    }

    /// Returns the number of changed messages.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns after which change the batch has everything.
    pub(crate) fn after(&self) -> Rev {
        self.from.reach
    }

    /// Returns the last of the messages that changed.
    pub(crate) fn newest_seq(&self) -> Seq {
        let messages = self.changes.iter().map(|change| change.changed.message.seq);
        messages.max().unwrap_or_default()
    }

    /// Returns what a reader lacks; `None` if that is nothing.
    pub(crate) fn frames_after(&self, has: Progress) -> Option<Bytes> {
        let join_all = |has| {
            let frames: Vec<_> = self.each_after(has).map(|(_, frame)| frame).collect();
            (!frames.is_empty()).then(|| join(&frames))
        };
        let is_merged = |change: &Change, has: Progress| change.changed.previous > has.whole;
        let lacks_as_most = |change: &Change| {
            change.rev > has.reach && is_merged(change, has) == is_merged(change, self.from)
        };
        match self.changes.iter().all(lacks_as_most) {
            true => self.frames.get_or_init(|| join_all(has)).clone(),
            false => join_all(has),
        }
    }

    /// Returns what a reader lacks: the number of each change, and its frame.
    pub(crate) fn each_after(&self, has: Progress) -> impl Iterator<Item = (Rev, Bytes)> + '_ {
        let changes = self.changes.iter();
        let lacking = changes.filter(move |change| change.rev > has.reach);
        lacking.map(move |change| (change.rev, self.frame(change, has.whole)))
    }

    fn frame(&self, change: &Change, whole: Rev) -> Bytes {
        let is_merged = change.changed.previous > whole;
        let frame = change.frames[usize::from(is_merged)].get_or_init(|| {
            let changed = change.changed.clone();
            let own = self.own.to(changed.message.seq);
            self.encoder
                .changed_message(self.room_id, changed, is_merged, own)
        });
        frame.clone()
    }
}
