//! Pages of history.

use super::*;

fn listed(after: u64, messages: Vec<Message>, has_more: bool) -> Event {
    Event::Listed {
        room: 1,
        after,
        messages,
        has_more,
    }
}

#[test]
fn a_listed_message_that_is_not_stored_is_found() {
    finds(
        |found| matches!(found, Violation::ReceivedNotStored { message, .. } if message.content == "ghost"),
        |evidence| {
            let messages = vec![evidence.rows[2].clone(), row(4, "ada", "ghost")];
            evidence.replace(GRACE, 230, listed(2, messages, false));
        },
    );
}

#[test]
fn a_page_with_a_gap_is_found() {
    finds(
        |found| matches!(found, Violation::Page { after: 1, .. }),
        |evidence| {
            let messages = vec![evidence.rows[2].clone()];
            evidence.replace(GRACE, 230, listed(1, messages, false));
        },
    );
}

#[test]
fn a_wrong_has_more_is_found() {
    finds(
        |found| {
            matches!(
                found,
                Violation::HasMore {
                    has_more: true,
                    last: 3,
                    ..
                }
            )
        },
        |evidence| {
            let messages = vec![evidence.rows[2].clone()];
            evidence.replace(GRACE, 230, listed(2, messages, true));
        },
    );
    finds(
        |found| {
            matches!(
                found,
                Violation::HasMore {
                    has_more: false,
                    last: 2,
                    ..
                }
            )
        },
        |evidence| {
            let messages = vec![evidence.rows[1].clone()];
            evidence.replace(GRACE, 230, listed(1, messages, false));
        },
    );
    // A page that says that there is more contains something.
    finds(
        |found| matches!(found, Violation::HasMore { last: 2, .. }),
        |evidence| evidence.replace(GRACE, 230, listed(2, Vec::new(), true)),
    );
}
