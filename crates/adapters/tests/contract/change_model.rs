//! Random histories of messages and their changes, compared with a model.

mod model;

use chat_domain::ports::{AppendError, Appended, MessageChange, MessageChangeError, ReadLimit};
use chat_domain::{Message, Rev, RulesNumber, Seq, StorageError};

use self::model::{Model, Random, Shown, Step};
use crate::change_repository::{Store, key, rev, user};
use crate::{by, room, seq, up_to, with_id};

crate::on_each_database!(random_histories_are_read_as_the_model_has_them,);

/// Histories, each in a room of its own.
const SEEDS: u64 = 24;
const STEPS: usize = 60;

async fn random_histories_are_read_as_the_model_has_them(store: &impl Store) {
    for seed in 1..=SEEDS {
        let mut random = Random::new(seed);
        let mut model = Model::default();
        for step in 0..STEPS {
            let next = model.random_step(&mut random);
            let context = format!("seed {seed}, step {step}: {next:?}");
            carry_out(store, seed, &mut model, next, &context).await;
        }
        compare(store, seed, &model, &mut random).await;
    }
}

async fn carry_out(store: &impl Store, seed: u64, model: &mut Model, step: Step, context: &str) {
    match step {
        Step::Append { author, text, id } => {
            let name = format!("name of {author}");
            let mut message = by(&author, &name, room(seed), &text);
            if let Some(id) = &id {
                message = with_id(message, id);
            }
            let outcome = store.append(message).await;
            let expected = model.append(&author, &text, id);
            match (outcome, expected) {
                (Ok(Appended::Stored(message) | Appended::Repeat(message)), Some(position)) => {
                    assert_eq!(message.seq, seq(position), "{context}");
                    assert_eq!(shown(&message), model.shown(position), "{context}");
                }
                (Err(AppendError::Conflict), None) => {}
                (outcome, expected) => panic!("{context}: {outcome:?}, {expected:?}"),
            }
        }
        Step::Change { position, edit, by } => {
            let change = MessageChange {
                room_id: room(seed),
                seq: seq(position),
                edit: edit.clone(),
                by: by.as_deref().map(user),
                rules: RulesNumber::NONE,
            };
            let outcome = chat_domain::ports::ChangeRepository::change(store, change).await;
            match (outcome, model.change(position, &edit, by)) {
                (Ok(made), Ok(is_new)) => {
                    assert_eq!(made.is_new, is_new, "{context}");
                    assert_eq!(shown(&made.message), model.shown(position), "{context}");
                }
                (Err(MessageChangeError::Storage(error)), _) => panic!("{context}: {error:?}"),
                (Err(error), Err(expected)) => {
                    assert_eq!(error.to_string(), expected.to_string(), "{context}");
                }
                (outcome, expected) => panic!("{context}: {outcome:?}, {expected:?}"),
            }
        }
    }
}

fn shown(message: &Message) -> Shown {
    let changes = message.changes.as_deref();
    let reactions = changes.iter().flat_map(|changes| changes.reactions.iter());
    Shown {
        position: message.seq.get(),
        author: message.author.id.to_string(),
        name: message.author.name.as_str().to_owned(),
        text: message.content.as_str().to_owned(),
        id: message
            .client_message_id
            .as_ref()
            .map(|id| id.as_str().to_owned()),
        rev: changes.map_or(0, |changes| changes.rev.get()),
        is_edited: changes.is_some_and(|changes| changes.edited_at.is_some()),
        is_deleted: changes.is_some_and(|changes| changes.deleted_at.is_some()),
        is_erased: changes.is_some_and(|changes| changes.erased_at.is_some()),
        reactions: reactions
            .map(|r| (r.key.as_str().to_owned(), r.count))
            .collect(),
    }
}

/// Compares everything that can be read of the room.
async fn compare(store: &impl Store, seed: u64, model: &Model, random: &mut Random) {
    let log: Vec<_> = (1..=model.len()).map(|n| model.shown(n)).collect();
    let read = async || -> Result<_, StorageError> {
        let after = store.after(room(seed), Seq::START, up_to(1000)).await?;
        let before = store.before(room(seed), None, up_to(1000)).await?;
        assert_eq!(after, before);
        Ok(after.messages.iter().map(shown).collect::<Vec<_>>())
    };
    assert_eq!(read().await.unwrap(), log, "seed {seed}");
    let state = store.read_state(room(seed), &user("9")).await.unwrap();
    assert_eq!(state.rev, rev(model.newest()));

    for number in 0..=model.newest() {
        let up_to_position = (random.below(2) == 0).then(|| 1 + random.below(model.len()));
        let expected = model.changed_after(number, up_to_position);
        let size = 1 + usize::try_from(random.below(9)).unwrap();
        let limit = ReadLimit {
            messages: size,
            bytes: usize::MAX,
        };
        // In pages, to the end.
        let (mut found, mut next) = (Vec::new(), rev(number));
        loop {
            let end = up_to_position.map(seq);
            let page = store
                .changed_after(room(seed), next, end, limit)
                .await
                .unwrap();
            assert_eq!(page.newest, rev(model.newest()));
            assert!(page.messages.len() <= size);
            for changed in &page.messages {
                next = changed.message.changes.as_ref().unwrap().rev;
                let by = changed.by.as_ref().map(ToString::to_string);
                found.push((
                    shown(&changed.message),
                    changed.kind,
                    by,
                    changed.previous.get(),
                ));
            }
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found, expected, "seed {seed}, after {number}");
    }
    let last = store
        .changed_after(room(seed), rev(model.newest()), None, up_to(9))
        .await;
    assert_eq!(last.unwrap().messages, []);
    assert!(rev(model.newest()) >= Rev::START);

    let positions: Vec<_> = (1..=model.len()).map(seq).collect();
    for user_id in model::USERS {
        let user_id = user(user_id);
        let own = store.own_reactions(room(seed), &user_id, &positions).await;
        let own = own.unwrap().into_iter();
        let mut own: Vec<_> = own.map(|(s, k)| (s.get(), k.as_str().to_owned())).collect();
        own.sort();
        assert_eq!(own, model.own_reactions(user_id.as_str()), "seed {seed}");
    }
    for position in 1..=model.len() {
        for text in model::KEYS {
            let users = store.reacting_users(room(seed), seq(position), key(text), None, 100);
            let users = users.await.unwrap().users.into_iter();
            let users: Vec<_> = users.map(|user| user.id.to_string()).collect();
            assert_eq!(users, model.reacting(position, text), "seed {seed}");
        }
    }
}
