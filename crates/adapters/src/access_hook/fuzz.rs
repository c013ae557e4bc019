//! The internals that the fuzz targets run. Nothing else may use them.

use std::time::Duration;

use chat_domain::Role;

use super::answer::Answer;

/// Reads the body of a response. Returns the granted role, if the user may join, and for how long
/// the answer is kept; `None` if it is not a valid answer.
pub fn answer(body: &[u8]) -> Option<(Option<Role>, Duration)> {
    let answer = Answer::parse(body).ok()?;
    Some((answer.role, answer.ttl))
}
