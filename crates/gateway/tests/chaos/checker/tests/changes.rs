//! Changes of messages that arrive late, out of order, in another state, or never.

use super::*;
use crate::record::{Edit, Shown, State, States};

fn state(seq: u64, rev: u64) -> State {
    State::new(rev, &format!("{seq} as of {rev}"), &[], rev > 0, false)
}

fn edit(edit: Edit) -> Event {
    Event::Edit { room: 1, edit }
}

fn shown(seq: u64, by: Shown, rev: u64) -> Event {
    let state = state(seq, rev);
    edit(Edit::Shown { seq, by, state })
}

/// The second message changed before Grace joins again at 3 s, and the third one afterwards.
fn changed_evidence() -> Evidence {
    let mut evidence = valid_evidence();
    evidence.grace_stays();
    let states = [(1, 0), (2, 1), (3, 2)];
    evidence.states = States {
        messages: states.map(|(seq, rev)| (1, seq, state(seq, rev))).to_vec(),
        newest: vec![(1, 2)],
    };
    evidence.insert(GRACE, 2990, [1, 2, 3].map(|seq| shown(seq, Shown::Page, 0)));
    let asks = edit(Edit::JoiningAfter { seq: 3, rev: 0 });
    evidence.insert(GRACE, 3000, [joining(3), asks]);
    evidence.insert(GRACE, 3010, [shown(2, Shown::Change, 1)]);
    let joined_at = edit(Edit::Joined {
        rev: 1,
        missed: None,
    });
    evidence.insert(GRACE, 3020, [joined(3, 2), joined_at]);
    evidence.insert(ADA, 3090, [shown(3, Shown::Acknowledgement, 2)]);
    evidence.insert(GRACE, 3100, [shown(3, Shown::Change, 2)]);
    evidence.insert(
        ADA,
        5000,
        states.map(|(seq, rev)| shown(seq, Shown::Page, rev)),
    );
    evidence
}

#[track_caller]
fn finds_in(expected: fn(&Violation) -> bool, forge: impl FnOnce(&mut Evidence)) {
    let mut evidence = changed_evidence();
    forge(&mut evidence);
    let violations = check(&evidence);
    assert!(violations.iter().any(expected), "{violations:#?}");
}

#[test]
fn changes_that_arrive_as_promised_are_no_violation() {
    assert_eq!(check(&changed_evidence()), []);
}

#[test]
fn a_change_that_takes_longer_than_a_second_is_found() {
    let received_at = |at| {
        let mut evidence = changed_evidence();
        evidence.remove(GRACE, 3100);
        evidence.insert(GRACE, at, [shown(3, Shown::Change, 2)]);
        check(&evidence)
    };
    assert_eq!(received_at(4090), []);
    let violations = received_at(4091);
    let is_late = |v: &Violation| matches!(v, Violation::ChangeLate { seq: 3, rev: 2, .. });
    assert!(violations.iter().any(is_late), "{violations:#?}");
}

#[test]
fn an_older_change_after_a_newer_one_is_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::ChangeOutOfOrder { rev: 1, .. });
    finds_in(is_expected, |evidence| {
        evidence.insert(GRACE, 3110, [shown(2, Shown::Change, 1)]);
    });
}

#[test]
fn an_older_state_of_a_message_after_a_newer_one_is_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::ChangeOutOfOrder { seq: 3, .. });
    finds_in(is_expected, |evidence| {
        evidence.insert(GRACE, 3110, [shown(3, Shown::Message, 0)]);
    });
}

#[test]
fn a_replayed_change_that_was_not_asked_for_is_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::ChangeOutOfOrder { seq: 2, .. });
    finds_in(is_expected, |evidence| {
        evidence.replace_asked(edit(Edit::JoiningAfter { seq: 1, rev: 0 }));
    });
    finds_in(is_expected, |evidence| {
        evidence.replace_asked(edit(Edit::JoiningAfter { seq: 3, rev: 1 }));
    });
}

#[test]
fn a_state_that_differs_from_what_others_were_shown_is_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::StateNeverWas { seq: 3, .. });
    for rev in [2, 3] {
        finds_in(is_expected, |evidence| {
            let state = State::new(rev, "forged", &[], true, false);
            let by = Shown::Change;
            evidence.insert(GRACE, 3110, [edit(Edit::Shown { seq: 3, by, state })]);
        });
    }
}

#[test]
fn missed_changes_that_are_few_are_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::ChangesAtJoin { .. });
    for (rev, missed) in [(1, Some((1, 1))), (0, None)] {
        finds_in(is_expected, |evidence| {
            evidence.remove_all(GRACE, 3020);
            let joined_at = edit(Edit::Joined { rev, missed });
            evidence.insert(GRACE, 3020, [joined(3, 2), joined_at]);
        });
    }
}

#[test]
fn a_message_that_is_not_stored_as_a_client_has_it_is_found() {
    let is_expected = |v: &Violation| matches!(v, Violation::FinalState { seq: 2, .. });
    finds_in(is_expected, |evidence| evidence.remove(GRACE, 3010));
    finds_in(is_expected, |evidence| {
        evidence.insert(ADA, 3095, [shown(2, Shown::Acknowledgement, 2)]);
    });
}

impl Evidence {
    fn remove_all(&mut self, client: usize, at: u64) {
        self.entries(client).retain(|entry| entry.at != millis(at));
    }

    /// Replaces what Grace asks for when she joins again.
    fn replace_asked(&mut self, asks: Event) {
        self.remove_all(GRACE, 3000);
        self.insert(GRACE, 3000, [joining(3), asks]);
    }
}
