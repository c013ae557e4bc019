//! Rooms with rules.

use chat_domain::{Role, RoomKind};

use super::*;
use crate::record::{Change, Member, Seen, States, Tables};

mod answers;

const OLGA: usize = 0;
const MALLORY: usize = 1;

const BAN: Change = Change::Ban {
    user: "mallory",
    seconds: None,
};
const UNBAN: Change = Change::Unban { user: "mallory" };
const MUTE: Change = Change::Mute {
    user: "mallory",
    seconds: None,
};

fn changing(change: u64, what: Change) -> Event {
    let room = 1;
    Event::Changing { change, room, what }
}

fn changed(change: u64) -> Event {
    Event::Changed { change }
}

fn refused_change(change: u64, what: Change, code: &str) -> [Event; 2] {
    let event = what.event();
    let operation = Operation::Change { change, event };
    let code = code.to_owned();
    [error(event, &code), Event::Refused { operation, code }]
}

fn excluded(reason: &str) -> Event {
    let reason = reason.to_owned();
    Event::Excluded { room: 1, reason }
}

fn members(members: &[(&str, Role)]) -> Event {
    let members = members.iter().map(|(user, role)| Member {
        user: (*user).to_owned(),
        role: *role,
        is_muted: false,
    });
    let seen = Seen::Members(members.collect());
    Event::Looked { room: 1, seen }
}

fn tables() -> Tables {
    Tables {
        rooms: vec![(1, RoomKind::Open, false)],
        members: vec![(1, "olga".to_owned(), Role::Owner)],
        ..Tables::default()
    }
}

/// Returns evidence without a violation. In an open room, Mallory sends a. Olga bans Mallory,
/// sends c, looks, and lifts the ban three seconds later; then Mallory joins again and sends b.
fn ruled_evidence() -> Evidence {
    let rows = [
        row(1, "mallory", "a"),
        row(2, "olga", "c"),
        row(3, "mallory", "b"),
    ];
    let [a, c, b] = rows.clone();
    let olga = [
        (0, Event::Connected),
        (10, joining(0)),
        (20, joined(0, 0)),
        (110, received(&a)),
        (1000, changing(1, BAN)),
        (1010, changed(1)),
        (1015, Event::Announced { room: 1 }),
        (2000, sent(1, "c")),
        (2010, received(&c)),
        (2020, acknowledged(1, &c)),
        (3000, Event::Looking { room: 1 }),
        (3010, members(&[("olga", Role::Owner)])),
        (4000, changing(2, UNBAN)),
        (4010, changed(2)),
        (4015, Event::Announced { room: 1 }),
        (4210, received(&b)),
    ];
    let operation = Operation::Join { room: 1 };
    let code = "not_found".to_owned();
    let [send_error, send_refused] = refused(2, "not_found");
    let mallory = [
        (0, Event::Connected),
        (10, joining(0)),
        (20, joined(0, 0)),
        (100, sent(1, "a")),
        (110, received(&a)),
        (120, acknowledged(1, &a)),
        (1020, excluded("banned")),
        (1100, joining(1)),
        (1110, error("joinRoom", "not_found")),
        (1111, Event::Refused { operation, code }),
        (1200, sent(2, "x")),
        (1210, send_error),
        (1211, send_refused),
        (4100, joining(1)),
        (4110, received(&c)),
        (4120, joined(2, 1)),
        (4200, sent(3, "b")),
        (4210, received(&b)),
        (4220, acknowledged(3, &b)),
    ];
    Evidence {
        histories: vec![history("olga", olga), history("mallory", mallory)],
        rows: rows.to_vec(),
        pointers: vec![pointer("mallory", 3), pointer("olga", 2)],
        states: States::default(),
        windows: Vec::new(),
        rules: Rules {
            before: tables(),
            after: tables(),
            read: [millis(5000), millis(5010)],
        },
        ..valid_evidence()
    }
}

fn ruled(forge: impl FnOnce(&mut Evidence)) -> Vec<Violation> {
    let mut evidence = ruled_evidence();
    forge(&mut evidence);
    check(&evidence)
}

#[track_caller]
fn finds_in_ruled(expected: fn(&Violation) -> bool, forge: impl FnOnce(&mut Evidence)) {
    let violations = ruled(forge);
    assert!(violations.iter().any(expected), "{violations:#?}");
}

/// Bans for this time, and does not lift the ban.
fn ban_for(evidence: &mut Evidence, seconds: u64) {
    let seconds = Some(seconds);
    let user = "mallory";
    evidence.replace(OLGA, 1000, changing(1, Change::Ban { user, seconds }));
    never_lift(evidence);
}

fn never_lift(evidence: &mut Evidence) {
    for at in [4000, 4010, 4015] {
        evidence.remove(OLGA, at);
    }
}

fn is_forbidden_but_stored(found: &Violation) -> bool {
    matches!(found, Violation::ForbiddenButStored { row, .. } if row.content == "b")
}

fn is_admitted(found: &Violation) -> bool {
    matches!(
        found,
        Violation::Admitted {
            event: "joinRoom",
            ..
        }
    )
}

#[test]
fn a_ban_and_its_end_are_not_a_violation() {
    assert_eq!(ruled(|_| {}), []);
    // By itself, between 3000 and 3010 ms.
    assert_eq!(ruled(|evidence| ban_for(evidence, 2)), []);
}

#[test]
fn what_a_banned_user_stores_is_found() {
    for expected in [is_forbidden_but_stored, is_admitted] {
        finds_in_ruled(expected, never_lift);
        finds_in_ruled(expected, |evidence| ban_for(evidence, 4));
    }
}

#[test]
fn a_message_that_was_sent_before_the_ban_and_is_stored_after_a_later_one_is_found() {
    let stored_late = |evidence: &mut Evidence| {
        for at in [4200, 4210, 4220] {
            evidence.remove(MALLORY, at);
        }
        evidence.remove(OLGA, 4210);
        let e = row(3, "mallory", "e");
        evidence.rows[2] = e.clone();
        evidence.insert(MALLORY, 995, [sent(3, "e")]);
        evidence.insert(OLGA, 2100, [received(&e)]);
        evidence.insert(MALLORY, 4115, [received(&e)]);
        evidence.replace(MALLORY, 4120, joined(3, 1));
    };
    finds_in_ruled(
        |found| matches!(found, Violation::ForbiddenButStored { row, .. } if row.content == "e"),
        stored_late,
    );
}

#[test]
fn what_a_muted_user_or_a_reader_stores_is_found_and_so_is_what_is_stored_in_a_frozen_room() {
    let (user, role) = ("mallory", Role::Reader);
    for what in [
        MUTE,
        Change::SetMember { user, role },
        Change::SetFrozen(true),
    ] {
        finds_in_ruled(is_forbidden_but_stored, |evidence| {
            evidence.insert(OLGA, 4130, [changing(3, what)]);
            evidence.insert(OLGA, 4140, [changed(3)]);
        });
    }
}

#[test]
fn an_owner_writes_in_a_frozen_room() {
    let violations = ruled(|evidence| {
        evidence.insert(OLGA, 1900, [changing(3, Change::SetFrozen(true))]);
        evidence.insert(OLGA, 1910, [changed(3)]);
        evidence.insert(OLGA, 2500, [changing(4, Change::SetFrozen(false))]);
        evidence.insert(OLGA, 2510, [changed(4)]);
    });
    assert_eq!(violations, []);
}

#[test]
fn a_change_of_unknown_outcome_is_made_or_not() {
    let unknown = |evidence: &mut Evidence| {
        evidence.windows = vec![window(3990, 4060)];
        evidence.remove(OLGA, 4010);
        evidence.insert(OLGA, 4010, refused_change(2, UNBAN, "outcome_unknown"));
    };
    assert_eq!(ruled(unknown), []);
    let still_banned = ruled(|evidence| {
        unknown(evidence);
        for at in [4100, 4110, 4120, 4200, 4210, 4220] {
            evidence.remove(MALLORY, at);
        }
        evidence.remove(OLGA, 4210);
        evidence.rows.pop();
        evidence.counters = vec![(1, 2)];
        evidence.pointers[0] = pointer("mallory", 1);
        evidence.insert(MALLORY, 4100, [joining(1)]);
        evidence.insert(MALLORY, 4105, [error("joinRoom", "not_found")]);
        let operation = Operation::Join { room: 1 };
        let code = "not_found".to_owned();
        evidence.insert(MALLORY, 4110, [Event::Refused { operation, code }]);
        evidence.rules.after.banned = vec![(1, "mallory".to_owned())];
    });
    let other: Vec<_> = still_banned
        .into_iter()
        .filter(|found| !matches!(found, Violation::NeverReceived { .. }))
        .collect();
    assert_eq!(other, []);
}

#[test]
fn a_refused_change_is_not_made() {
    finds_in_ruled(is_forbidden_but_stored, |evidence| {
        evidence.windows = vec![window(3990, 4060)];
        evidence.remove(OLGA, 4010);
        evidence.insert(OLGA, 4010, refused_change(2, UNBAN, "unavailable"));
    });
}

#[test]
fn what_reaches_an_excluded_user_later_than_a_second_is_found() {
    let reached = |found: &Violation| matches!(found, Violation::ReachedExcluded { .. });
    let at = |at: u64, windows: Vec<Window>| {
        ruled(move |evidence| {
            let c = evidence.rows[1].clone();
            evidence.windows = windows;
            evidence.insert(MALLORY, at, [received(&c)]);
        })
    };
    assert!(at(2300, vec![]).iter().any(reached));
    // Within the second, it is only what follows `leftRoom`.
    let early = at(2005, vec![]);
    assert!(!early.iter().any(reached), "{early:#?}");
    let followed = |found: &Violation| matches!(found, Violation::NotAMember { .. });
    assert!(early.iter().any(followed), "{early:#?}");
    // The second begins again after a strike.
    let struck = at(2300, vec![window(1000, 1500)]);
    assert!(!struck.iter().any(reached), "{struck:#?}");
    finds_in_ruled(reached, |evidence| {
        evidence.insert(MALLORY, 2300, [marked_read("olga", 1)]);
    });
}

#[test]
fn a_connection_that_is_not_excluded_within_a_second_is_found() {
    let excluded_at = |at: Option<u64>| {
        ruled(move |evidence| {
            for at in [1020, 1100, 1110, 1111] {
                evidence.remove(MALLORY, at);
            }
            if let Some(at) = at {
                evidence.insert(MALLORY, at, [excluded("banned")]);
            }
        })
    };
    let stays = |found: &Violation| matches!(found, Violation::NotExcluded { .. });
    assert_eq!(excluded_at(Some(1900)), []);
    for at in [Some(2500), None] {
        let violations = excluded_at(at);
        assert!(violations.iter().any(stays), "{at:?}: {violations:#?}");
    }
}

#[test]
fn a_join_that_was_sent_before_an_exclusion_may_succeed_after_it() {
    let rejoined = |after: u64| {
        ruled(move |evidence| {
            for at in [1020, 1100, 1110, 1111, 4100] {
                evidence.remove(MALLORY, at);
            }
            evidence.insert(MALLORY, 1900, [joining(after)]);
            evidence.insert(MALLORY, 1910, [excluded("banned")]);
        })
    };
    assert_eq!(rejoined(1), []);
    // The replay begins where it was asked to.
    assert_ne!(rejoined(0), []);
}

#[test]
fn an_exclusion_without_a_reason_is_found() {
    for (at, reason) in [
        (500, "banned"),
        (1025, "removed"),
        (1025, "closed"),
        (6000, "banned"),
    ] {
        let violations = ruled(|evidence| evidence.insert(MALLORY, at, [excluded(reason)]));
        let is_found = |found: &Violation| {
            matches!(found, Violation::ExcludedWithoutReason { reason: found, .. }
                if found == reason)
        };
        assert!(
            violations.iter().any(is_found),
            "{at} {reason}: {violations:#?}"
        );
    }
}

#[test]
fn a_room_that_becomes_private_excludes_users_without_membership() {
    let becomes_private = |reason: &'static str| {
        ruled(move |evidence| {
            evidence.insert(
                OLGA,
                4300,
                [changing(3, Change::SetKind(RoomKind::Private))],
            );
            evidence.insert(OLGA, 4310, [changed(3)]);
            evidence.insert(MALLORY, 4320, [excluded(reason)]);
            evidence.rules.after.rooms[0].1 = RoomKind::Private;
        })
    };
    assert_eq!(becomes_private("removed"), []);
    assert_eq!(
        becomes_private("banned").len(),
        0,
        "the ban ended less than a second before"
    );
}
