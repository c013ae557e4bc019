-- What has to be reported to the product's backend, as on PostgreSQL. There is no log to sort: a
-- batch writes what waits directly.

-- What waits, room by room, in order of the columns of the primary key. Consecutive messages are
-- one row.
CREATE TABLE outbox_events (
    room_id INTEGER NOT NULL,
    -- The number of the record.
    id INTEGER NOT NULL,
    -- '': the entry is not about a user.
    user_id TEXT NOT NULL,
    -- The positions of messages, or the numbers of changes; 0 for what has none.
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    -- The type of the webhook, or fence: a room was deleted, and that is not reported.
    kind TEXT NOT NULL,
    -- Who made the change. NULL: the product.
    changed_by TEXT,
    recorded_at TEXT NOT NULL,
    -- When it was given up, and why. NULL: it was not.
    parked_at TEXT,
    reason TEXT,
    PRIMARY KEY (room_id, id, user_id, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_events_recorded_at ON outbox_events (recorded_at) WHERE parked_at IS NULL;
CREATE INDEX outbox_events_parked_at ON outbox_events (parked_at) WHERE parked_at IS NOT NULL;
CREATE INDEX outbox_events_deletions ON outbox_events (room_id, id)
    WHERE kind IN ('room.deleted', 'fence');

-- The rooms in which something waits.
CREATE TABLE outbox_rooms (
    room_id INTEGER PRIMARY KEY NOT NULL,
    -- When the next delivery is due. While a node holds the room: when its lease expires.
    due_at TEXT NOT NULL,
    -- How often the next delivery has failed, and since when.
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT,
    reason TEXT,
    -- The node that holds the room. NULL: none.
    holder INTEGER
) STRICT;
CREATE INDEX outbox_rooms_due_at ON outbox_rooms (due_at) WHERE attempts = 0;
CREATE INDEX outbox_rooms_in_retry ON outbox_rooms (due_at) WHERE attempts > 0;
CREATE INDEX outbox_rooms_holder ON outbox_rooms (due_at) WHERE holder IS NOT NULL;

-- One row: the number of the latest record, and since when deliveries are paused.
CREATE TABLE outbox_state (
    last_id INTEGER NOT NULL,
    paused_at TEXT
) STRICT;
INSERT INTO outbox_state VALUES (0, NULL);
