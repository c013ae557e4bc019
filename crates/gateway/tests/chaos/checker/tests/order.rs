//! A sender's own order.

use super::*;

#[test]
fn a_reversed_order_of_one_sender_is_found() {
    finds(
        |found| {
            matches!(found, Violation::OwnOrder { connection: 1, first, second, .. }
                if first == "b" && second == "c")
        },
        |evidence| {
            evidence.rows[1] = row(2, "ada", "c");
            evidence.rows[2] = row(3, "ada", "b");
        },
    );
}

/// Without an id, it is not repeated. The old connection may store it after the messages that
/// are repeated on the new one.
#[test]
fn a_message_without_an_answer_may_be_stored_in_any_order() {
    let violations = forged(|evidence| {
        evidence.grace_stays();
        evidence.add(260, 9, "late");
        evidence.remove(ADA, 260);
        evidence.rows[3].client_message_id = None;
        let late = evidence.rows[3].clone();
        evidence.replace(ADA, 270, received(&late));
        evidence.replace(GRACE, 270, received(&late));
        let sent = Event::Sent {
            attempt: 9,
            room: 1,
            client_message_id: None,
            content: late.content.clone(),
        };
        evidence.insert(ADA, 55, [sent]);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_refused_message_counts_as_sent_at_the_retry() {
    let with_d_and_e = |first: &'static str, second: &'static str| {
        forged(move |evidence| {
            evidence.grace_stays();
            let rows = [first, second].map(|content| evidence.add(300, 0, content));
            evidence
                .entries(ADA)
                .retain(|entry| entry.at != millis(300));
            let [d, e] = match first {
                "d" => rows,
                _ => {
                    let [e, d] = rows;
                    [d, e]
                }
            };
            evidence.insert(ADA, 260, [sent(6, "d"), sent(7, "e")]);
            evidence.insert(ADA, 270, refused(6, "unavailable"));
            evidence.insert(ADA, 280, [sent(8, "d")]);
            evidence.insert(ADA, 320, [acknowledged(7, &e), acknowledged(8, &d)]);
        })
    };
    assert_eq!(with_d_and_e("e", "d"), []);
    let violations = with_d_and_e("d", "e");
    assert!(
        matches!(violations[..], [Violation::OwnOrder { .. }]),
        "{violations:#?}"
    );
}

#[test]
fn a_message_that_two_connections_sent_may_be_stored_early() {
    let violations = forged(|evidence| {
        evidence.grace_stays();
        let d = evidence.add(260, 7, "d");
        evidence.insert(ADA, 255, [sent(6, "e")]);
        let e = evidence.add(280, 8, "e");
        evidence.remove(ADA, 280);
        evidence.insert(ADA, 300, [acknowledged(6, &e), acknowledged(7, &d)]);
        let other = [(250, Event::Connected), (255, sent(1, "d"))];
        let mut other = history("ada-2", other);
        other.user = "ada".to_owned();
        evidence.histories.push(other);
    });
    assert_eq!(violations, []);
}
