//! The clients that take part in a test.

use crate::client::{Profile, Role, Transport};

/// The rooms with rules: one that is open at first, and a private one.
pub(crate) const RULED: [u64; 2] = [4, 5];

/// The room in which messages change.
pub(crate) const EDITED: u64 = 6;

/// The clients. Two of the senders are connections of one user, as are two of the guests. Only
/// five use the rooms with rules, and the last three the room in which messages change; they use
/// no others.
pub(crate) const CLIENTS: [Profile; 20] = [
    sender("sender-1", "ada", &[1, 2]),
    sender("sender-2", "ada", &[1, 3]),
    sender("sender-3", "sender-3", &[2, 3]),
    sender("sender-4", "sender-4", &[1]),
    sender("sender-5", "sender-5", &[2]),
    polling(sender("sender-6", "sender-6", &[3])),
    reader("reader-1", &[1, 2, 3]),
    reader("reader-2", &[1]),
    reader("reader-3", &[2]),
    polling(reader("reader-4", &[3])),
    visitor("visitor-1", &[1, 2]),
    polling(visitor("visitor-2", &[2, 3])),
    ruled("owner", OWNER, Role::Owner, &RULED),
    ruled("moderator", MODERATOR, Role::Moderator, &RULED),
    ruled("guest-1", "mallory", Role::Guest, &RULED),
    ruled("guest-2", "mallory", Role::Guest, &[RULED[0]]),
    polling(ruled("guest-3", "trudy", Role::Guest, &RULED)),
    editor("editor-1"),
    editor("editor-2"),
    polling(editor("editor-3")),
];

/// How many of them, the first ones, use the rooms with neither rules nor changes.
pub(crate) const WITHOUT_RULES: usize = CLIENTS.len() - 8;

/// The users that own and moderate the rooms with rules.
pub(super) const OWNER: &str = "olga";
pub(super) const MODERATOR: &str = "mo";

/// Returns the node to which a client belongs, given its place in `CLIENTS`. Each room has members
/// on every node, and the connections of one user are on different nodes.
pub(crate) const fn home(client: usize, nodes: usize) -> usize {
    (client + client / 4) % nodes
}

const fn sender(name: &'static str, user: &'static str, rooms: &'static [u64]) -> Profile {
    Profile {
        name,
        user,
        role: Role::Sender,
        transport: Transport::WebSocket,
        rooms,
    }
}

const fn reader(name: &'static str, rooms: &'static [u64]) -> Profile {
    Profile {
        role: Role::Reader,
        ..sender(name, name, rooms)
    }
}

const fn visitor(name: &'static str, rooms: &'static [u64]) -> Profile {
    Profile {
        role: Role::Visitor,
        ..sender(name, name, rooms)
    }
}

const fn ruled(
    name: &'static str,
    user: &'static str,
    role: Role,
    rooms: &'static [u64],
) -> Profile {
    Profile {
        role,
        ..sender(name, user, rooms)
    }
}

const fn editor(name: &'static str) -> Profile {
    Profile {
        role: Role::Editor,
        ..sender(name, name, &[EDITED])
    }
}

const fn polling(profile: Profile) -> Profile {
    Profile {
        transport: Transport::Polling,
        ..profile
    }
}

#[test]
fn every_room_has_members_on_every_node() {
    let home_of = |name| {
        let place = CLIENTS.iter().position(|client| client.name == name);
        move |nodes| home(place.unwrap(), nodes)
    };
    for nodes in [2, 3] {
        for (node, room) in (0..nodes).flat_map(|node| (1..=6).map(move |room| (node, room))) {
            let mut clients = CLIENTS.iter().enumerate();
            let is_served = clients
                .any(|(place, client)| home(place, nodes) == node && client.rooms.contains(&room));
            assert!(is_served, "room {room} on node {node} of {nodes}");
        }
        assert_ne!(home_of("sender-1")(nodes), home_of("sender-2")(nodes));
        assert_ne!(home_of("guest-1")(nodes), home_of("guest-2")(nodes));
    }
}
