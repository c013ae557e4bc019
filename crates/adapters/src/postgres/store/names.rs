//! Remembers which names this process has stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chat_domain::NewMessage;

/// How long a stored name is not stored again. If another process stores another name for
/// the user meanwhile, that name remains in history for at most this long, or until the
/// user's next message after it.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// The maximum number of remembered names. Further names are stored with every message.
const MAX_NAMES: usize = 50_000;

/// The names that were stored a short time ago, by user. Clones share them.
#[derive(Clone, Default)]
pub(in crate::postgres) struct Names(Arc<Mutex<HashMap<String, Stored>>>);

struct Stored {
    name: String,
    at: Instant,
}

impl Names {
    /// Returns the latest name of each author of the batch that must be stored.
    pub(super) fn unknown<'a>(&self, batch: &'a [Arc<NewMessage>]) -> BTreeMap<&'a str, &'a str> {
        let authors = batch.iter().map(|message| &message.author);
        let latest: HashMap<_, _> = authors.map(|a| (a.id.as_str(), a.name.as_str())).collect();
        let known = self.lock();
        let unknown = latest.into_iter().filter(|(user_id, name)| {
            let stored = known.get(*user_id);
            stored.is_none_or(|stored| stored.name != *name || stored.is_old())
        });
        unknown.collect()
    }

    /// Remembers names that are committed.
    pub(super) fn stored<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut known = self.lock();
        for (user_id, name) in names {
            if known.len() >= MAX_NAMES {
                known.retain(|_, stored| !stored.is_old());
            }
            if known.len() < MAX_NAMES {
                let stored = Stored {
                    name: name.to_owned(),
                    at: Instant::now(),
                };
                known.insert(user_id.to_owned(), stored);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    fn is_old(&self) -> bool {
        self.at.elapsed() > REMEMBERED_FOR
    }
}
