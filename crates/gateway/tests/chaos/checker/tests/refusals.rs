//! Refusals and `error` events.

use super::*;

fn ada_sends_d(evidence: &mut Evidence, code: &str) {
    evidence.insert(ADA, 180, [sent(6, "d")]);
    evidence.insert(ADA, 190, refused(6, code));
}

#[test]
fn a_refusal_that_the_fault_explains_is_not_a_violation() {
    assert_eq!(forged(|evidence| ada_sends_d(evidence, "unavailable")), []);
}

#[test]
fn a_refusal_with_a_code_that_the_fault_does_not_cause_is_found() {
    finds(
        |found| {
            matches!(found, Violation::Unexplained { event: Some(event), code, .. }
            if event == "sendMessage" && code == "internal")
        },
        |evidence| ada_sends_d(evidence, "internal"),
    );
}

#[test]
fn a_refusal_long_after_the_fault_is_found() {
    finds(
        |found| matches!(found, Violation::Unexplained { code, .. } if code == "unavailable"),
        |evidence| {
            evidence.insert(ADA, 3000, [sent(6, "d")]);
            evidence.insert(ADA, 3010, refused(6, "unavailable"));
        },
    );
}

#[test]
fn unexplained_refusals_of_joins_leaves_pages_and_marks_are_found() {
    for operation in [
        Operation::Join { room: 1 },
        Operation::Leave { room: 1 },
        Operation::List { room: 1 },
        Operation::Mark { room: 1 },
    ] {
        let violations = forged(|evidence| {
            let code = "not_in_room".to_owned();
            evidence.insert(
                GRACE,
                260,
                [
                    error(operation.event(), "not_in_room"),
                    Event::Refused { operation, code },
                ],
            );
        });
        let is_found = |found: &&Violation| {
            matches!(found, Violation::Unexplained { event: Some(event), .. }
                if event == operation.event())
        };
        assert_eq!(violations.iter().filter(is_found).count(), 2);
    }
}

#[test]
fn an_error_event_without_a_refusal_is_judged_as_well() {
    finds(
        |found| matches!(found, Violation::Unexplained { event: None, .. }),
        |evidence| {
            let (event, code) = (None, "internal".to_owned());
            evidence.insert(ADA, 180, [Event::Error { event, code }]);
        },
    );
}

#[test]
fn a_refusal_without_an_error_event_is_found() {
    finds(
        |found| matches!(found, Violation::NoErrorEvent { .. }),
        |evidence| {
            ada_sends_d(evidence, "unavailable");
            let [_, refusal] = refused(6, "unavailable");
            evidence
                .entries(ADA)
                .retain(|entry| entry.at != millis(190));
            evidence.insert(ADA, 190, [refusal]);
        },
    );
}

#[test]
fn a_conflict_is_explained_by_a_message_with_the_id_and_other_content() {
    let conflict_with = |id: &'static str| {
        forged(move |evidence| {
            evidence.insert(ADA, 180, [sent_as(6, id, "other")]);
            evidence.insert(ADA, 190, refused(6, "conflict"));
        })
    };
    assert_eq!(conflict_with("id-a"), []);
    let violations = conflict_with("id-unused");
    assert!(
        matches!(&violations[..], [Violation::Unexplained { code, .. }] if code == "conflict"),
        "{violations:#?}"
    );
    // The content is that of the stored message.
    finds(
        |found| matches!(found, Violation::Unexplained { code, .. } if code == "conflict"),
        |evidence| {
            evidence.insert(ADA, 180, [sent(6, "a")]);
            evidence.insert(ADA, 190, refused(6, "conflict"));
        },
    );
}
