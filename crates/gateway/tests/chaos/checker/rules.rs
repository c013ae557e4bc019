//! That rules are exact: nothing is stored that they forbid, and nothing of a room reaches a user
//! that they exclude, later than a second after the acknowledgement.

use std::collections::HashMap;
use std::time::Duration;

use chat_domain::Role;

use super::Violation;
use super::attempts::attempts;
use super::knowledge::Knowledge;
use super::standing::made::looks;
use super::standing::{Period, Standing};
use super::timing::stays;
use crate::record::{Event, Evidence, History, Message, Seen};

pub(super) use self::requests::Requests;

mod requests;

/// Checks that the rules may have permitted every stored message.
///
/// It was stored after it was sent, as was every message before it, and before a client knew it
/// or any message after it.
pub(super) fn check_stored(
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    standing: &Standing<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut sent: HashMap<&str, Duration> = HashMap::new();
    for history in &evidence.histories {
        for attempt in attempts(history) {
            if !attempt.is_certainly_not_stored() {
                let first = sent.entry(attempt.content).or_insert(attempt.at);
                *first = attempt.at.min(*first);
            }
        }
    }
    for room in standing.rooms() {
        let rows = evidence.rows.iter().filter(|row| row.room == room);
        let rows: Vec<&Message> = rows.collect();
        let mut by = Duration::MAX;
        let mut known: Vec<_> = rows
            .iter()
            .rev()
            .map(|row| {
                by = by.min(knowledge.first_known(room, row.seq).unwrap_or(by));
                by
            })
            .collect();
        let mut since = Duration::ZERO;
        for row in rows {
            let by = known.pop().expect("a time for each row");
            let content = row.content.as_str();
            since = since.max(sent.get(content).copied().unwrap_or_default());
            if !standing.may_write(room, &row.user, [since, by]) {
                violations.push(Violation::ForbiddenButStored {
                    row: row.clone(),
                    stored: [since, by],
                });
            }
        }
    }
}

/// Checks what the database holds in the end.
pub(super) fn check_tables(
    evidence: &Evidence,
    standing: &Standing<'_>,
    violations: &mut Vec<Violation>,
) {
    let after = &evidence.rules.after;
    let read = evidence.rules.read;
    let mut found = |room: u64, what: String| {
        violations.push(Violation::StoredRules { room, what });
    };
    for room in standing.rooms() {
        let settings = after.rooms.iter().find(|(of, ..)| *of == room);
        let fits = settings.is_some_and(|(_, kind, frozen)| {
            standing.may_be_of_kind(room, *kind, read)
                && standing.may_be_frozen(room, *frozen, read)
        });
        if !fits {
            found(room, format!("room_settings {settings:?}"));
        }
        for user in standing.users(room) {
            let is_in = |table: &[(u64, String)]| {
                let mut rows = table.iter();
                rows.any(|(of, whom)| *of == room && whom == user)
            };
            let mut members = after.members.iter();
            let member = members.find(|(of, whom, _)| *of == room && whom == user);
            let role = member.map(|(_, _, role)| *role);
            if !standing.may_have_role(room, user, read, |may| may == role) {
                found(room, format!("members {user} {role:?}"));
            }
            let is_banned = is_in(&after.banned);
            let fits = match is_banned {
                true => standing.may_be_banned(room, user, read),
                false => standing.may_not_be_banned(room, user, read),
            };
            if !fits {
                found(room, format!("bans {user} {is_banned}"));
            }
            if !may_be_muted(standing, (room, user), is_in(&after.muted), read) {
                found(room, format!("mutes {user}"));
            }
        }
    }
    let users = |room| standing.users(room);
    let members = after.members.iter().map(|(room, user, _)| (*room, user));
    let banned = after.banned.iter().map(|(room, user)| (*room, user));
    let muted = after.muted.iter().map(|(room, user)| (*room, user));
    for (room, user) in members.chain(banned).chain(muted) {
        if !users(room).contains(user.as_str()) {
            found(room, format!("an unknown user: {user}"));
        }
    }
}

fn may_be_muted(
    standing: &Standing<'_>,
    (room, user): (u64, &str),
    is_muted: bool,
    period: Period,
) -> bool {
    match is_muted {
        true => standing.may_be_muted(room, user, period),
        false => standing.may_not_be_muted(room, user, period),
    }
}

/// Checks what one client observed.
pub(super) fn check(
    history: &History,
    evidence: &Evidence,
    standing: &Standing<'_>,
    violations: &mut Vec<Violation>,
) {
    check_exclusions(history, evidence, standing, violations);
    check_stays(history, evidence, standing, violations);
    check_looks(history, standing, violations);
    let mut requests = Requests::default();
    for entry in &history.entries {
        requests.note(entry);
        let (room, event) = match &entry.event {
            Event::Joined(joined) => (joined.room, "joinRoom"),
            Event::Listed { room, .. } => (*room, "listMessages"),
            _ => continue,
        };
        let period = [requests.sent(room, event), entry.at];
        if standing.has_rules(room) && !standing.may_see(room, &history.user, period) {
            violations.push(Violation::Admitted {
                client: history.client.clone(),
                room,
                event,
                at: entry.at,
            });
        }
    }
}

/// Checks what arrived from rooms with rules, and why the connection was excluded.
fn check_exclusions(
    history: &History,
    evidence: &Evidence,
    standing: &Standing<'_>,
    violations: &mut Vec<Violation>,
) {
    let (client, user) = (&history.client, &history.user);
    for (node, entry) in history.by_node() {
        let at = entry.at;
        let room = match &entry.event {
            Event::Received(message) => message.room,
            Event::Announced { room } | Event::Excluded { room, .. } => *room,
            Event::MarkedRead { room, .. } => *room,
            _ => continue,
        };
        if !standing.has_rules(room) {
            continue;
        }
        let period = [evidence.noticed_since(client, node, at), at];
        if let Event::Excluded { reason, .. } = &entry.event {
            let is_explained = match reason.as_str() {
                "banned" => standing.may_be_banned(room, user, period),
                "removed" => standing.may_be_removed(room, user, period),
                _ => false,
            };
            if !is_explained {
                violations.push(Violation::ExcludedWithoutReason {
                    client: client.clone(),
                    room,
                    reason: reason.clone(),
                    at,
                });
            }
        } else if !standing.may_see(room, user, period) {
            let client = client.clone();
            violations.push(Violation::ReachedExcluded { client, room, at });
        }
    }
}

/// Checks that no connection stays in a room from which its user is excluded. Its user is
/// excluded the longest before something changes, and before the stay ends.
fn check_stays(
    history: &History,
    evidence: &Evidence,
    standing: &Standing<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut turning_points: HashMap<u64, Vec<Duration>> = HashMap::new();
    for stay in stays(history) {
        let room = stay.room;
        if !standing.has_rules(room) {
            continue;
        }
        let points = turning_points.entry(room).or_insert_with(|| {
            let mut points = standing.turning_points(room, &history.user);
            points.sort_unstable();
            points
        });
        let first = points.partition_point(|at| *at <= stay.from);
        let within = points[first..].iter().take_while(|at| **at < stay.to);
        let before = within.map(|at| at.saturating_sub(Duration::from_nanos(1)));
        for at in before.chain([stay.to]) {
            let since = evidence.noticed_since(&history.client, stay.node, at);
            if since >= stay.from && !standing.may_see(room, &history.user, [since, at]) {
                violations.push(Violation::NotExcluded {
                    client: history.client.clone(),
                    room,
                    at,
                });
                break;
            }
        }
    }
}

/// Checks the rules and the members that the client was shown.
fn check_looks(history: &History, standing: &Standing<'_>, violations: &mut Vec<Violation>) {
    for (room, seen, period) in looks(history) {
        let fits = match seen {
            Seen::Room { kind, frozen } => {
                standing.may_be_of_kind(room, *kind, period)
                    && standing.may_be_frozen(room, *frozen, period)
            }
            Seen::Members(members) => standing.users(room).into_iter().all(|user| {
                let member = members.iter().find(|member| member.user == user);
                let role: Option<Role> = member.map(|member| member.role);
                standing.may_have_role(room, user, period, |may| may == role)
                    && member.is_none_or(|member| {
                        may_be_muted(standing, (room, user), member.is_muted, period)
                    })
            }),
        };
        if !fits {
            violations.push(Violation::RulesSeen {
                client: history.client.clone(),
                room,
                at: period[1],
            });
        }
    }
}
