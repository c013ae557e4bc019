//! The rooms with rules: how they are at first, and how the database has them.

use std::sync::atomic::Ordering;

use chat_domain::{Role, RoomKind};

use super::Stage;
use super::profiles::{MODERATOR, OWNER, RULED};
use super::storage::{number, select};
use crate::record::{Rules, Tables};
use crate::support::Database;

/// Rooms 4 and 5, of users olga and mo. The statements are separated for both databases.
const CREATE: &str = "INSERT INTO rooms (id, last_seq, rules) VALUES (4, 0, 1), (5, 0, 1);; \
    INSERT INTO room_settings (room_id, kind, frozen, slow_mode_seconds, metadata, created_at, \
        member_count, owner_count) \
    VALUES (4, 'open', false, 0, '{}', '2026-01-31T12:00:00.000Z', 2, 1), \
        (5, 'private', false, 0, '{}', '2026-01-31T12:00:00.000Z', 2, 1);; \
    INSERT INTO members (room_id, user_id, role, joined_at) \
    VALUES (4, 'olga', 'owner', '2026-01-31T12:00:00.000Z'), \
        (4, 'mo', 'moderator', '2026-01-31T12:00:00.000Z'), \
        (5, 'olga', 'owner', '2026-01-31T12:00:00.000Z'), \
        (5, 'mo', 'moderator', '2026-01-31T12:00:00.000Z')";

impl Stage<'_> {
    /// Creates the rooms with rules, each with an owner and a moderator. One session does it all:
    /// a process for each command would cost more than the test.
    pub(super) fn create_rooms(&mut self) {
        self.sql(CREATE);
        let [open, private] = RULED;
        let member = |room, user: &str, role| (room, user.to_owned(), role);
        let members = RULED.into_iter().flat_map(|room| {
            [
                member(room, OWNER, Role::Owner),
                member(room, MODERATOR, Role::Moderator),
            ]
        });
        self.rules_before = Some(Tables {
            rooms: vec![
                (open, RoomKind::Open, false),
                (private, RoomKind::Private, false),
            ],
            members: members.collect(),
            ..Tables::default()
        });
    }

    /// Waits until rules have had an effect: otherwise, the test would prove nothing about them.
    pub(super) async fn rules_have_effect(&mut self) {
        if self.rules_before.is_some() {
            let crowd = self.crowd.clone();
            self.until("connections are excluded", || {
                crowd.exclusions.load(Ordering::Relaxed) >= 2
            })
            .await;
        }
    }

    /// Waits until this many more changes of rules have been acknowledged.
    pub(crate) async fn changed_rules(&mut self, more: u64) {
        let crowd = self.crowd.clone();
        let wanted = crowd.changes.load(Ordering::Relaxed) + more;
        self.until("rules are changed", || {
            crowd.changes.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    /// Returns the tables of rules as they were and as they are.
    pub(super) fn rules(&mut self) -> Rules {
        let Some(before) = self.rules_before.take() else {
            return Rules::default();
        };
        let from = self.now();
        let after = tables(self.database);
        Rules {
            before,
            after,
            read: [from, self.now()],
        }
    }
}

fn tables(database: &Database) -> Tables {
    let now = match database {
        Database::Sqlite(_) => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        Database::Postgres(_) => "now()",
    };
    let sql = format!(
        "SELECT 'room', room_id, kind, CASE WHEN frozen THEN 'frozen' ELSE '' END \
         FROM room_settings \
         UNION ALL SELECT 'member', room_id, user_id, role FROM members \
         UNION ALL SELECT 'ban', room_id, user_id, '' FROM bans \
         WHERE until IS NULL OR until > {now} \
         UNION ALL SELECT 'mute', room_id, user_id, '' FROM mutes \
         WHERE until IS NULL OR until > {now}"
    );
    let mut tables = Tables::default();
    select(database, &sql, |[table, room, first, second]| {
        let room = number(room);
        let user = first.to_owned();
        match table {
            "room" => {
                let kind = RoomKind::from_name(first).expect("a kind");
                tables.rooms.push((room, kind, second == "frozen"));
            }
            "member" => {
                let role = Role::from_name(second).expect("a role");
                tables.members.push((room, user, role));
            }
            "ban" => tables.banned.push((room, user)),
            _ => tables.muted.push((room, user)),
        }
    });
    tables
}
