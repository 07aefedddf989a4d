-- The part of audit.health about tracked tables, and those that should be. Catalogs are read, never pg_partition_tree
-- and its kin, which lock.

CREATE FUNCTION audit.misfit(target regclass) RETURNS text
    LANGUAGE c STABLE STRICT SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_misfit';
COMMENT ON FUNCTION audit.misfit(regclass) IS
'Why the settings of a tracked table fit it no more, so that writes fail; NULL if they do, if there are none, and while somebody alters the table';

CREATE FUNCTION audit.health_of_tables(not_seen_for interval)
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $health$
WITH RECURSIVE
relation AS NOT MATERIALIZED (
    SELECT c.oid, c.relkind, c.relpersistence, c.relispartition, c.relnamespace, c.relname, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
),
-- The tables of rights are tracked for ever: audit.health_of_extension looks after them.
capture AS MATERIALIZED (
    SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgparentid, audit.trigger_settings(t.tgargs) AS settings, t.tgtype,
           t.tgqual IS NULL AND t.tgattr = '' AS is_for_all
    FROM pg_trigger t
    WHERE t.tgfoid = to_regprocedure('audit.capture()')
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.tgrelid AND c.relnamespace = 'audit'::regnamespace)
),
-- What the log says of a table's tracking, and said last.
told AS MATERIALIZED (
    SELECT e.resource_id, e.action, e.after_state, e.event_id, e.occurred_at,
           -- A partition goes with its parent, of which alone the end is told.
           COALESCE(e.metadata ->> 'reason' LIKE '%attached as a partition%', false) AS is_attached
    FROM audit.event e
    WHERE e.action IN ('audit.tracking.enabled', 'audit.tracking.changed', 'audit.tracking.disabled') AND e.resource_type = 'table'
),
last AS (
    SELECT DISTINCT ON (e.resource_id) e.* FROM told e ORDER BY e.resource_id, e.event_id DESC
),
-- Where the row trigger is gone, that of TRUNCATE still tells the settings; where both are, the log does.
root (oid, settings, is_tracked) AS MATERIALIZED (
    SELECT t.tgrelid, t.settings, true
    FROM capture t
    WHERE t.tgparentid = 0
      AND (t.tgname = '!audit_row'
           OR t.tgname = '!audit_truncate'
              AND NOT EXISTS (SELECT FROM capture x WHERE x.tgrelid = t.tgrelid AND x.tgname = '!audit_row')
              AND NOT EXISTS (SELECT FROM pg_inherits i JOIN capture x ON x.tgrelid = i.inhparent WHERE i.inhrelid = t.tgrelid))
    UNION ALL
    SELECT r.oid, e.after_state, false
    FROM last e JOIN relation r ON r.name = e.resource_id
    WHERE e.action <> 'audit.tracking.disabled' AND NOT e.is_attached AND r.relkind IN ('r', 'p') AND NOT r.relispartition
      AND r.relnamespace <> 'audit'::regnamespace
      AND NOT EXISTS (SELECT FROM capture t WHERE t.tgrelid = r.oid)
),
-- Meant are the settings that the log told last, which a trigger made while the event triggers were off has not.
tracked AS MATERIALIZED (
    SELECT r.oid, r.name, r.relkind, r.relnamespace, o.settings, m.settings AS meant, o.is_tracked,
           COALESCE((m.settings ->> 'on_replica')::boolean, false) AS on_replica,
           format('SELECT audit.track(%L, %L', r.name, COALESCE(m.settings ->> 'resource_type', 'resource'))
           || COALESCE((SELECT string_agg(format(', %s => %L', k.key, ARRAY(SELECT jsonb_array_elements_text(m.settings -> k.key))::text), '')
                        FROM unnest(ARRAY['resource_id', 'exclude', 'mask', 'personal']) AS k (key) WHERE m.settings ? k.key), '')
           || COALESCE((SELECT string_agg(format(', %s => %L', k.key, m.settings ->> k.key), '')
                        FROM unnest(ARRAY['organisation_id', 'project_id', 'actions']) AS k (key) WHERE m.settings ? k.key), '')
           || CASE WHEN (m.settings ->> 'on_replica')::boolean THEN ', on_replica => true);' ELSE ');' END AS command
    FROM root o
    JOIN relation r ON r.oid = o.oid
    LEFT JOIN last e ON e.resource_id = r.name AND e.action <> 'audit.tracking.disabled'
    CROSS JOIN LATERAL (SELECT COALESCE(e.after_state, o.settings)) AS m (settings)
),
tree (root, oid) AS (
    SELECT t.oid, t.oid FROM tracked t WHERE t.is_tracked
    UNION ALL
    SELECT t.root, i.inhrelid
    FROM tree t
    JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
    JOIN pg_inherits i ON i.inhparent = t.oid
),
-- Actions that settings can emit, but for TRUNCATE by its default name, which hardly anybody does.
action AS MATERIALIZED (
    SELECT t.oid, a.action COLLATE "C" AS action
    FROM tracked t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.settings -> 'actions' ? o.operation THEN t.settings -> 'actions' ->> o.operation
                    ELSE (t.settings ->> 'resource_type') || '.' || o.done END
        FROM (VALUES ('insert', 'created'), ('update', 'updated'), ('delete', 'deleted'), ('truncate', NULL)) AS o (operation, done)
        UNION
        SELECT r.rule ->> 'action' FROM jsonb_array_elements(t.settings -> 'actions' -> 'rules') AS r (rule)
    ) AS a (action)
    WHERE a.action IS NOT NULL AND not_seen_for IS NOT NULL AND t.is_tracked
),
-- The period, and the lowest event_id of it.
period AS MATERIALIZED (
    SELECT p.since, (lpad(to_hex(floor(extract(epoch FROM p.since) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid AS first
    FROM (SELECT GREATEST(now() - not_seen_for, timestamptz '1970-01-01')) AS p (since)
),
unseen AS MATERIALIZED (
    -- One look-up by index for each action and month, whatever the planner thinks of them.
    SELECT a.action FROM (SELECT DISTINCT x.action FROM action x) a
    WHERE (SELECT e.event_id FROM audit.event e
           WHERE e.action = a.action AND e.event_id >= (SELECT p.first FROM period p) AND e.occurred_at >= (SELECT p.since FROM period p)
           ORDER BY e.event_id DESC LIMIT 1) IS NULL
)

-- Triggers of tracked tables: missing, disabled, or firing for the wrong rows.
SELECT CASE WHEN x.tgenabled = 'A' AND w.is_meant AND w.is_told THEN 'warning' ELSE 'error' END,
       format('trigger %I on %s', k.name, r.name),
       CASE WHEN x.tgenabled IS NULL AND r.relkind = 'f' THEN 'a foreign table can have no such trigger: ' || k.loss
            WHEN x.tgenabled IS NULL THEN 'missing: ' || k.loss
            WHEN NOT w.is_meant THEN 'replaced by one that fires at other times, for other columns or under a condition; otherwise, ' || k.loss
            WHEN NOT w.is_told AND x.settings IS NULL THEN 'its settings are damaged: writes fail'
            WHEN NOT w.is_told THEN
                (SELECT 'has other settings than the log told last: ' || string_agg(s.key, ', ' ORDER BY s.key)
                 FROM (SELECT jsonb_object_keys(x.settings) UNION SELECT jsonb_object_keys(t.meant)) AS s (key)
                 WHERE x.settings -> s.key IS DISTINCT FROM t.meant -> s.key)
            WHEN x.tgenabled = 'D' THEN 'disabled: ' || k.loss
            WHEN x.tgenabled = 'R' THEN 'enabled for replicated rows only; of all others, ' || k.loss
            WHEN x.tgenabled = 'A' THEN 'enabled for replicated rows, too, though on_replica is off: they leave events here and at their origin'
            ELSE 'not enabled for replicated rows, though on_replica is on; of them, ' || k.loss END,
       CASE WHEN x.tgenabled IS NULL AND r.relkind = 'f'
            THEN format('ALTER TABLE %s DETACH PARTITION %s;', (SELECT p.name FROM pg_inherits i JOIN relation p ON p.oid = i.inhparent
                                                                WHERE i.inhrelid = r.oid), r.name)
            WHEN x.tgenabled IS NULL OR NOT w.is_meant OR NOT w.is_told THEN t.command
            ELSE format('ALTER TABLE %s ENABLE%s TRIGGER %I;', r.name, CASE WHEN t.on_replica THEN ' ALWAYS' ELSE '' END, k.name) END
FROM tree b
JOIN tracked t ON t.oid = b.root AND t.settings IS NOT NULL
JOIN relation r ON r.oid = b.oid
CROSS JOIN LATERAL (VALUES
    ('!audit_row'::name, 29, true, 'INSERT, UPDATE and DELETE leave no event'),
    ('!audit_truncate', 32, true, 'TRUNCATE leaves no event'),
    ('!audit_end', 16, r.relkind = 'p', 'a row that an UPDATE moves and another trigger swallows leaves no event')
) AS k (name, type, is_wanted, loss)
LEFT JOIN capture x ON x.tgrelid = b.oid AND x.tgname = k.name
CROSS JOIN LATERAL (SELECT x.tgtype = k.type AND x.is_for_all, k.name = '!audit_end' OR x.settings IS NOT DISTINCT FROM t.meant) AS w (is_meant, is_told)
WHERE k.is_wanted
  AND (x.tgenabled IS DISTINCT FROM CASE WHEN t.on_replica THEN 'A' ELSE 'O' END::"char" OR NOT w.is_meant OR NOT w.is_told)

UNION ALL
SELECT 'error', 'table ' || t.name, 'the settings in its trigger are damaged: writes fail',
       t.command || CASE WHEN t.meant IS NULL THEN ' -- and its other settings, which nothing tells any more' ELSE '' END
FROM tracked t
WHERE t.settings IS NULL

UNION ALL
SELECT 'error', 'table ' || t.name, format('its settings fit it no more, and writes fail: %s', m.problem),
       t.command || ' -- with settings that fit'
FROM tracked t
CROSS JOIN LATERAL (SELECT audit.misfit(t.oid)) AS m (problem)
WHERE t.is_tracked AND m.problem IS NOT NULL

UNION ALL
SELECT 'error', 'table ' || t.name, 'not tracked, though the log has no event that ended it: its changes leave no event',
       t.command
FROM tracked t
WHERE NOT t.is_tracked AND t.oid NOT IN (SELECT b.oid FROM tree b)

-- Rows that a subscription writes fire no ordinary trigger.
UNION ALL
SELECT DISTINCT 'warning', 'table ' || t.name,
       format('target of subscription %I, but not tracked with on_replica: rows that it applies leave no event', s.subname),
       regexp_replace(t.command, '\);$', ', on_replica => true);')
FROM tracked t
JOIN tree b ON b.root = t.oid
JOIN pg_subscription_rel l ON l.srrelid = b.oid
JOIN pg_subscription s ON s.oid = l.srsubid
WHERE NOT t.on_replica

-- Tables that nobody tracks, beside others that are.
UNION ALL
SELECT CASE WHEN p.name IS NULL THEN 'info' ELSE 'warning' END, 'table ' || r.name,
       CASE WHEN p.name IS NULL THEN 'not tracked, though others of its schema are: its changes leave no event'
            ELSE format('not tracked, though it inherits from %s, which is: changes of its own rows leave no event', p.name) END,
       format('SELECT audit.track(%L, %L);', r.name, CASE WHEN r.relname ~ '^[a-z0-9_][a-z0-9_-]*$' THEN r.relname ELSE 'resource' END)
FROM relation r
LEFT JOIN LATERAL (SELECT t.name FROM pg_inherits i JOIN tracked t ON t.oid = i.inhparent
                   WHERE i.inhrelid = r.oid AND NOT r.relispartition ORDER BY t.name LIMIT 1) AS p ON true
WHERE r.relkind IN ('r', 'p') AND r.relpersistence = 'p' AND NOT r.relispartition
  AND (p.name IS NOT NULL OR r.relnamespace IN (SELECT t.relnamespace FROM tracked t))
  AND r.oid NOT IN (SELECT b.oid FROM tree b)
  AND r.oid NOT IN (SELECT t.oid FROM tracked t)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'e')

UNION ALL
SELECT 'info', 'table ' || t.name,
       format('not seen for %s: %s', not_seen_for, string_agg(a.action, ', ' ORDER BY a.action))
       || '; nobody does it, or the application does it in another way than its settings expect',
       format('SELECT last_seen FROM audit.tracked_table WHERE target = %L::regclass;', t.name)
FROM action a
JOIN unseen u ON u.action = a.action
JOIN tracked t ON t.oid = a.oid
CROSS JOIN period p
-- What was tracked within the period has had no time to be seen.
WHERE NOT EXISTS (SELECT FROM told n WHERE n.resource_id = t.name AND n.action <> 'audit.tracking.disabled'
                  AND n.event_id >= p.first AND n.occurred_at >= p.since)
GROUP BY t.oid, t.name
$health$;
COMMENT ON FUNCTION audit.health_of_tables(interval) IS
'The part of audit.health about tracked tables and those beside them. not_seen_for: as there';
