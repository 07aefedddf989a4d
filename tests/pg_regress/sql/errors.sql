-- Every mistake says what is wrong with which value, and what to do about it.
\set VERBOSITY terse
CREATE FUNCTION complain(command text) RETURNS TABLE (code text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN QUERY SELECT '00000', 'no error', NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;
CREATE TABLE t (id int PRIMARY KEY, name text, org text);
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
CREATE TEMPORARY TABLE tmp (id int PRIMARY KEY);
CREATE SEQUENCE s;
\x
-- What cannot be tracked.
SELECT * FROM complain($$SELECT audit.track('nowhere', 't')$$);
SELECT * FROM complain($$SELECT audit.track(4000000000, 't')$$);
SELECT * FROM complain($$SELECT audit.track(NULL, 't')$$);
SELECT * FROM complain($$SELECT audit.track('v', 't')$$);
SELECT * FROM complain($$SELECT audit.track('m', 't')$$);
SELECT * FROM complain($$SELECT audit.track('u', 't')$$);
SELECT * FROM complain($$SELECT audit.track('tmp', 't')$$);
SELECT * FROM complain($$SELECT audit.track('s', 't')$$);
SELECT * FROM complain($$SELECT audit.track('pg_class', 't')$$);
SELECT * FROM complain($$SELECT audit.track('audit.event', 't')$$);
SELECT * FROM complain($$SELECT audit.track('t_pkey', 't')$$);
-- A foreign table has no TRUNCATE triggers, so it is no partition of a tracked table either.
CREATE TABLE parts (id int, k int) PARTITION BY LIST (k);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE away PARTITION OF parts FOR VALUES IN (1) SERVER far;
SELECT * FROM complain($$SELECT audit.track('away', 't')$$);
SELECT * FROM complain($$SELECT audit.track('parts', 't')$$);
ALTER TABLE parts DETACH PARTITION away;
SELECT audit.track('parts', 'part');
SELECT * FROM complain($$ALTER TABLE parts ATTACH PARTITION away FOR VALUES IN (1)$$);
SELECT * FROM complain($$CREATE FOREIGN TABLE away_too PARTITION OF parts FOR VALUES IN (1) SERVER far$$);
DROP TABLE parts;
DROP FOREIGN TABLE away;
DROP SERVER far;
DROP FOREIGN DATA WRAPPER nowhere;
-- Names.
SELECT * FROM complain($$SELECT audit.track('t', NULL)$$);
SELECT * FROM complain($$SELECT audit.track('t', 'Data Source')$$);
SELECT * FROM complain($$SELECT audit.track('t', '')$$);
SELECT * FROM complain($$SELECT audit.track('t', 'audit')$$);
SELECT * FROM complain($$SELECT audit.track('t', repeat('x', 250))$$);
-- Columns.
SELECT * FROM complain($$SELECT audit.track('t', 't', resource_id => '{key}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', organisation_id => 'organisation')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', project_id => 'org.project')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', mask => '{pasword}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', exclude => '{name,NULL}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', personal => '{nobody}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', mask => '{id}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', organisation_id => 'org', exclude => '{org}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', resource_id => '{}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', resource_id => '{id,id}')$$);
-- Actions.
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '[]')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"upsert": "t.upserted"}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"insert": 5}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"insert": 1e400}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"insert": "T.created"}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"insert": "created"}')$$);
SELECT * FROM complain($$SELECT audit.track('t', 't', actions => '{"insert": "audit.tracking.disabled"}')$$);
-- Configuration is atomic: nothing of all this stayed.
SELECT * FROM audit.tracked_table;
SELECT count(*) AS added FROM audit.catalogue WHERE NOT built_in AND pattern LIKE 't.%';
-- Untracking.
SELECT * FROM complain($$SELECT audit.untrack('t')$$);
SELECT * FROM complain($$SELECT audit.untrack(NULL)$$);
-- DDL that would break a setting.
DROP VIEW v;
DROP MATERIALIZED VIEW m;
SELECT audit.track('t', 't', organisation_id => 'org');
SELECT * FROM complain($$ALTER TABLE t DROP org$$);
-- Settings of the session.
SELECT * FROM complain($$SET audit.actor_type = 'robot'$$);
SELECT * FROM complain($$SET audit.metadata = '{'$$);
SELECT * FROM complain($$SET audit.actor_name = 'x'$$);
-- A trigger's function is nothing to call or to use elsewhere.
SELECT * FROM complain($$SELECT audit.capture()$$);
SELECT * FROM complain($$CREATE TRIGGER early AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('{}')$$);
SELECT * FROM complain($$ALTER TRIGGER "!audit_row" ON t RENAME TO late$$);
-- A superuser can make one all the same; then the write says what is wrong with it.
SELECT audit.untrack('t');
CREATE TRIGGER "!audit_row" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('{}');
SELECT * FROM complain($$INSERT INTO t VALUES (1)$$);
CREATE OR REPLACE TRIGGER "!audit_row" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('nonsense');
SELECT * FROM complain($$INSERT INTO t VALUES (1)$$);
SELECT audit.untrack('t');
\x
DROP TABLE t;
DROP TABLE u;
DROP SEQUENCE s;
DROP FUNCTION complain;
