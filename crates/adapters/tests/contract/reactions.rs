//! The contract of [`ChangeRepository`]: reactions.

use chat_domain::ports::MessageChangeError;

use crate::change_repository::{Store, change, counts, key, make, newest_rev, react, rev, user};
use crate::{append, by, hello, room, seq};

crate::on_each_database!(
    reactions_are_counted_by_key,
    a_message_has_at_most_20_keys,
    who_reacted_is_paged_by_user,
    own_reactions_are_those_of_the_user_alone,
    keys_and_ids_of_every_kind_are_kept,
);

async fn reactions_are_counted_by_key(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    for (user_id, text, on, expected) in [
        ("1", "b", true, &[("b", 1)][..]),
        ("1", "a", true, &[("b", 1), ("a", 1)]),
        ("2", "b", true, &[("b", 2), ("a", 1)]),
        ("1", "b", false, &[("b", 1), ("a", 1)]),
        ("2", "b", false, &[("a", 1)]),
        ("2", "b", true, &[("a", 1), ("b", 1)]),
        ("1", "a", false, &[("b", 1)]),
        ("2", "b", false, &[]),
    ] {
        let message = make(store, room(1), 1, react(user_id, text, on)).await;
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, n)| ((*k).to_owned(), *n))
            .collect();
        assert_eq!(counts(&message), expected);
        assert_eq!(message.content.as_str(), "hello");
        let changes = message.changes.as_deref().unwrap();
        assert!(changes.edited_at.is_none() && changes.deleted_at.is_none());
        let stored = store.message(room(1), seq(1)).await.unwrap();
        assert_eq!(stored, Some(message));
    }
    assert_eq!(newest_rev(store, room(1)).await, rev(8));
}

async fn a_message_has_at_most_20_keys(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    for n in 0..20 {
        make(store, room(1), 1, react("1", &format!("k{n}"), true)).await;
    }
    let refused = change(store, room(1), 1, react("1", "k20", true)).await;
    assert!(matches!(refused, Err(MessageChangeError::TooManyReactions)));
    assert_eq!(newest_rev(store, room(1)).await, rev(20));
    // One that the message has, and one that replaces another.
    make(store, room(1), 1, react("2", "k19", true)).await;
    make(store, room(1), 1, react("1", "k3", false)).await;
    let full = make(store, room(1), 1, react("1", "k20", true)).await;
    assert_eq!(counts(&full).len(), 20);
    assert_eq!(counts(&full).last(), Some(&("k20".to_owned(), 1)));
}

async fn who_reacted_is_paged_by_user(store: &impl Store) {
    append(store, by("u3", "Grace", room(1), "x"))
        .await
        .unwrap();
    append(store, hello(room(1))).await.unwrap();
    for n in [4, 1, 3, 0, 2] {
        make(store, room(1), 2, react(&format!("u{n}"), "+", true)).await;
    }
    make(store, room(1), 2, react("u9", "-", true)).await;
    make(store, room(1), 1, react("u8", "+", true)).await;
    let page = async |after: Option<&str>, limit| {
        let after = after.map(user);
        let page = store.reacting_users(room(1), seq(2), key("+"), after, limit);
        let page = page.await.unwrap();
        let users = page
            .users
            .iter()
            .map(|u| (u.id.to_string(), u.name.as_str().to_owned()));
        let users: Vec<_> = users.map(|(id, name)| format!("{id} {name}")).collect();
        (users.join(", "), page.has_more)
    };
    // Of the others, no name is stored.
    let (first, second) = ("u0 u0, u1 u1", "u2 u2, u3 Grace, u4 u4");
    assert_eq!(page(None, 2).await, (first.to_owned(), true));
    assert_eq!(page(Some("u1"), 3).await, (second.to_owned(), false));
    assert_eq!(page(Some("u4"), 3).await, (String::new(), false));
    assert_eq!(page(None, 0).await, (String::new(), true));
    let none = store
        .reacting_users(room(9), seq(2), key("+"), None, 5)
        .await;
    assert!(none.unwrap().users.is_empty());
}

async fn own_reactions_are_those_of_the_user_alone(store: &impl Store) {
    for number in [1, 1, 1, 2] {
        append(store, hello(room(number))).await.unwrap();
    }
    for (room_number, position, user_id, text) in [
        (1, 1, "1", "a"),
        (1, 1, "1", "b"),
        (1, 1, "2", "c"),
        (1, 3, "1", "a"),
        (2, 1, "1", "d"),
    ] {
        make(
            store,
            room(room_number),
            position,
            react(user_id, text, true),
        )
        .await;
    }
    let own = async |user_id: &str, positions: &[u64]| {
        let positions: Vec<_> = positions.iter().map(|n| seq(*n)).collect();
        let user_id = user(user_id);
        let own = store.own_reactions(room(1), &user_id, &positions);
        let own = own.await.unwrap().into_iter();
        let mut own: Vec<_> = own
            .map(|(s, k)| format!("{} {}", s.get(), k.as_str()))
            .collect();
        own.sort();
        own.join(", ")
    };
    assert_eq!(own("1", &[1, 2, 3]).await, "1 a, 1 b, 3 a");
    assert_eq!(own("1", &[2, 3, 9]).await, "3 a");
    assert_eq!(own("2", &[1, 2, 3]).await, "1 c");
    assert_eq!(own("3", &[1, 2, 3]).await, "");
    assert_eq!(own("1", &[]).await, "");
    let many: Vec<u64> = (1..=50_000).collect();
    assert_eq!(own("1", &many).await, "1 a, 1 b, 3 a");
}

async fn keys_and_ids_of_every_kind_are_kept(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let keys = [
        "👨‍👩‍👧‍👦",
        "\"",
        "\\",
        "'",
        "[",
        "\u{1}",
        "é",
        "e\u{301}",
        "%",
        "A",
        "a",
    ];
    for text in keys {
        make(store, room(1), 1, react("O'Brien \\ \"x\"", text, true)).await;
    }
    let stored = store.message(room(1), seq(1)).await.unwrap().unwrap();
    let expected: Vec<_> = keys.iter().map(|k| ((*k).to_owned(), 1)).collect();
    assert_eq!(counts(&stored), expected);
    for text in keys {
        let found = store
            .reacting_users(room(1), seq(1), key(text), None, 9)
            .await;
        assert_eq!(found.unwrap().users[0].id, user("O'Brien \\ \"x\""));
        make(store, room(1), 1, react("O'Brien \\ \"x\"", text, false)).await;
    }
    let stored = store.message(room(1), seq(1)).await.unwrap().unwrap();
    assert!(counts(&stored).is_empty());
}
