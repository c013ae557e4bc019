-- When the user's last connection ended: UTC, as on the wire. NULL if that is not known, or hidden.
ALTER TABLE users ADD COLUMN last_seen_at TEXT;
