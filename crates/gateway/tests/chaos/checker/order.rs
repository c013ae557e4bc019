//! That messages of one connection to a room are stored in the order in which it sent them.

use std::collections::BTreeMap;

use super::Violation;
use super::attempts::{Answer, Attempt, by_content};
use super::knowledge::Knowledge;
use crate::record::History;

/// A stored message with the attempt that determines its place in the sender's order.
struct Sending<'a> {
    attempt: u64,
    seq: u64,
    content: &'a str,
}

pub(super) fn check(
    history: &History,
    attempts: &[Attempt<'_>],
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let any_refused = attempts
        .iter()
        .any(|attempt| matches!(attempt.answer, Answer::Refused(_)));
    let mut sendings: BTreeMap<(usize, u64), Vec<Sending<'_>>> = BTreeMap::new();
    for (content, attempts) in by_content(attempts) {
        let Some(row) = knowledge.row(content) else {
            continue;
        };
        if knowledge.is_shared(content) {
            continue;
        }
        let refused = |attempt: &&&Attempt<'_>| attempt.is_certainly_not_stored();
        let repeated = attempts.iter().take_while(refused).count();
        let Some(counts) = attempts.get(repeated) else {
            continue;
        };
        let later = &attempts[repeated..];
        let is_ambiguous = |attempt: &&Attempt<'_>| match attempt.answer {
            Answer::Refused(_) => true,
            Answer::None => any_refused,
            Answer::Stored(_) => false,
        };
        let never_answered = later[later.len() - 1].answer == Answer::None;
        if never_answered || later.len() > 1 && later.iter().any(is_ambiguous) {
            continue;
        }
        sendings
            .entry((counts.connection, counts.room))
            .or_default()
            .push(Sending {
                attempt: counts.number,
                seq: row.seq,
                content,
            });
    }
    for ((connection, room), mut sendings) in sendings {
        sendings.sort_unstable_by_key(|sending| sending.attempt);
        for pair in sendings.windows(2) {
            if pair[0].seq > pair[1].seq {
                violations.push(Violation::OwnOrder {
                    client: history.client.clone(),
                    connection,
                    room,
                    first: pair[0].content.to_owned(),
                    second: pair[1].content.to_owned(),
                });
            }
        }
    }
}
