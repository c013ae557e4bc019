//! Read pointers.

use super::*;

#[test]
fn a_read_pointer_ahead_of_the_messages_or_moving_back_is_found() {
    finds(
        |found| matches!(found, Violation::ReadPointer { seq: 3, .. }),
        |evidence| evidence.replace(GRACE, 95, marked_read("grace", 3)),
    );
    finds(
        |found| matches!(found, Violation::ReadPointer { seq: 1, .. }),
        |evidence| evidence.insert(GRACE, 97, [marked_read("grace", 1)]),
    );
}

/// A send moves the sender's pointer without an event.
#[test]
fn a_read_pointer_that_its_user_did_not_mark_is_found() {
    finds(
        |found| matches!(found, Violation::ReadPointer { user, seq: 2, .. } if user == "ada"),
        |evidence| evidence.insert(GRACE, 97, [marked_read("ada", 2)]),
    );
}

#[test]
fn a_read_seq_older_than_what_was_shown_or_newer_than_what_was_done_is_found() {
    for wrong in [1, 3] {
        let violations = forged(|evidence| evidence.replace(GRACE, 210, joined(3, wrong)));
        let is_found = |found: &Violation| matches!(found, Violation::ReadState { read, expected: [2, 2], .. } if *read == wrong);
        assert!(violations.iter().any(is_found), "{violations:#?}");
    }
}

#[test]
fn an_unread_that_is_not_the_difference_is_found() {
    finds(
        |found| matches!(found, Violation::ReadState { unread: 2, .. }),
        |evidence| {
            let joined = Joined {
                room: 1,
                seq: 3,
                read: 2,
                unread: 2,
                missed: None,
            };
            evidence.replace(GRACE, 210, Event::Joined(joined));
        },
    );
}

#[test]
fn a_wrong_answer_to_mark_read_is_found() {
    for (seq, unread) in [(1, 1), (3, 0), (2, 2)] {
        let violations = forged(|evidence| {
            let marked = Event::Marked {
                room: 1,
                requested: 2,
                seq,
                unread,
            };
            evidence.replace(GRACE, 90, marked);
        });
        let is_found = |found: &Violation| {
            matches!(found, Violation::ReadState { read, unread: found, .. }
                if (*read, *found) == (seq, unread))
        };
        assert!(violations.iter().any(is_found), "{violations:#?}");
    }
}

#[test]
fn a_stored_pointer_that_does_not_follow_from_the_histories_is_found() {
    let stored = |pointers: Vec<Pointer>| forged(|evidence| evidence.pointers = pointers);
    // The pointer of a sender is at least at its newest message.
    for (pointers, user) in [
        (vec![pointer("ada", 2), pointer("grace", 2)], "ada"),
        (vec![pointer("ada", 3), pointer("grace", 1)], "grace"),
        (vec![pointer("ada", 3), pointer("grace", 3)], "grace"),
        (vec![pointer("ada", 3)], "grace"),
        (
            vec![pointer("ada", 3), pointer("grace", 2), pointer("eve", 1)],
            "eve",
        ),
    ] {
        let violations = stored(pointers);
        assert!(
            matches!(&violations[..], [Violation::StoredPointer { user: found, .. }] if found == user),
            "{violations:#?}"
        );
    }
}
