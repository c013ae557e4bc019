//! What clients are told of rules, and what is stored of them.

use super::*;

#[test]
fn a_change_that_is_announced_outside_the_room_is_found() {
    finds_in_ruled(
        |found| matches!(found, Violation::AnnouncedOutside { .. }),
        |evidence| evidence.insert(MALLORY, 1500, [Event::Announced { room: 1 }]),
    );
}

#[test]
fn a_refusal_that_no_rule_explains_is_found() {
    for (at, code) in [
        (500, "not_found"),
        (500, "forbidden"),
        (500, "not_in_room"),
        (500, "unavailable"),
        (4300, "forbidden"),
        (6000, "not_found"),
    ] {
        let violations = ruled(|evidence| {
            evidence.insert(MALLORY, at, [sent(9, "y")]);
            evidence.insert(MALLORY, at + 10, refused(9, code));
        });
        let is_found = matches!(&violations[..],
            [Violation::Unexplained { code: found, .. }] if found == code);
        assert!(is_found, "{at} {code}: {violations:#?}");
    }
    // A room without rules, in which nothing of this is possible.
    finds(
        |found| matches!(found, Violation::Unexplained { code, .. } if code == "forbidden"),
        |evidence| {
            evidence.insert(ADA, 180, [sent(6, "d")]);
            evidence.insert(ADA, 190, refused(6, "forbidden"));
        },
    );
}

#[test]
fn a_mute_explains_that_a_message_is_forbidden_and_nothing_more() {
    let muted_and = |code: &'static str| {
        ruled(move |evidence| {
            evidence.insert(OLGA, 4300, [changing(3, MUTE)]);
            evidence.insert(OLGA, 4310, [changed(3)]);
            evidence.insert(MALLORY, 6000, [sent(9, "y")]);
            evidence.insert(MALLORY, 6010, refused(9, code));
            evidence.rules.after.muted = vec![(1, "mallory".to_owned())];
        })
    };
    assert_eq!(muted_and("forbidden"), []);
    assert_eq!(muted_and("not_found").len(), 1);
}

#[test]
fn tables_that_do_not_follow_from_the_changes_are_found() {
    let mallory = || (1, "mallory".to_owned());
    let forgeries: [fn(&mut Tables); 5] = [
        |tables| tables.rooms[0].1 = RoomKind::Private,
        |tables| tables.rooms[0].2 = true,
        |tables| tables.members[0].2 = Role::Member,
        |tables| tables.members.clear(),
        |tables| {
            let user = "an unknown user".to_owned();
            tables.members.push((1, user, Role::Member));
        },
    ];
    let stored = |found: &Violation| matches!(found, Violation::StoredRules { .. });
    for forge in forgeries {
        let violations = ruled(|evidence| forge(&mut evidence.rules.after));
        assert!(violations.iter().any(stored), "{violations:#?}");
    }
    finds_in_ruled(stored, |evidence| {
        evidence.rules.after.banned.push(mallory())
    });
    finds_in_ruled(stored, |evidence| {
        evidence.rules.after.muted.push(mallory())
    });
    // The ban that is not lifted must be there.
    finds_in_ruled(stored, never_lift);
}

#[test]
fn members_that_do_not_follow_from_the_changes_are_found() {
    finds_in_ruled(
        |found| matches!(found, Violation::RulesSeen { .. }),
        |evidence| {
            let seen = [("mallory", Role::Member), ("olga", Role::Owner)];
            evidence.replace(OLGA, 3010, members(&seen));
        },
    );
}
