-- When the user's last connection ended. NULL if that is not known, or hidden. It is not indexed,
-- so that writing it writes no index (HOT).
ALTER TABLE users ADD COLUMN last_seen_at timestamptz;
