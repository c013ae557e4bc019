-- Revoked tokens are accepted again.
DROP TABLE disconnections;
DROP TABLE revocations;
