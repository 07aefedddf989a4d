-- The functions that users call, and the triggers' functions.

CREATE FUNCTION audit.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'audit_capture';
COMMENT ON FUNCTION audit.capture() IS 'Trigger of tracked tables: leaves the event of a write. Its argument holds the settings of audit.track';

CREATE FUNCTION audit.track(
    target regclass,
    resource_type text,
    resource_id text[] DEFAULT NULL,
    organisation_id text DEFAULT NULL,
    project_id text DEFAULT NULL,
    actions jsonb DEFAULT NULL,
    exclude text[] DEFAULT '{}',
    mask text[] DEFAULT '{}',
    personal text[] DEFAULT '{}',
    on_replica boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_track';
COMMENT ON FUNCTION audit.track(regclass, text, text[], text, text, jsonb, text[], text[], text[], boolean) IS
'Makes every write of a table leave an event; called again, replaces all settings of that table.
target: the table, whose owner the caller is, as a member of audit_admin.
resource_type: what its rows are; default actions are <resource_type>.created, .updated, .deleted, .truncated.
resource_id: columns of the resource''s id; default the primary key.
organisation_id, project_id: where the scope is: a column, or a path along foreign keys such as ''project_id.organisation_id''.
actions: {"insert": "...", "update": "...", "delete": "...", "truncate": "...", "rules": [...]}; null drops the event. A rule is
{"on": "insert, update or delete", "columns": [...], "if": "SQL over old and new", "action": "...", "resource_type": "...", "resource_id": [...]}:
the first that holds names the event of a row that comes or goes; of an UPDATE each claims its changed columns for an event of its own.
exclude: columns never stored and whose change alone is no event.
mask: columns stored as ''[masked]''.
personal: columns that erasure of a person must reach.
on_replica: also rows that logical replication applies here.
Errors, all of which name the place (such as actions.rules[0].if) and leave the settings as they were:
42501 without the rights; 42P01 no such table; 42809 no ordinary table; 42710, 55000 another''s trigger or partition is in the way; 22004 an argument is NULL;
42703 no such column; 42701 a column twice; 42830 a path that is no foreign key; 42P10 a masked or excluded column that events need;
42602, 42622, 42939 a malformed, too long or reserved action or resource type;
42601 an unknown, missing or misplaced key of actions; 42804 a value of another type; 22023 a value that is none of those allowed; 0A000 a rule on truncate;
22032 JSON that cannot be read; 54000 too many rules;
of a condition what PostgreSQL says, such as 42601 syntax, 42703, 42883, 42704 an unknown column, function or type, 42804 not boolean,
0A000, 42803, 42P20 a subquery, set, aggregate or window function, and 42P17 a volatile function or another role''s cast or domain, 42P10 old on insert or new on delete.
DDL that would break the settings is refused with 2BP01';

CREATE FUNCTION audit.trigger_settings(arguments bytea) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'audit_trigger_settings';
COMMENT ON FUNCTION audit.trigger_settings(bytea) IS
'The settings in pg_trigger.tgargs of a tracked table''s trigger, as audit.track takes them; NULL if there are none, or they are damaged';

CREATE FUNCTION audit.untrack(target regclass) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_untrack';
COMMENT ON FUNCTION audit.untrack(regclass) IS
'Stops tracking a table; its events stay. The caller owns the table and is a member of audit_admin. Error 42704 if it is not tracked';

CREATE FUNCTION audit.record(
    action text,
    resource_type text,
    resource_id text,
    organisation_id text DEFAULT NULL,
    project_id text DEFAULT NULL,
    before_state jsonb DEFAULT NULL,
    after_state jsonb DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'audit_record';
COMMENT ON FUNCTION audit.record(text, text, text, text, text, jsonb, jsonb, jsonb) IS
'Leaves an event that no table write shows, such as a login or an export, and returns its event_id. For members of audit_writer.
action: what happened, such as organisation.user.logged-in; audit.* is reserved.
metadata: an object, added to audit.metadata; its keys win.
Errors: 42501 without the rights; 22004 action is NULL; 42602, 42622, 42939 it is malformed, too long or reserved; 42804 metadata is no object;
55000 no actor, though audit.require_actor is on';

CREATE FUNCTION audit.match_support(request internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'audit_match_support';
COMMENT ON FUNCTION audit.match_support(internal) IS
'Tells the planner of audit_match: with which condition an index finds the actions, and how many rows there will be';

CREATE FUNCTION pg_catalog.audit_match(action text, pattern text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF SUPPORT audit.match_support
    AS 'MODULE_PATHNAME', 'audit_match';
COMMENT ON FUNCTION pg_catalog.audit_match(text, text) IS
'Whether a filter shows an action. * stands for any run of characters, a comma means or, a leading - excludes and wins; case matters.
Empty means organisation.*; a malformed pattern matches nothing, and audit.check_pattern says why.
Like = and <, it uses a b-tree index on the action whose collation is "C"';

CREATE FUNCTION audit.pattern_low(pattern text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
    AS 'MODULE_PATHNAME', 'audit_pattern_low';
COMMENT ON FUNCTION audit.pattern_low(text) IS
'In an index condition for audit_match: all actions that the pattern shows are at or above this, in byte order';

CREATE FUNCTION audit.pattern_high(pattern text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
    AS 'MODULE_PATHNAME', 'audit_pattern_high';
COMMENT ON FUNCTION audit.pattern_high(text) IS
'In an index condition for audit_match: all actions that the pattern shows are below this, in byte order';

CREATE FUNCTION audit.check_pattern(pattern text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'audit_check_pattern';
COMMENT ON FUNCTION audit.check_pattern(text) IS 'What is wrong with a pattern and where; NULL if it is well formed';

CREATE FUNCTION audit.default_pattern(project_id text) RETURNS text
    LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'audit_default_pattern';
COMMENT ON FUNCTION audit.default_pattern(text) IS 'The pattern of an empty filter: organisation.* without a project, * in one';

CREATE FUNCTION audit.to_json(event audit.event) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN pg_catalog.to_jsonb(event);
COMMENT ON FUNCTION audit.to_json(audit.event) IS 'One event as JSON, all its columns; occurred_at in the session''s time zone';

CREATE PROCEDURE audit.maintain()
    LANGUAGE c AS 'MODULE_PATHNAME', 'audit_maintain';
COMMENT ON PROCEDURE audit.maintain() IS
'Makes the partitions of this month and the next three, and moves events out of the catch-all. Run it daily.
Each month is a transaction of its own unless called inside one. Waits 5 s for a lock unless lock_timeout is set (SQLSTATE 55P03)';

CREATE VIEW audit.tracked_table AS
SELECT t.tgrelid::regclass AS target,
       s.settings ->> 'resource_type' AS resource_type,
       CASE WHEN s.settings ? 'resource_id'
            THEN ARRAY(SELECT jsonb_array_elements_text(s.settings -> 'resource_id'))
            ELSE ARRAY(SELECT a.attname::text
                       FROM pg_index i
                       CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                       WHERE i.indrelid = t.tgrelid AND i.indisprimary AND k.place <= i.indnkeyatts
                       ORDER BY k.place)
       END AS resource_id,
       s.settings ->> 'organisation_id' AS organisation_id,
       s.settings ->> 'project_id' AS project_id,
       COALESCE(s.settings -> 'actions', '{}') AS actions,
       ARRAY(SELECT jsonb_array_elements_text(s.settings -> 'exclude')) AS exclude,
       ARRAY(SELECT jsonb_array_elements_text(s.settings -> 'mask')) AS mask,
       ARRAY(SELECT jsonb_array_elements_text(s.settings -> 'personal')) AS personal,
       COALESCE((s.settings ->> 'on_replica')::boolean, false) AS on_replica,
       -- Not pg_partition_tree, which would lock every partition to say how they are.
       s.settings IS NOT NULL AND NOT EXISTS (
           WITH RECURSIVE tree (relid, relkind) AS (
               SELECT c.oid, c.relkind FROM pg_class c WHERE c.oid = t.tgrelid
               UNION ALL
               SELECT c.oid, c.relkind
               FROM tree p
               JOIN pg_inherits i ON i.inhparent = p.relid
               JOIN pg_class c ON c.oid = i.inhrelid
               WHERE p.relkind = 'p'
           )
           SELECT FROM tree p
           -- With what each fires for, as pg_trigger.tgtype has it.
           CROSS JOIN LATERAL (VALUES ('!audit_row'::name, 29, true), ('!audit_truncate', 32, true), ('!audit_end', 16, p.relkind = 'p'))
               AS k (name, type, wanted)
           -- One look-up by index each, whatever the planner thinks of the tree's size.
           WHERE k.wanted
             AND (SELECT u.tgenabled FROM pg_trigger u
                  WHERE u.tgrelid = p.relid AND u.tgname = k.name AND u.tgfoid = t.tgfoid
                    AND u.tgtype = k.type AND u.tgqual IS NULL AND u.tgattr = '') IS DISTINCT FROM e.expected
       ) AS alive,
       -- One look-up by index for each action and month; nothing of it where the column is not selected. It reads all
       -- tenants' events, whatever else gave the right to select.
       CASE WHEN pg_has_role('audit_admin', 'USAGE') THEN
       (SELECT jsonb_object_agg(c.action, (SELECT e.occurred_at FROM audit.event e
                                           WHERE e.action = c.action COLLATE "C" ORDER BY e.event_id DESC LIMIT 1))
        FROM (SELECT CASE WHEN s.settings -> 'actions' ? o.operation THEN s.settings -> 'actions' ->> o.operation
                          ELSE (s.settings ->> 'resource_type') || '.' || o.done END
              FROM (VALUES ('insert', 'created'), ('update', 'updated'), ('delete', 'deleted'), ('truncate', 'truncated'))
                  AS o (operation, done)
              UNION
              SELECT r.rule ->> 'action' FROM jsonb_array_elements(s.settings -> 'actions' -> 'rules') AS r (rule)) AS c (action)
        WHERE c.action IS NOT NULL)
       END AS last_seen
FROM pg_trigger t
CROSS JOIN LATERAL audit.trigger_settings(t.tgargs) AS s (settings)
CROSS JOIN LATERAL (
    SELECT CASE WHEN (s.settings ->> 'on_replica')::boolean THEN 'A' ELSE 'O' END::"char"
) AS e (expected)
WHERE t.tgfoid = 'audit.capture()'::regprocedure AND t.tgname = '!audit_row' AND t.tgparentid = 0
  -- The audit system's own tables are tracked for ever; nobody configures that.
  AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.tgrelid AND c.relnamespace = 'audit'::regnamespace);
COMMENT ON VIEW audit.tracked_table IS 'What is tracked, how, and whether its triggers are alive';
COMMENT ON COLUMN audit.tracked_table.target IS 'The table';
COMMENT ON COLUMN audit.tracked_table.resource_type IS 'What its rows are';
COMMENT ON COLUMN audit.tracked_table.resource_id IS 'Columns of the resource''s id';
COMMENT ON COLUMN audit.tracked_table.organisation_id IS 'Column of the organisation, or path to it';
COMMENT ON COLUMN audit.tracked_table.project_id IS 'Column of the project, or path to it';
COMMENT ON COLUMN audit.tracked_table.actions IS 'Actions other than the default, by operation, and rules';
COMMENT ON COLUMN audit.tracked_table.last_seen IS 'Each action that its settings can emit, with the time of its last event from any table; null if there is none. NULL for others than members of audit_admin';
COMMENT ON COLUMN audit.tracked_table.exclude IS 'Columns never stored';
COMMENT ON COLUMN audit.tracked_table.mask IS 'Columns stored as [masked]';
COMMENT ON COLUMN audit.tracked_table.personal IS 'Columns with a person''s data';
COMMENT ON COLUMN audit.tracked_table.on_replica IS 'Whether rows that replication applies are tracked';
COMMENT ON COLUMN audit.tracked_table.alive IS 'Whether all its triggers are there and enabled, on every partition too';

CREATE FUNCTION audit.before_ddl() RETURNS event_trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'audit_before_ddl';
COMMENT ON FUNCTION audit.before_ddl() IS
'Event trigger: notes how the trail is before a command, and refuses what would remove the extension, unless audit.allow_destruction is on (SQLSTATE 42501)';

CREATE FUNCTION audit.follow_ddl() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_follow_ddl';
COMMENT ON FUNCTION audit.follow_ddl() IS
'Event trigger: keeps settings in step with renamed columns and new partitions, refuses to drop a column that events need or a part of the log,
and leaves an event of what switched tracking or a guard off';
-- After any command: columns are renamed by ALTER VIEW too, and dropped by DROP DOMAIN ... CASCADE.
CREATE EVENT TRIGGER audit_follow_ddl ON ddl_command_end
    EXECUTE FUNCTION audit.follow_ddl();
ALTER EVENT TRIGGER audit_follow_ddl ENABLE ALWAYS;
CREATE FUNCTION audit.before_rewrite() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_before_rewrite';
COMMENT ON FUNCTION audit.before_rewrite() IS
'Event trigger: refuses ALTER TABLE that would rewrite a part of the log (SQLSTATE 42501), leaves an event where it rewrites a tracked table';
CREATE EVENT TRIGGER audit_before_rewrite ON table_rewrite
    EXECUTE FUNCTION audit.before_rewrite();
ALTER EVENT TRIGGER audit_before_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER audit_before_rewrite IS 'Keeps the log from being rewritten';
CREATE EVENT TRIGGER audit_before_ddl ON ddl_command_start
    EXECUTE FUNCTION audit.before_ddl();
ALTER EVENT TRIGGER audit_before_ddl ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER audit_before_ddl IS 'Keeps the log and the extension from being dropped';
COMMENT ON EVENT TRIGGER audit_follow_ddl IS 'Keeps audit.track''s settings in step with the application''s DDL';
