//! Chooses the next messages when more are waiting than fit into a batch.

use std::collections::{HashMap, VecDeque};

use chat_domain::UserId;

use super::Waiting;

/// Moves the messages that are next to the front, if more than `count` wait: the first one
/// of each user, then the second one of each, and so on. Both they and the rest keep their
/// order.
pub(super) fn bring_forward(waiting: &mut VecDeque<Waiting>, count: usize) {
    if waiting.len() <= count {
        return;
    }
    let turns = turns(waiting);
    let mut in_turn = vec![0; waiting.len()];
    for turn in &turns {
        if let Some(messages) = in_turn.get_mut(*turn) {
            *messages += 1;
        }
    }
    // The turns that fit as a whole, and what is left for the next one.
    let mut left = count;
    let whole = in_turn
        .iter()
        .take_while(|messages| match left.checked_sub(**messages) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
        .count();
    let mut next = VecDeque::with_capacity(waiting.len());
    let mut rest = VecDeque::new();
    for (message, turn) in waiting.drain(..).zip(turns) {
        if turn < whole {
            next.push_back(message);
        } else if turn == whole && left > 0 {
            left -= 1;
            next.push_back(message);
        } else {
            rest.push_back(message);
        }
    }
    next.append(&mut rest);
    *waiting = next;
}

/// Returns for each message how many of its sender come before it.
fn turns(waiting: &VecDeque<Waiting>) -> Vec<usize> {
    let mut taken: HashMap<&UserId, usize> = HashMap::new();
    let turns = waiting.iter().map(|w| {
        let taken = taken.entry(&w.message.author.id).or_default();
        *taken += 1;
        *taken - 1
    });
    turns.collect()
}
