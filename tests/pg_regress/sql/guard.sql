-- The log is append-only, for its owner too.
SELECT audit.record('guard.tested', NULL, NULL) IS NOT NULL AS recorded;
UPDATE audit.event SET actor_id = 'someone else';
DELETE FROM audit.event;
TRUNCATE audit.event;
TRUNCATE audit.event_default;
SET session_replication_role = replica;
DELETE FROM audit.event;
RESET session_replication_role;
-- Also where no row is meant, and the log is not dropped by accident.
DELETE FROM audit.event WHERE false;
DROP TABLE audit.event_default;
ALTER TABLE audit.event DETACH PARTITION audit.event_default;
DROP EXTENSION audit CASCADE;
SELECT count(*) FROM audit.event WHERE action = 'guard.tested';
