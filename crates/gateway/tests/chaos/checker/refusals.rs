//! That messages known not to be stored are not, and that the fault explains every refusal.

use std::collections::HashMap;

use super::Violation;
use super::attempts::{Attempt, attempts, by_content};
use super::changes::Changes;
use super::knowledge::Knowledge;
use super::rules::Requests;
use super::standing::Standing;
use crate::record::{Event, Evidence, History, Operation};
use crate::stage::EDITED;

/// Checks that no message is stored of which every attempt, on whatever connection, was
/// answered with "not stored".
pub(super) fn check_stored(
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut may_be_stored: HashMap<(&str, &str), bool> = HashMap::new();
    for history in &evidence.histories {
        for (content, attempts) in by_content(&attempts(history)) {
            let refused = attempts
                .iter()
                .all(|attempt| attempt.is_certainly_not_stored());
            *may_be_stored.entry((&history.user, content)).or_default() |= !refused;
        }
    }
    for ((user, content), may_be_stored) in may_be_stored {
        if !may_be_stored && knowledge.row(content).is_some() {
            violations.push(Violation::RefusedButStored {
                user: user.to_owned(),
                content: content.to_owned(),
            });
        }
    }
}

/// Checks that the fault explains every refusal and `error` event, and that such an event
/// precedes each refusal.
pub(super) fn check(
    history: &History,
    attempts: &[Attempt<'_>],
    evidence: &Evidence,
    (knowledge, standing, changes): (&Knowledge<'_>, &Standing<'_>, &Changes<'_>),
    violations: &mut Vec<Violation>,
) {
    let mut requests = Requests::default();
    let attempts: HashMap<u64, &Attempt<'_>> = attempts
        .iter()
        .map(|attempt| (attempt.number, attempt))
        .collect();
    let mut errors: HashMap<(&str, &str), usize> = HashMap::new();
    for (node, entry) in history.by_node() {
        requests.note(entry);
        let (event, code, is_explained) = match &entry.event {
            Event::Connected => {
                errors.clear();
                continue;
            }
            Event::Error { event, code } => {
                let name = event.as_deref().unwrap_or_default();
                *errors.entry((name, code)).or_default() += 1;
                // The acknowledgement shows whether there is a conflict, or what rules forbid.
                let is_conflict = code == "conflict" && name == "sendMessage";
                let is_edit = matches!(name, "editMessage" | "deleteMessage" | "setReaction");
                let is_judged_later = is_conflict
                    || is_edit && code == "conflict"
                    || requests.may_forbid(name, code, standing);
                (event.as_deref(), code, is_judged_later)
            }
            Event::Refused { operation, code } => {
                let event = operation.event();
                match errors.get_mut(&(event, code.as_str())) {
                    Some(count @ 1..) => *count -= 1,
                    _ => violations.push(Violation::NoErrorEvent {
                        client: history.client.clone(),
                        event: event.to_owned(),
                        code: code.clone(),
                    }),
                }
                let is_conflict = code == "conflict"
                    && matches!(operation, Operation::Send { attempt }
                        if conflicts(history, attempts[attempt], knowledge));
                let is_forbidden = || {
                    let client = (history, node, evidence);
                    requests.explain(*operation, code, entry.at, client, standing)
                };
                let is_deleted = code == "conflict"
                    && matches!(operation, Operation::Edit { .. })
                    && changes.may_be_deleted(EDITED, entry.at);
                (
                    Some(event),
                    code,
                    is_conflict || is_deleted || is_forbidden(),
                )
            }
            _ => continue,
        };
        let is_explained = is_explained
            || evidence.explains.codes.contains(&code.as_str())
                && evidence.is_struck(&history.client, node, entry.at);
        if !is_explained {
            violations.push(Violation::Unexplained {
                client: history.client.clone(),
                event: event.map(str::to_owned),
                code: code.clone(),
                at: entry.at,
            });
        }
    }
}

/// Returns whether the id of this attempt belongs to a message with different content.
fn conflicts(history: &History, attempt: &Attempt<'_>, knowledge: &Knowledge<'_>) -> bool {
    attempt
        .client_message_id
        .and_then(|id| knowledge.row_of_id(&history.user, attempt.room, id))
        .is_some_and(|row| row.content != attempt.content)
}
