-- The log is append-only, for its owner too.
SELECT audit.record('guard.tested', NULL, NULL) IS NOT NULL AS recorded;
UPDATE audit.event SET actor_id = 'someone else';
DELETE FROM audit.event;
TRUNCATE audit.event;
TRUNCATE audit.event_default;
SET session_replication_role = replica;
DELETE FROM audit.event;
RESET session_replication_role;
SELECT count(*) FROM audit.event WHERE action = 'guard.tested';
