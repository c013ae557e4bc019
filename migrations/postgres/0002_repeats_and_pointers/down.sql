DROP TABLE read_pointers;
DROP INDEX messages_client_message_id;
