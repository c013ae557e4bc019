-- Why a user is banned or muted. It decides nothing, so it is not among what the number of a
-- room's rules counts.
ALTER TABLE bans ADD COLUMN reason TEXT;
ALTER TABLE mutes ADD COLUMN reason TEXT;
