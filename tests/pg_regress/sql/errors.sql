-- Every mistake says what is wrong with which value, and what to do about it.
\set SHOW_CONTEXT never
\pset tuples_only on
\pset format unaligned
-- Tries a command, and shows SQLSTATE, message, detail and hint, which psql does not do at once. `errors_rules` calls it too.
CREATE FUNCTION complain(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text; hint text;
BEGIN
    EXECUTE command;
    RAISE SQLSTATE 'NOERR';
EXCEPTION
    WHEN SQLSTATE 'NOERR' THEN
        RETURN 'no error';
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        RETURN concat_ws(E'\n', code || ': ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
CREATE TABLE project (id int PRIMARY KEY, organisation_id text, secret text);
CREATE TABLE t (id int PRIMARY KEY, name text, org text, password text, project_id int REFERENCES project);
CREATE TABLE keyless (id int);
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
CREATE TEMPORARY TABLE tmp (id int PRIMARY KEY);
CREATE SEQUENCE s;
-- What cannot be tracked.
SELECT complain($$SELECT audit.track('nowhere', 't')$$);
SELECT complain($$SELECT audit.track(4000000000, 't')$$);
SELECT complain($$SELECT audit.track(NULL, 't')$$);
SELECT complain($$SELECT audit.track('v', 't')$$);
SELECT complain($$SELECT audit.track('m', 't')$$);
SELECT complain($$SELECT audit.track('u', 't')$$);
SELECT complain($$SELECT audit.track('tmp', 't')$$);
SELECT complain($$SELECT audit.track('s', 't')$$);
SELECT complain($$SELECT audit.track('pg_class', 't')$$);
SELECT complain($$SELECT audit.track('audit.event', 't')$$);
SELECT complain($$SELECT audit.track('t_pkey', 't')$$);
-- Who may not configure.
CREATE ROLE errors_plain;
CREATE ROLE errors_admin;
GRANT audit_admin TO errors_admin;
GRANT USAGE ON SCHEMA audit TO errors_plain;
GRANT EXECUTE ON FUNCTION audit.track, audit.untrack TO errors_plain;
SET ROLE errors_plain;
SELECT complain($$SELECT audit.track('t', 't')$$);
SET ROLE errors_admin;
SELECT complain($$SELECT audit.track('t', 't')$$);
SELECT complain($$SELECT audit.untrack('t')$$);
RESET ROLE;
-- A foreign table has no TRUNCATE triggers, so it is no partition of a tracked table either.
CREATE TABLE parts (id int, k int) PARTITION BY LIST (k);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE away PARTITION OF parts FOR VALUES IN (1) SERVER far;
SELECT complain($$SELECT audit.track('away', 't')$$);
SELECT complain($$SELECT audit.track('parts', 't')$$);
ALTER TABLE parts DETACH PARTITION away;
SELECT audit.track('parts', 'part');
SELECT complain($$ALTER TABLE parts ATTACH PARTITION away FOR VALUES IN (1)$$);
SELECT complain($$CREATE FOREIGN TABLE away_too PARTITION OF parts FOR VALUES IN (1) SERVER far$$);
-- Partitions have the settings of the whole.
CREATE TABLE part PARTITION OF parts FOR VALUES IN (2);
SELECT complain($$SELECT audit.track('part', 't')$$);
SELECT complain($$SELECT audit.untrack('part')$$);
SELECT audit.untrack('parts');
SELECT audit.track('part', 'part');
SELECT complain($$SELECT audit.track('parts', 't')$$);
SELECT audit.untrack('part');
DROP TABLE parts;
DROP FOREIGN TABLE away;
DROP SERVER far;
DROP FOREIGN DATA WRAPPER nowhere;
-- Names.
SELECT complain($$SELECT audit.track('t', NULL)$$);
SELECT complain($$SELECT audit.track('t', 'Data Source')$$);
SELECT complain($$SELECT audit.track('t', '')$$);
SELECT complain($$SELECT audit.track('t', 'audit')$$);
SELECT complain($$SELECT audit.track('t', repeat('x', 250))$$);
-- A trigger of someone else's with a name of ours.
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "!audit_row" AFTER INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT complain($$SELECT audit.track('keyless', 't')$$);
DROP TRIGGER "!audit_row" ON keyless;
DROP FUNCTION nothing;
-- Columns.
SELECT complain($$SELECT audit.track('t', 't', resource_id => '{key}')$$);
SELECT complain($$SELECT audit.track('t', 't', organisation_id => 'organisation')$$);
SELECT complain($$SELECT audit.track('t', 't', project_id => 'org.project')$$);
SELECT complain($$SELECT audit.track('t', 't', organisation_id => 'project_id.organization_id')$$);
SELECT complain($$SELECT audit.track('t', 't', organisation_id => 'projectid.organisation_id')$$);
SELECT complain($$SELECT audit.track('t', 't', mask => '{pasword}')$$);
SELECT complain($$SELECT audit.track('t', 't', exclude => '{name,NULL}')$$);
SELECT complain($$SELECT audit.track('t', 't', personal => '{nobody}')$$);
SELECT complain($$SELECT audit.track('t', 't', mask => '{id}')$$);
SELECT complain($$SELECT audit.track('t', 't', organisation_id => 'org', exclude => '{org}')$$);
SELECT audit.track('project', 'project', mask => '{secret}');
SELECT complain($$SELECT audit.track('t', 't', organisation_id => 'project_id.secret')$$);
SELECT audit.untrack('project');
SELECT complain($$SELECT audit.track('t', 't', resource_id => '{}')$$);
SELECT complain($$SELECT audit.track('t', 't', resource_id => '{id,id}')$$);
-- Configuration is atomic: nothing of all this stayed.
SELECT * FROM audit.tracked_table;
SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'audit.capture'::regproc AND tgrelid::regclass::text NOT LIKE 'audit.%';
SELECT pattern FROM audit.catalogue WHERE pattern LIKE 't.%';
-- Untracking.
SELECT complain($$SELECT audit.untrack('t')$$);
SELECT complain($$SELECT audit.untrack(NULL)$$);
-- DDL that would break a setting.
DROP VIEW v;
DROP MATERIALIZED VIEW m;
SELECT audit.track('t', 't', organisation_id => 'project_id.organisation_id', project_id => 'project_id');
SELECT complain($$ALTER TABLE t DROP project_id$$);
SELECT complain($$ALTER TABLE project DROP organisation_id$$);
SELECT complain($$ALTER TABLE t DROP CONSTRAINT t_project_id_fkey$$);
SELECT complain($$ALTER TABLE t DROP CONSTRAINT t_pkey$$);
SELECT complain($$ALTER TABLE t SET UNLOGGED$$);
SELECT audit.track('keyless', 'keyless', resource_id => '{id}');
SELECT complain($$ALTER TABLE keyless DROP id$$);
SELECT complain($$SELECT audit.track('project', 'project', mask => '{organisation_id}')$$);
DROP TABLE keyless;
-- Settings of the session.
SELECT complain($$SET audit.actor_type = 'robot'$$);
SELECT complain($$SET audit.actor_type = 'User'$$);
SELECT complain($$SET audit.metadata = '{'$$);
SELECT complain($$SET audit.metadata = 'request 7'$$);
SELECT complain($$SET audit.metadata = '[1]'$$);
SELECT complain($$SET audit.metadata = '{"a": "\u0000"}'$$);
SELECT complain($$SET audit.require_actor = 'sometimes'$$);
SELECT complain($$SET audit.actor_name = 'x'$$);
-- Who was not granted them sets none.
SET ROLE errors_plain;
SELECT complain($$SET audit.actor_id = 'u-1'$$);
SELECT complain($$SELECT set_config('audit.actor_type', 'user', true)$$);
SELECT complain($$SET audit.metadata = '{}'$$);
SELECT complain($$SET audit.require_actor = off$$);
RESET ROLE;
-- A write without an actor, where one is required.
SET audit.require_actor = on;
SELECT complain($$INSERT INTO t VALUES (1)$$);
SELECT complain($$SELECT audit.record('user.seen', 'user', 'u-1')$$);
RESET audit.require_actor;
-- audit.record.
SELECT complain($$SELECT audit.record(NULL, 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('login', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('user.', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('user.logged in', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('user.-login', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('audit.tracking.disabled', 'table', 'x')$$);
SELECT complain($$SELECT audit.record(repeat('user.', 60) || 'seen', 'user', 'u-1')$$);
SELECT complain($$SELECT audit.record('user.seen', 'user', 'u-1', metadata => '[1]')$$);
SET ROLE errors_plain;
SELECT complain($$SELECT audit.record('user.seen', 'user', 'u-1')$$);
RESET ROLE;
-- What is no mistake: no resource, and identifiers that are too long for an index, which are shortened.
SELECT complain($$SELECT audit.record('user.seen', NULL, NULL)$$);
SELECT set_config('audit.actor_id', repeat('a', 3000), false) = repeat('a', 3000);
SELECT audit.record('user.measured', 'user', repeat('u', 3000), repeat('o', 3000), repeat('p', 3000)) IS NOT NULL;
SELECT length(actor_id), length(resource_id), length(organisation_id), length(project_id) FROM audit.event ORDER BY event_id DESC LIMIT 1;
RESET audit.actor_id;
-- A trigger's function is nothing to call or to use elsewhere.
SELECT complain($$SELECT audit.capture()$$);
SELECT complain($$SELECT audit.before_ddl()$$);
SELECT complain($$SELECT audit.follow_ddl()$$);
SELECT complain($$SELECT audit.before_rewrite()$$);
SELECT complain($$CREATE TRIGGER early AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('{}')$$);
SELECT complain($$ALTER TRIGGER "!audit_row" ON t RENAME TO late$$);
-- A superuser can make one all the same; then the write says what is wrong with it.
SELECT audit.untrack('t');
CREATE TRIGGER "!audit_row" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('{}');
SELECT complain($$INSERT INTO t VALUES (1)$$);
CREATE OR REPLACE TRIGGER "!audit_row" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit.capture('nonsense');
SELECT complain($$INSERT INTO t VALUES (1)$$);
SELECT audit.untrack('t');
REVOKE ALL ON FUNCTION audit.track, audit.untrack FROM errors_plain;
REVOKE ALL ON SCHEMA audit FROM errors_plain;
DROP ROLE errors_plain, errors_admin;
DROP TABLE t, project, u, tmp;
DROP SEQUENCE s;
