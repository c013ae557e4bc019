//! Who may make which change.

mod attempts;

use std::sync::Arc;

use super::*;
use crate::ports::MockRoomDirectory;
use crate::use_cases::permits::tests::{identity, room, settings, snapshot, with_role};
use crate::{Forbidden, Generation, RulesNumber, Until};

const ROLES: [Option<Role>; 5] = [
    None,
    Some(Role::Reader),
    Some(Role::Member),
    Some(Role::Moderator),
    Some(Role::Owner),
];

const BANNED: UserRecord = UserRecord {
    role: None,
    banned: Some(Until::Lifted),
    muted: None,
};

/// Every kind of change, by the name that the tables give it.
const CHANGES: [(&str, RulesChange); 9] = [
    ("reader", RulesChange::Role(Role::Reader)),
    ("member", RulesChange::Role(Role::Member)),
    ("moderator", RulesChange::Role(Role::Moderator)),
    ("owner", RulesChange::Role(Role::Owner)),
    ("remove", RulesChange::Remove),
    ("ban", RulesChange::Ban(Sanction::lasting(Some(60)))),
    ("unban", RulesChange::Unban),
    ("mute", RulesChange::Mute(Sanction::lasting(None))),
    ("unmute", RulesChange::Unmute),
];

/// What becomes of another user, by its role. A cell has a character for each role of the
/// actor, from no membership to owner: `+` allowed, `-` forbidden to the role.
const OF_ANOTHER: &str = "
            none  reader member moderator owner
reader     ---++  ---++  ----+  ----+  ----+
member     ---++  ----+  ---++  ----+  ----+
moderator  ----+  ----+  ----+  ----+  ----+
owner      -----  ----+  ----+  ----+  ----+
remove     ---++  ---++  ---++  ----+  -----
ban        ---++  ---++  ---++  ----+  -----
unban      ---++  ---++  ---++  ----+  -----
mute       ---++  ---++  ---++  ----+  -----
unmute     ---++  ---++  ---++  ----+  -----
";

/// What users may do to themselves, in the same characters.
const OF_ONESELF: &str = "
reader     -+--+
member     +-+-+
moderator  ---++
owner      ----+
remove     +++++
ban        -----
unban      -----
mute       -----
unmute     -----
";

fn other() -> UserId {
    UserId::new("7").unwrap()
}

fn of(user_id: UserId, change: RulesChange) -> RulesRequest {
    RulesRequest::User { user_id, change }
}

/// User 42 makes this of itself.
fn own(change: RulesChange) -> RulesRequest {
    of(identity().user.id, change)
}

fn freeze() -> RulesRequest {
    RulesRequest::Settings(SettingsPatch {
        frozen: Some(true),
        ..SettingsPatch::default()
    })
}

fn changed(number: u64) -> Changed {
    Changed {
        rules: RulesNumber::new(number),
        generation: Generation::FIRST,
        settings: settings(RoomKind::Open),
        member: None,
        has_changed: true,
    }
}

async fn execute(
    directory: MockRoomDirectory,
    default_kind: RoomKind,
    actor: Actor<'_>,
    request: &RulesRequest,
) -> Result<Changed, ChangeRulesError> {
    let permits = Permits::new(Arc::new(directory), default_kind);
    let change_rules = ChangeRules::new(permits);
    change_rules.execute(actor, room(1), request).await
}

/// Returns whose standing decides: that of the actor, and of the user that the request names.
fn asked_for(actor: Actor<'_>, request: &RulesRequest) -> Vec<UserId> {
    let user = identity().user.id;
    match (actor, request) {
        (Actor::Product, RulesRequest::Settings(_)) => vec![],
        (Actor::Product, RulesRequest::User { user_id, .. }) => vec![user_id.clone()],
        (Actor::User(_), RulesRequest::User { user_id, .. }) if *user_id != user => {
            vec![user, user_id.clone()]
        }
        (Actor::User(_), _) => vec![user],
    }
}

/// Returns the outcome in this room as a character of the tables. The change is asked for if
/// and only if it is allowed.
async fn outcome(found: RoomSnapshot, actor: Actor<'_>, request: &RulesRequest) -> char {
    let mut directory = MockRoomDirectory::new();
    let asked = directory.expect_snapshot().once();
    let ids = asked_for(actor, request);
    asked
        .withf(move |asked, users| *asked == room(1) && users == ids)
        .return_once(|_, _| Ok(found));
    let expected = change(request);
    let made_by = match actor {
        Actor::User(identity) => Some(identity.user.id.clone()),
        Actor::Product => None,
    };
    directory
        .expect_change()
        .withf(move |asked, decided_by, change, by| {
            (*asked, *decided_by, change) == (room(1), RulesNumber::new(7), &expected)
                && *by == made_by
        })
        .returning(|_, _, _, _| Ok(changed(8)));
    match execute(directory, RoomKind::Open, actor, request).await {
        Ok(made) => {
            assert_eq!(made, changed(8));
            '+'
        }
        Err(ChangeRulesError::Denied(AccessDenied::NotFound)) => 'n',
        Err(ChangeRulesError::Denied(AccessDenied::Forbidden(Forbidden::Role))) => '-',
        Err(ChangeRulesError::LastOwner) => 'L',
        Err(ChangeRulesError::Banned) => 'B',
        Err(error) => panic!("{error}"),
    }
}

/// Returns the outcomes for an actor of each role, which is user 42. The others of the
/// snapshot follow it.
async fn outcomes(kind: RoomKind, others: &[UserRecord], request: &RulesRequest) -> String {
    let mut cell = String::new();
    for role in ROLES {
        let users = [&[with_role(role)], others].concat();
        let actor = identity();
        cell.push(outcome(snapshot(kind, users), Actor::User(&actor), request).await);
    }
    cell
}

/// Returns a cell of the tables for a private room: it does not exist without membership.
fn in_private(cell: &str) -> String {
    format!("n{}", &cell[1..])
}

/// Returns the rows of a table, each as its name and its cells.
fn rows(table: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let rows = table.lines().filter(|row| !row.starts_with(' '));
    rows.filter_map(|row| {
        let mut words = row.split_whitespace();
        Some((words.next()?, words.collect()))
    })
}

#[pollster::test]
async fn roles_decide_what_becomes_of_another_user() {
    for ((row, cells), (name, change)) in rows(OF_ANOTHER).zip(CHANGES) {
        assert_eq!(row, name);
        for (cell, target) in cells.into_iter().zip(ROLES) {
            let (request, others) = (of(other(), change.clone()), [with_role(target)]);
            let open = outcomes(RoomKind::Open, &others, &request).await;
            assert_eq!(open, cell, "{name} for {target:?}");
            let private = outcomes(RoomKind::Private, &others, &request).await;
            assert_eq!(private, in_private(cell), "{name} for {target:?}");
        }
    }
}

#[pollster::test]
async fn roles_decide_what_users_make_of_themselves() {
    for ((row, cells), (name, change)) in rows(OF_ONESELF).zip(CHANGES) {
        assert_eq!(row, name);
        let open = outcomes(RoomKind::Open, &[], &own(change.clone())).await;
        assert_eq!([&*open], *cells, "{name}");
        let private = outcomes(RoomKind::Private, &[], &own(change.clone())).await;
        assert_eq!(private, in_private(cells[0]), "{name}");
    }
}

#[pollster::test]
async fn owners_change_the_settings() {
    let open = outcomes(RoomKind::Open, &[], &freeze()).await;
    assert_eq!(open, "----+");
    let private = outcomes(RoomKind::Private, &[], &freeze()).await;
    assert_eq!(private, "n---+");
}

#[pollster::test]
async fn the_product_may_do_what_no_role_permits() {
    for (name, change) in CHANGES {
        for target in ROLES {
            let found = snapshot(RoomKind::Private, vec![with_role(target)]);
            let made = outcome(found, Actor::Product, &of(other(), change.clone())).await;
            assert_eq!(made, '+', "{name} for {target:?}");
        }
    }
    let found = snapshot(RoomKind::Private, vec![]);
    assert_eq!(outcome(found, Actor::Product, &freeze()).await, '+');
}

#[pollster::test]
async fn the_last_owner_stays_whoever_asks_and_a_second_one_need_not() {
    let user = identity();
    for (name, change) in CHANGES {
        let ends_ownership = match change {
            RulesChange::Role(role) => role != Role::Owner,
            RulesChange::Remove | RulesChange::Ban(_) => true,
            RulesChange::Unban | RulesChange::Mute(_) | RulesChange::Unmute => false,
        };
        // No user may ban or mute itself.
        let is_own = matches!(change, RulesChange::Role(_) | RulesChange::Remove);
        for owners in [1, 2] {
            let expected = match owners == 1 && ends_ownership {
                true => 'L',
                false => '+',
            };
            let found = RoomSnapshot {
                owners,
                ..snapshot(RoomKind::Open, vec![with_role(Some(Role::Owner))])
            };
            let removed =
                outcome(found.clone(), Actor::Product, &of(other(), change.clone())).await;
            assert_eq!(removed, expected, "{name}, by the product");
            let expected = if is_own { expected } else { '-' };
            let left = outcome(found, Actor::User(&user), &own(change.clone())).await;
            assert_eq!(left, expected, "{name}, by itself");
        }
    }
}

#[pollster::test]
async fn users_whose_role_is_too_low_do_not_learn_who_is_the_last_owner_or_banned() {
    let user = identity();
    for (target, change) in [
        (with_role(Some(Role::Owner)), RulesChange::Remove),
        (
            with_role(Some(Role::Owner)),
            RulesChange::Ban(Sanction::lasting(None)),
        ),
        (BANNED, RulesChange::Role(Role::Moderator)),
    ] {
        let moderator = with_role(Some(Role::Moderator));
        let found = RoomSnapshot {
            owners: 1,
            ..snapshot(RoomKind::Open, vec![moderator, target])
        };
        let denied = outcome(found, Actor::User(&user), &of(other(), change.clone())).await;
        assert_eq!(denied, '-', "{change:?}");
    }
}

#[pollster::test]
async fn a_banned_user_becomes_no_member_until_the_ban_is_lifted() {
    let user = identity();
    let owner = with_role(Some(Role::Owner));
    for (name, change) in CHANGES {
        let expected = match change {
            RulesChange::Role(_) => 'B',
            _ => '+',
        };
        let found = snapshot(RoomKind::Open, vec![BANNED]);
        let made = outcome(found, Actor::Product, &of(other(), change.clone())).await;
        assert_eq!(made, expected, "{name}");
        // Owners add no other owners.
        if change != RulesChange::Role(Role::Owner) {
            let found = snapshot(RoomKind::Open, vec![owner, BANNED]);
            let made = outcome(found, Actor::User(&user), &of(other(), change.clone())).await;
            assert_eq!(made, expected, "{name}");
        }
        let found = snapshot(RoomKind::Open, vec![BANNED]);
        let hidden = outcome(found, Actor::User(&user), &own(change.clone())).await;
        assert_eq!(hidden, 'n', "{name}");
    }
}

#[pollster::test]
async fn a_room_that_the_token_does_not_allow_is_not_found_without_a_query() {
    let user = identity();
    let permits = Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open);
    let change_rules = ChangeRules::new(permits);
    for request in [freeze(), own(RulesChange::Remove)] {
        let refused = change_rules.execute(Actor::User(&user), room(2), &request);
        assert!(matches!(
            refused.await,
            Err(ChangeRulesError::Denied(AccessDenied::NotFound))
        ));
    }
}
