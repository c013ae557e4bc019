DROP FUNCTION set_members;
DROP FUNCTION sanction_user;
ALTER TABLE mutes DROP COLUMN reason;
ALTER TABLE bans DROP COLUMN reason;
