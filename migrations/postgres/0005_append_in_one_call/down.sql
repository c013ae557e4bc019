DROP FUNCTION append_messages;
DROP FUNCTION next_message_ids;
-- After the last block, of which ids may be in use.
SELECT setval(pg_get_serial_sequence('messages', 'id'),
    nextval(pg_get_serial_sequence('messages', 'id')));
ALTER TABLE messages ALTER COLUMN id SET INCREMENT BY 1;
ALTER TABLE rooms DROP CONSTRAINT rooms_last_seq_limit, DROP COLUMN rules;
