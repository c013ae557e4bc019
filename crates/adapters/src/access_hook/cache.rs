//! Answers that may be given again, and the questions that they belong to.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aws_lc_rs::digest;
use chat_domain::{Role, RoomId, UserId};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::answer::Answer;

/// Claims that every new token of a user has other values of, and that say nothing about it.
const TIMES: [&str; 3] = ["exp", "iat", "nbf"];

/// A question: the SHA-256 of the user, the room and the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Tokens of one user that differ in nothing but their times ask the same.
    pub(super) fn of(user_id: &UserId, room_id: RoomId, claims: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut update = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        update(user_id.as_str());
        update(&room_id.get().to_string());
        // Values as they are written: to be read as numbers, large ones would be rounded.
        match serde_json::from_str::<BTreeMap<String, &RawValue>>(claims) {
            Ok(claims) => {
                for (name, value) in claims {
                    if !TIMES.contains(&name.as_str()) {
                        update(&name);
                        update(value.get());
                    }
                }
            }
            Err(_) => update(claims),
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// At most so many answers as it was created for; a new one displaces the oldest.
pub(super) struct Cache {
    capacity: usize,
    entries: HashMap<Key, Entry>,
    /// The keys in the order in which they were inserted, with the number of the entry.
    order: VecDeque<(Key, u64)>,
    inserted: u64,
}

struct Entry {
    role: Option<Role>,
    until: Instant,
    number: u64,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            order: VecDeque::new(),
            inserted: 0,
        }
    }

    /// Returns the role that was answered, or that none was.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Option<Role>> {
        let entry = self.entries.get(key)?;
        (now < entry.until).then_some(entry.role)
    }

    pub(super) fn insert(&mut self, key: Key, answer: Answer, now: Instant) {
        if answer.ttl.is_zero() {
            self.entries.remove(&key);
            return;
        }
        while self.order.len() >= self.capacity {
            let Some((oldest, number)) = self.order.pop_front() else {
                break;
            };
            // It may have been inserted again since.
            let entry = self.entries.get(&oldest);
            if entry.is_some_and(|entry| entry.number == number) {
                self.entries.remove(&oldest);
            }
        }
        self.inserted += 1;
        let entry = Entry {
            role: answer.role,
            until: now + answer.ttl,
            number: self.inserted,
        };
        self.entries.insert(key, entry);
        self.order.push_back((key, self.inserted));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(user: &str, room: u64, claims: &str) -> Key {
        let (user, room) = (UserId::new(user).unwrap(), RoomId::new(room).unwrap());
        Key::of(&user, room, claims)
    }

    fn answer(seconds: u64) -> Answer {
        Answer {
            role: Some(Role::Reader),
            ttl: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_question_is_a_user_a_room_and_claims_without_times() {
        let one = key("1", 1, r#"{"sub":"1","plan":"a","exp":1,"iat":1,"nbf":1}"#);
        assert_eq!(one, key("1", 1, r#"{"plan":"a","exp":2,"sub":"1"}"#));
        for other in [
            key("2", 1, r#"{"sub":"1","plan":"a"}"#),
            key("1", 2, r#"{"sub":"1","plan":"a"}"#),
            key("1", 1, r#"{"sub":"1","plan":"b"}"#),
            key("1", 1, r#"{"sub":"1","plan":"a","jti":"x"}"#),
            key("1", 1, r#"{"sub":"1","plana":""}"#),
            key("1", 1, "{}"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn an_answer_is_given_again_until_its_time_is_over() {
        let now = Instant::now();
        let mut cache = Cache::new(10);
        let one = key("1", 1, "{}");
        cache.insert(one, answer(30), now);
        let at = |cache: &Cache, seconds| cache.get(&one, now + Duration::from_secs(seconds));
        assert_eq!(at(&cache, 29), Some(Some(Role::Reader)));
        assert_eq!(at(&cache, 30), None);
        cache.insert(one, answer(60), now);
        assert_eq!(at(&cache, 59), Some(Some(Role::Reader)));
        cache.insert(one, answer(0), now);
        assert_eq!(at(&cache, 0), None);
    }

    #[test]
    fn a_full_cache_forgets_the_oldest() {
        let now = Instant::now();
        let mut cache = Cache::new(3);
        let keys = [1, 2, 3, 4].map(|room| key("1", room, "{}"));
        for key in &keys[..2] {
            cache.insert(*key, answer(30), now);
        }
        // The first one is not the oldest any more.
        cache.insert(keys[0], answer(30), now);
        cache.insert(keys[2], answer(30), now);
        let kept = |cache: &Cache| keys.map(|key| cache.get(&key, now).is_some());
        assert_eq!(kept(&cache), [true, true, true, false]);
        cache.insert(keys[3], answer(30), now);
        assert_eq!(kept(&cache), [true, false, true, true]);
        for _ in 0..100 {
            cache.insert(keys[3], answer(30), now);
            assert!(cache.order.len() <= 3 && cache.entries.len() <= 3);
        }
    }
}
