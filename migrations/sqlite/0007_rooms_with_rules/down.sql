-- Without a message, a room does not exist again.
DELETE FROM rooms WHERE last_seq = 0;
UPDATE rooms SET rules = 0 WHERE rules <> 0;
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (last_seq >= 0)', 'CHECK (last_seq > 0)')
    WHERE type = 'table' AND name = 'rooms';
PRAGMA writable_schema = RESET;

DROP TABLE slow_mode_turns;
DROP TABLE mutes;
DROP TABLE bans;
DROP TABLE members;
DROP TABLE room_settings;
