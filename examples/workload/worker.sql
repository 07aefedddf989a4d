-- The application's own jobs.

-- Nightly: the bin is emptied, old invitations go, counters are counted anew. All of it was told or is nobody's decision.
BEGIN;
SET LOCAL audit.actor_id = 'janitor'; SET LOCAL audit.actor_type = 'system';
DELETE FROM scores WHERE deleted_at IS NOT NULL;
DELETE FROM invitations WHERE status <> 'pending';
UPDATE organisations o SET seats_used = (SELECT count(*) FROM memberships m WHERE m.organisation_id = o.id);
UPDATE projects SET trace_count = trace_count + 1000;
UPDATE users SET last_seen_at = now();
COMMIT;
\qecho request janitor system

-- A score that nobody threw into the bin, deleted at once.
SELECT id AS score FROM scores WHERE trace_id = 'live-60' \gset
BEGIN;
SET LOCAL audit.actor_id = 'janitor'; SET LOCAL audit.actor_type = 'system';
DELETE FROM scores WHERE id = :score;
COMMIT;
\qecho request janitor system
\qecho - scores score.deleted score :score org_acme prj_chat trace_id=live-60 deleted_at=null

-- Traces are not in this database. That they were deleted when their time had come, the job records itself.
BEGIN;
SET LOCAL audit.actor_id = 'retention'; SET LOCAL audit.actor_type = 'system'; SET LOCAL audit.metadata = '{"request_id": "night-1"}';
SELECT audit.record('retention.deleted', 'retention', 'traces', 'org_acme', 'prj_chat') \g /dev/null
SELECT audit.record('retention.deleted', 'retention', 'traces', 'org_globex', NULL) \g /dev/null
COMMIT;
\qecho request retention system night-1
\qecho . - retention.deleted retention traces org_acme prj_chat
\qecho . - retention.deleted retention traces org_globex N/A

-- The job is killed: it has deleted nothing, and says nothing.
BEGIN;
SET LOCAL audit.actor_id = 'retention'; SET LOCAL audit.actor_type = 'system';
SELECT audit.record('retention.deleted', 'retention', 'traces', 'org_initech', NULL) \g /dev/null
ROLLBACK;
\qecho request retention system
