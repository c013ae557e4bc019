//! The faults: what each one explains, and what it must show in each round. A run in which a
//! fault shows less has proved nothing, and fails.

use crate::figures::Figures;
use crate::record::{Breaks, Explains};

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) explains: Explains,
    shows: Shows,
}

/// The least that a fault must show per round, in addition to having struck in every round.
#[derive(Clone, Copy, Debug)]
struct Shows {
    /// Sends without an answer.
    unanswered: u64,
    /// Sends that were refused.
    refused: u64,
    reconnects: u64,
    /// Members that the gateway disconnected because they did not read.
    cut_off: u64,
    /// Acknowledgements that the proxy swallowed.
    swallowed: u64,
    /// Strikes during which no send was acknowledged.
    stalls: u64,
    /// Database sessions that were terminated. The gateway repeats what it can on new ones,
    /// so that a client may notice nothing.
    terminated: u64,
    /// Database sessions that the network broke during a call.
    broken_calls: u64,
    /// Strikes during which nodes published no hint.
    hint_stalls: u64,
    /// Clients that waited in vain and connected to another node.
    gave_up: u64,
}

const NOTHING: Shows = Shows {
    unanswered: 0,
    refused: 0,
    reconnects: 0,
    cut_off: 0,
    swallowed: 0,
    stalls: 0,
    terminated: 0,
    broken_calls: 0,
    hint_stalls: 0,
    gave_up: 0,
};

/// The number of clients, each of which loses its connection to a gateway that ends.
const CLIENTS: u64 = crate::stage::WITHOUT_RULES as u64;
/// The least number of clients whose home is one of several nodes.
const AT_HOME: u64 = CLIENTS / MOST_NODES;
/// The largest number of nodes.
pub(crate) const MOST_NODES: u64 = 3;

pub(crate) const KILLED: Fault = Fault {
    name: "kill -9",
    explains: Explains {
        codes: &[],
        breaks: Breaks::Affected,
        failed_reads: false,
    },
    shows: Shows {
        unanswered: 1,
        reconnects: CLIENTS,
        ..NOTHING
    },
};

pub(crate) const TERMINATED: Fault = Fault {
    name: "SIGTERM",
    explains: Explains {
        codes: &[],
        breaks: Breaks::Affected,
        failed_reads: false,
    },
    shows: Shows {
        reconnects: CLIENTS,
        ..NOTHING
    },
};

pub(crate) const SUSPENDED: Fault = Fault {
    name: "SIGSTOP",
    explains: Explains {
        codes: &[],
        breaks: Breaks::Nothing,
        failed_reads: false,
    },
    shows: Shows {
        stalls: 1,
        ..NOTHING
    },
};

pub(crate) const CONNECTIONS_RESET: Fault = Fault {
    name: "connections reset",
    explains: Explains {
        codes: &[],
        breaks: Breaks::ByProxy,
        failed_reads: false,
    },
    shows: Shows {
        unanswered: 1,
        reconnects: 5,
        ..NOTHING
    },
};

pub(crate) const ACKNOWLEDGEMENTS_LOST: Fault = Fault {
    name: "acknowledgements lost",
    explains: Explains {
        codes: &[],
        breaks: Breaks::ByProxy,
        failed_reads: false,
    },
    shows: Shows {
        unanswered: 1,
        reconnects: 1,
        swallowed: 1,
        ..NOTHING
    },
};

pub(crate) const READERS_PAUSED: Fault = Fault {
    name: "readers paused",
    explains: Explains {
        codes: &[],
        breaks: Breaks::Affected,
        failed_reads: false,
    },
    shows: Shows {
        reconnects: 1,
        cut_off: 1,
        ..NOTHING
    },
};

pub(crate) const LOCKED: Fault = Fault {
    name: "locked by another writer",
    explains: Explains {
        codes: &["unavailable"],
        breaks: Breaks::Nothing,
        failed_reads: false,
    },
    shows: Shows {
        refused: 1,
        stalls: 1,
        ..NOTHING
    },
};

pub(crate) const SERVER_STOPPED: Fault = Fault {
    name: "server stopped",
    explains: Explains {
        codes: &["unavailable", "outcome_unknown"],
        breaks: Breaks::Nothing,
        failed_reads: true,
    },
    shows: Shows {
        refused: 1,
        ..NOTHING
    },
};

pub(crate) const BACKENDS_TERMINATED: Fault = Fault {
    name: "backends terminated",
    explains: Explains {
        codes: &["unavailable", "outcome_unknown"],
        breaks: Breaks::Nothing,
        failed_reads: true,
    },
    shows: Shows {
        terminated: 5,
        ..NOTHING
    },
};

pub(crate) const DISK_FULL: Fault = Fault {
    name: "disk full",
    explains: Explains {
        codes: &["unavailable", "outcome_unknown"],
        breaks: Breaks::Nothing,
        failed_reads: true,
    },
    shows: Shows {
        refused: 20,
        ..NOTHING
    },
};

/// What PostgreSQL has not synced is lost.
pub(crate) const MACHINE_CRASHED: Fault = Fault {
    name: "the server's machine crashed",
    ..SERVER_STOPPED
};

/// One of several gateways is killed, and for a while not started again.
pub(crate) const NODE_KILLED: Fault = Fault {
    name: "kill -9 of one node",
    shows: Shows {
        unanswered: 1,
        reconnects: AT_HOME,
        ..NOTHING
    },
    ..KILLED
};

/// One gateway after another is shut down and started again.
pub(crate) const ROLLING_RESTART: Fault = Fault {
    name: "rolling restart",
    ..TERMINATED
};

/// One of several gateways is suspended, shortly, and until its clients have given up.
pub(crate) const NODE_SUSPENDED: Fault = Fault {
    name: "SIGSTOP of one node",
    shows: Shows {
        reconnects: 1,
        stalls: 2,
        gave_up: 1,
        ..NOTHING
    },
    ..SUSPENDED
};

/// Nothing arrives for a while between one gateway and PostgreSQL, then everything.
pub(crate) const DATABASE_SILENT: Fault = Fault {
    name: "silence between one node and the server",
    explains: SERVER_STOPPED.explains,
    shows: Shows {
        stalls: 1,
        ..NOTHING
    },
};

/// One gateway's connections to PostgreSQL are reset, which PostgreSQL learns later.
pub(crate) const DATABASE_TORN: Fault = Fault {
    name: "connections of one node to the server torn",
    explains: SERVER_STOPPED.explains,
    shows: Shows {
        broken_calls: 1,
        ..NOTHING
    },
};

/// Redis is killed and started again. Like every fault of Redis, it explains nothing.
pub(crate) const REDIS_KILLED: Fault = Fault {
    name: "Redis killed",
    explains: NONE.explains,
    shows: Shows {
        hint_stalls: 1,
        ..NOTHING
    },
};

/// Redis is shut down and started again.
pub(crate) const REDIS_RESTARTED: Fault = Fault {
    name: "Redis restarted",
    ..REDIS_KILLED
};

/// Redis is suspended.
pub(crate) const REDIS_SUSPENDED: Fault = Fault {
    name: "Redis suspended",
    ..REDIS_KILLED
};

/// Redis is full of clients that do not read, and then accepts no node any more.
pub(crate) const REDIS_FULL: Fault = Fault {
    name: "Redis full of slow clients",
    ..REDIS_KILLED
};

/// One node is cut off from Redis, in one direction or both.
pub(crate) const REDIS_CUT_OFF: Fault = Fault {
    name: "one node cut off from Redis",
    ..REDIS_KILLED
};

/// Not a fault: the load by itself.
pub(crate) const NONE: Fault = Fault {
    name: "no fault",
    ..TAMPERING
};

/// Not a fault: what the judge must notice by itself.
pub(crate) const TAMPERING: Fault = Fault {
    name: "one message tampered with",
    explains: Explains {
        codes: &[],
        breaks: Breaks::Nothing,
        failed_reads: false,
    },
    shows: NOTHING,
};

/// Every fault.
pub(crate) const FAULTS: [Fault; 21] = [
    KILLED,
    TERMINATED,
    SUSPENDED,
    CONNECTIONS_RESET,
    ACKNOWLEDGEMENTS_LOST,
    READERS_PAUSED,
    LOCKED,
    SERVER_STOPPED,
    BACKENDS_TERMINATED,
    DISK_FULL,
    MACHINE_CRASHED,
    NODE_KILLED,
    ROLLING_RESTART,
    NODE_SUSPENDED,
    DATABASE_SILENT,
    DATABASE_TORN,
    REDIS_KILLED,
    REDIS_RESTARTED,
    REDIS_SUSPENDED,
    REDIS_FULL,
    REDIS_CUT_OFF,
];

impl Fault {
    /// Returns what the fault should have shown and has not.
    pub(crate) fn shortfalls(&self, figures: &Figures) -> Vec<String> {
        let rounds = figures.strikes.len() as u64;
        let Shows {
            unanswered,
            refused,
            reconnects,
            cut_off,
            swallowed,
            stalls,
            terminated,
            broken_calls,
            hint_stalls,
            gave_up,
        } = self.shows;
        let required = [
            ("sends unanswered", figures.unanswered, unanswered),
            ("sends refused", figures.refused, refused),
            ("reconnects", figures.reconnects, reconnects),
            ("members cut off", figures.cut_off, cut_off),
            ("acknowledgements lost", figures.swallowed, swallowed),
            ("stalls", figures.stalls, stalls),
            ("sessions terminated", figures.terminated, terminated),
            ("calls broken", figures.broken_calls, broken_calls),
            ("stalls of hints", figures.hint_stalls, hint_stalls),
            ("clients that gave up", figures.gave_up, gave_up),
        ];
        let shown = required
            .iter()
            .filter(|(_, shown, per_round)| *shown < per_round * rounds)
            .map(|(what, shown, per_round)| {
                format!(
                    "{shown} {what} in {rounds} rounds, at least {per_round} per round expected"
                )
            });
        let strikes = figures.strikes.iter().enumerate();
        strikes
            .filter(|(_, strikes)| **strikes == 0)
            .map(|(round, _)| format!("it did not strike in round {}", round + 1))
            .chain(shown)
            .collect()
    }
}

#[test]
fn a_fault_that_shows_less_than_it_must_falls_short() {
    let figures = Figures {
        strikes: vec![1, 1],
        reconnects: 2 * CLIENTS,
        unanswered: 2,
        ..Figures::default()
    };
    assert_eq!(KILLED.shortfalls(&figures), [""; 0]);
    let one_less = Figures {
        unanswered: 1,
        ..figures.clone()
    };
    assert_eq!(
        KILLED.shortfalls(&one_less),
        ["1 sends unanswered in 2 rounds, at least 1 per round expected"]
    );
    let one_round = Figures {
        strikes: vec![2, 0],
        ..figures
    };
    assert_eq!(
        KILLED.shortfalls(&one_round),
        ["it did not strike in round 2"]
    );
}
