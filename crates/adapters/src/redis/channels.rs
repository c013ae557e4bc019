//! The names of the channels.

use chat_domain::RoomId;

/// What every channel of a deployment begins with.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    prefix: String,
    /// The number of this node.
    node: String,
}

/// What a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// Hints about a room.
    Room(RoomId),
    /// Commands for every node.
    Nodes,
    /// What the nodes do.
    Reports,
    /// Presence of users.
    Presence,
    /// Answers to this node.
    Answers,
}

impl Channels {
    pub(super) fn new(prefix: &str, node: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            node: node.to_owned(),
        }
    }

    /// Returns the name of the channel with the answers to a node.
    pub(super) fn of_node(&self, node: &str) -> String {
        format!("{}presence:{node}", self.prefix)
    }

    /// Returns the channel's name.
    pub(super) fn name(&self, channel: Channel) -> String {
        let prefix = &self.prefix;
        match channel {
            Channel::Room(room_id) => format!("{prefix}room:{room_id}"),
            Channel::Nodes => format!("{prefix}nodes"),
            Channel::Reports => format!("{prefix}reports"),
            Channel::Presence => format!("{prefix}presence"),
            Channel::Answers => self.of_node(&self.node),
        }
    }

    /// Returns the channel with this name.
    pub(super) fn parse(&self, name: &[u8]) -> Option<Channel> {
        let name = std::str::from_utf8(name).ok()?;
        match name.strip_prefix(&self.prefix)? {
            "nodes" => Some(Channel::Nodes),
            "reports" => Some(Channel::Reports),
            "presence" => Some(Channel::Presence),
            name if name.strip_prefix("presence:") == Some(&self.node) => Some(Channel::Answers),
            name => {
                let number = name.strip_prefix("room:")?.parse().ok()?;
                Some(Channel::Room(RoomId::new(number).ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_after_what_it_carries() {
        let channels = Channels::new("chat:", "3f");
        let room = Channel::Room(RoomId::new(7).unwrap());
        for (channel, name) in [
            (room, "chat:room:7"),
            (Channel::Nodes, "chat:nodes"),
            (Channel::Reports, "chat:reports"),
            (Channel::Presence, "chat:presence"),
            (Channel::Answers, "chat:presence:3f"),
        ] {
            assert_eq!(channels.name(channel), name);
            assert_eq!(channels.parse(name.as_bytes()), Some(channel));
        }
        for name in [
            "room:7",
            "chat:room:0",
            "chat:room:x",
            "chat:",
            "chat:presence:3e",
            "other:nodes",
        ] {
            assert_eq!(channels.parse(name.as_bytes()), None, "{name}");
        }
    }
}
