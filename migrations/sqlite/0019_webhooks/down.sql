DROP TABLE outbox_state;
DROP TABLE outbox_rooms;
DROP TABLE outbox_events;
