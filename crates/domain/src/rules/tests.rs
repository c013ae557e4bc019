//! The table of decisions, which `docs/protocol.md` prints, and a model to compare with.

use proptest::prelude::*;

use super::*;

/// Where the table is printed.
const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// Every action, in the table's order, as the table names it. Slow mode and frozen rooms are
/// actions of their own there.
fn actions() -> Vec<(String, Action, bool)> {
    let mut actions = vec![
        ("read".to_owned(), Action::Read, false),
        ("write".to_owned(), Action::Write, false),
        ("write while frozen".to_owned(), Action::Write, true),
        (
            "write without waiting in slow mode".to_owned(),
            Action::WriteWithoutWaiting,
            false,
        ),
    ];
    for (frozen, when) in [(false, ""), (true, " while frozen")] {
        for (name, action) in [
            ("edit one's own message", Action::Edit(Authorship::Own)),
            (
                "edit another user's message",
                Action::Edit(Authorship::Other),
            ),
            ("delete one's own message", Action::Delete(Authorship::Own)),
            (
                "delete another user's message",
                Action::Delete(Authorship::Other),
            ),
            ("set or clear a reaction", Action::React),
            ("type", Action::Type),
        ] {
            actions.push((format!("{name}{when}"), action, frozen));
        }
    }
    for role in Role::ALL {
        let name = format!("become {}", role.as_str());
        actions.push((name, Action::JoinAs(role), false));
    }
    actions.push(("end one's own membership".to_owned(), Action::Leave, false));
    for role in Role::ALL {
        actions.push((format!("add a {}", role.as_str()), Action::Add(role), false));
    }
    actions.push(("change roles".to_owned(), Action::ChangeRole, false));
    for role in Role::ALL {
        let name = format!("remove a {}", role.as_str());
        actions.push((name, Action::Remove(role), false));
    }
    for target in [None].into_iter().chain(Role::ALL.map(Some)) {
        let target_name = target.map_or("user without membership", Role::as_str);
        let name = format!("ban or mute a {target_name}");
        actions.push((name, Action::Sanction(target), false));
    }
    let change_room = "change the name and the rules".to_owned();
    actions.push((change_room, Action::ChangeRoom, false));
    actions
}

fn standing(role: Option<Role>) -> Standing {
    Standing {
        role,
        is_banned: false,
        muted: None,
        is_admitted: true,
    }
}

fn rules(kind: RoomKind, frozen: bool) -> RoomRules {
    RoomRules {
        kind,
        frozen,
        slow_mode_seconds: 0,
    }
}

fn in_words(decision: Result<(), AccessDenied>) -> &'static str {
    match decision {
        Ok(()) => "yes",
        Err(AccessDenied::NotFound) => "`not_found`",
        Err(AccessDenied::NotInRoom) => "`not_in_room`",
        Err(AccessDenied::Forbidden(Forbidden::Role)) => "`role`",
        Err(AccessDenied::Forbidden(Forbidden::Muted(_))) => "`muted`",
        Err(AccessDenied::Forbidden(Forbidden::Frozen)) => "`frozen`",
        Err(AccessDenied::Forbidden(Forbidden::Author)) => "`author`",
    }
}

fn table() -> String {
    let mut table = String::from(
        "| action | no membership: open room | private room | reader | member | moderator | owner |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, action, frozen) in actions() {
        let decision = |kind, role| in_words(decide(rules(kind, frozen), standing(role), action));
        let mut cells = vec![
            decision(RoomKind::Open, None).to_owned(),
            decision(RoomKind::Private, None).to_owned(),
        ];
        for role in Role::ALL.map(Some) {
            let open = decision(RoomKind::Open, role);
            let private = decision(RoomKind::Private, role);
            cells.push(match open == private {
                true => open.to_owned(),
                false => format!("{open} (open), {private} (private)"),
            });
        }
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    table
}

#[test]
fn the_documented_table_is_what_the_function_decides() {
    let table = table();
    assert!(
        DOCUMENT.contains(&table),
        "docs/protocol.md must contain this table:\n\n{table}"
    );
}

#[test]
fn what_a_user_may_not_see_does_not_exist_whatever_it_tries() {
    for kind in RoomKind::ALL {
        for role in [None].into_iter().chain(Role::ALL.map(Some)) {
            let banned = Standing {
                is_banned: true,
                ..standing(role)
            };
            let not_in_token = Standing {
                is_admitted: false,
                ..standing(role)
            };
            for (name, action, frozen) in actions() {
                for hidden in [banned, not_in_token] {
                    let decision = decide(rules(kind, frozen), hidden, action);
                    assert_eq!(decision, Err(AccessDenied::NotFound), "{name}");
                }
            }
        }
    }
}

/// The contract's table of permissions, written once more: from the permission to the roles
/// that have it, instead of from the action to the decision.
fn is_permitted_by_the_contract(
    rules: RoomRules,
    standing: Standing,
    action: Action,
) -> Result<(), AccessDenied> {
    let is_member = standing.role.is_some();
    let can_see =
        standing.is_admitted && !standing.is_banned && (is_member || rules.kind == RoomKind::Open);
    if !can_see {
        return Err(AccessDenied::NotFound);
    }
    let rank = match standing.role {
        Some(Role::Reader) => 0,
        None | Some(Role::Member) => 1,
        Some(Role::Moderator) => 2,
        Some(Role::Owner) => 3,
    };
    let rank_of = |role: Role| Role::ALL.iter().position(|other| *other == role).unwrap();
    let by_role = |allowed: bool| match allowed {
        true => Ok(()),
        false => Err(AccessDenied::Forbidden(Forbidden::Role)),
    };
    let may_write = || {
        by_role(rank >= 1)?;
        if let Some(until) = standing.muted {
            return Err(AccessDenied::Forbidden(Forbidden::Muted(until)));
        }
        match rules.frozen && rank < 2 {
            true => Err(AccessDenied::Forbidden(Forbidden::Frozen)),
            false => Ok(()),
        }
    };
    match action {
        Action::Read | Action::Leave => Ok(()),
        Action::Write | Action::React | Action::Type | Action::Edit(Authorship::Own) => may_write(),
        Action::WriteWithoutWaiting => may_write().and_then(|()| by_role(rank >= 2)),
        Action::Edit(Authorship::Other) => Err(AccessDenied::Forbidden(Forbidden::Author)),
        Action::Delete(whose) if rank >= 2 || whose == Authorship::Other => by_role(rank >= 2),
        Action::Delete(_) => may_write(),
        Action::JoinAs(role) => {
            by_role(!is_member && role == Role::Member && rules.kind == RoomKind::Open)
        }
        Action::Add(role) => by_role(is_member && rank >= 2 && rank_of(role) < rank),
        Action::Remove(target) => by_role(is_member && rank >= 2 && rank_of(target) < rank),
        Action::Sanction(target) => {
            let target = target.map_or(1, rank_of);
            by_role(is_member && rank >= 2 && target < rank)
        }
        Action::ChangeRole | Action::ChangeRoom => by_role(rank == 3),
    }
}

fn any_role() -> impl Strategy<Value = Option<Role>> {
    proptest::option::of(proptest::sample::select(Role::ALL.to_vec()))
}

fn any_until() -> impl Strategy<Value = Option<Until>> {
    let until = prop_oneof![
        Just(Until::Lifted),
        (0..i64::from(i32::MAX)).prop_map(|at| Until::Time(Timestamp::from_unix_millis(at)))
    ];
    proptest::option::of(until)
}

proptest! {
    #[test]
    fn decisions_are_those_of_the_contract(
        kind in proptest::sample::select(RoomKind::ALL.to_vec()),
        frozen: bool,
        slow_mode_seconds: u32,
        role in any_role(),
        is_banned: bool,
        muted in any_until(),
        is_admitted: bool,
        action in proptest::sample::select(actions()),
    ) {
        let rules = RoomRules { kind, frozen, slow_mode_seconds };
        let standing = Standing { role, is_banned, muted, is_admitted };
        let (_, action, _) = action;
        prop_assert_eq!(
            decide(rules, standing, action),
            is_permitted_by_the_contract(rules, standing, action)
        );
    }
}

#[test]
fn names_are_those_of_the_wire() {
    for role in Role::ALL {
        assert_eq!(Role::from_name(role.as_str()), Some(role));
    }
    for kind in RoomKind::ALL {
        assert_eq!(RoomKind::from_name(kind.as_str()), Some(kind));
    }
    assert_eq!(Role::from_name("Owner"), None);
}
