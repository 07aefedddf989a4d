-- The part of audit.health about the log: its guards, its rows' security, its months, and views over it.

CREATE FUNCTION audit.health_of_log()
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
AS $health$
WITH RECURSIVE
relation AS NOT MATERIALIZED (
    SELECT c.oid, c.relkind, c.relowner, c.relpersistence, c.relrowsecurity, c.relnamespace, c.relname, c.relacl, c.reloptions,
           format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
),
-- audit.event and its partitions.
log (oid, is_root) AS (
    SELECT 'audit.event'::regclass::oid, true
    UNION ALL
    SELECT i.inhrelid, false FROM log l JOIN pg_inherits i ON i.inhparent = l.oid
),
-- The guards of each, with what they fire for, as pg_trigger.tgtype has it.
guard (oid, name, is_cloned, type, events, level, loss) AS (
    SELECT l.oid, g.name, g.is_cloned AND NOT l.is_root, g.type, g.events, g.level, g.loss
    FROM log l
    CROSS JOIN (VALUES
        ('!audit_row_guard'::name, true, 27, 'BEFORE UPDATE OR DELETE', 'ROW', 'events can be changed and deleted'),
        ('!audit_statement_guard', false, 62, 'BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE', 'STATEMENT',
         'events can be inserted, and all of them removed by TRUNCATE')
    ) AS g (name, is_cloned, type, events, level, loss)
),
-- What a month begins and ends with, as PostgreSQL prints it; the catch-all has neither.
month AS MATERIALIZED (
    SELECT c.oid, CASE b.bounds[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(b.bounds[1], '''') END::timestamptz AS first,
           CASE b.bounds[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE btrim(b.bounds[2], '''') END::timestamptz AS last
    FROM log l
    JOIN pg_class c ON c.oid = l.oid
    CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$')) AS b (bounds)
    WHERE b.bounds IS NOT NULL
),

-- Views that show events without asking what their reader may read, and through whom: themselves, or another view.
-- What a view with security_invoker reads, it reads as whoever asks, also where it stands in another view.
edge AS MATERIALIZED (
    SELECT DISTINCT w.ev_class AS oid, d.refclassid, d.refobjid, v.relkind = 'm' AS is_materialised,
           EXISTS (SELECT FROM pg_options_to_table(v.reloptions) o
                   WHERE o.option_name = 'security_invoker' AND o.option_value ~* '^(t|y|on|1)') AS is_invoker
    FROM pg_rewrite w
    JOIN pg_class v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
        -- The extension's own are what they should be, or audit.health_of_extension tells.
        AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = v.oid AND x.deptype = 'e'
                            AND x.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'audit')
                            AND v.relname = 'tracked_table')
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refobjid <> w.ev_class
),
view_of_log (oid, cause) AS (
    SELECT e.oid, CASE WHEN e.is_materialised OR NOT e.is_invoker AND e.refclassid = 'pg_class'::regclass THEN e.oid END
    FROM edge e
    WHERE e.refclassid = 'pg_class'::regclass AND e.refobjid IN (SELECT l.oid FROM log l)
       OR e.refclassid = 'pg_proc'::regclass
          AND e.refobjid IN (SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'audit'::regnamespace AND p.proname IN ('log', 'history'))
    UNION
    SELECT e.oid, CASE WHEN e.is_materialised THEN e.oid ELSE v.cause END
    FROM view_of_log v JOIN edge e ON e.refclassid = 'pg_class'::regclass AND e.refobjid = v.oid
)

-- Guards.
SELECT 'error', format('trigger %I on %s', g.name, r.name),
       CASE WHEN x.tgenabled IS NULL THEN 'missing: ' WHEN NOT w.is_meant THEN 'replaced by one that guards less: '
            WHEN x.tgenabled = 'D' THEN 'disabled: ' ELSE 'not ENABLE ALWAYS: ' END || g.loss,
       CASE WHEN w.is_meant THEN '' ELSE
           format('CREATE OR REPLACE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION audit.guard(); ', g.name, g.events,
                  CASE WHEN g.is_cloned THEN 'audit.event' ELSE r.name END, g.level) END
       || format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', CASE WHEN w.is_meant OR NOT g.is_cloned THEN r.name ELSE 'audit.event' END, g.name)
FROM guard g
JOIN relation r ON r.oid = g.oid
LEFT JOIN pg_trigger x ON x.tgrelid = g.oid AND x.tgname = g.name
CROSS JOIN LATERAL (SELECT x.tgtype IS NOT DISTINCT FROM g.type AND x.tgqual IS NULL AND x.tgattr = ''
                           AND x.tgfoid IS NOT DISTINCT FROM to_regprocedure('audit.guard()')) AS w (is_meant)
WHERE x.tgenabled IS DISTINCT FROM 'A' OR NOT w.is_meant

-- What else could change what is written, or lead around the guards.
UNION ALL
SELECT 'error', format('trigger %I on %s', x.tgname, r.name), 'added: it can change or drop what is written to the log',
       format('DROP TRIGGER %I ON %s;', x.tgname, r.name)
FROM log l
JOIN relation r ON r.oid = l.oid
JOIN pg_trigger x ON x.tgrelid = l.oid AND NOT x.tgisinternal AND x.tgparentid = 0
WHERE x.tgname NOT IN (SELECT g.name FROM guard g)
UNION ALL
SELECT 'error', format('rule %I on %s', w.rulename, r.name), 'added: writes to the log can go elsewhere',
       format('DROP RULE %I ON %s;', w.rulename, r.name)
FROM log l JOIN relation r ON r.oid = l.oid JOIN pg_rewrite w ON w.ev_class = l.oid
UNION ALL
SELECT 'error', format('constraint %I on %s', k.conname, r.name), 'added: events that do not fit it fail, and so do the writes that leave them',
       format('ALTER TABLE %s DROP CONSTRAINT %I;', r.name, k.conname)
FROM log l JOIN relation r ON r.oid = l.oid JOIN pg_constraint k ON k.conrelid = l.oid AND k.contype IN ('c', 'f', 'u', 'x') AND k.coninhcount = 0
UNION ALL
SELECT 'error', format('index %s', x.name), 'unique: events that do not fit it fail, and so do the writes that leave them',
       format('DROP INDEX %s;', x.name)
FROM log l JOIN pg_index i ON i.indrelid = l.oid AND i.indisunique JOIN relation x ON x.oid = i.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
UNION ALL
SELECT 'error', 'table ' || r.name, format('belongs to %s, too: through it, events can be changed', p.name),
       format('ALTER TABLE %s NO INHERIT %s;', r.name, p.name)
FROM log l JOIN relation r ON r.oid = l.oid JOIN pg_inherits i ON i.inhrelid = l.oid JOIN relation p ON p.oid = i.inhparent
WHERE i.inhparent NOT IN (SELECT x.oid FROM log x)

-- Row-level security. The policy readable is looked at with the extension's other parts.
UNION ALL
SELECT 'error', 'table ' || r.name, 'row-level security is off: whoever may select from it reads the rows of all tenants',
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', r.name)
FROM log l JOIN relation r ON r.oid = l.oid
WHERE NOT r.relrowsecurity AND r.relkind IN ('r', 'p')
UNION ALL
SELECT 'error', format('policy %I on %s', q.polname, r.name), 'added: it changes who reads what',
       format('DROP POLICY %I ON %s;', q.polname, r.name)
FROM pg_policy q JOIN log l ON l.oid = q.polrelid AND NOT l.is_root JOIN relation r ON r.oid = q.polrelid

-- Where the events are.
UNION ALL
SELECT 'error', 'table ' || r.name, 'a foreign table: its events are on another server, without guards',
       format('ALTER TABLE audit.event DETACH PARTITION %s;', r.name)
FROM log l JOIN relation r ON r.oid = l.oid WHERE r.relkind = 'f'
UNION ALL
SELECT 'error', 'table ' || r.name, 'unlogged: a crash empties it', format('ALTER TABLE %s SET LOGGED;', r.name)
FROM log l JOIN relation r ON r.oid = l.oid WHERE r.relpersistence = 'u'
UNION ALL
-- Once detached, a month is told by its guard, or by its name.
SELECT 'error', 'table ' || r.name, 'no partition of audit.event: nobody is shown its events',
       CASE WHEN r.relname ~ '^event_\d{4}_(0[1-9]|1[0-2])$' THEN
           format('ALTER TABLE audit.event ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', r.name, m.first::timestamptz::text,
                  (m.first + interval '1 month')::timestamptz::text)
            ELSE format('ALTER TABLE audit.event ATTACH PARTITION %s FOR VALUES FROM (''...'') TO (''...''); -- with the month that it holds', r.name) END
FROM relation r
CROSS JOIN LATERAL (SELECT CASE WHEN r.relname ~ '^event_\d{4}_(0[1-9]|1[0-2])$' THEN to_date(substr(r.relname, 7), 'YYYY_MM') END::timestamp) AS m (first)
WHERE r.relkind IN ('r', 'p') AND r.oid NOT IN (SELECT l.oid FROM log l)
  AND (m.first IS NOT NULL AND r.relnamespace = 'audit'::regnamespace
       OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgfoid = to_regprocedure('audit.guard()')))
UNION ALL
SELECT 'warning', 'table ' || r.name, 'its detaching was interrupted: its events are no longer shown',
       format('SET audit.allow_destruction = on; ALTER TABLE audit.event DETACH PARTITION %s FINALIZE; '
              'ALTER TABLE audit.event ATTACH PARTITION %s %s;', r.name, r.name, pg_get_expr(c.relpartbound, c.oid))
FROM log l JOIN relation r ON r.oid = l.oid JOIN pg_class c ON c.oid = l.oid
JOIN pg_inherits i ON i.inhrelid = l.oid AND i.inhdetachpending
UNION ALL
SELECT 'warning', 'table audit.event_default', 'the catch-all holds events whose month was not made in time: they are found less quickly',
       'CALL audit.maintain();'
WHERE EXISTS (SELECT FROM audit.event_default e WHERE e.occurred_at >= '0001-01-01' AND e.occurred_at < '9999-01-01')
UNION ALL
SELECT m.severity, 'table ' || to_char(m.first, '"audit.event_"YYYY_MM'), m.problem, 'CALL audit.maintain();'
FROM (VALUES ('error', date_trunc('month', now()), 'this month is not made: its events go to the catch-all'),
             ('warning', date_trunc('month', now()) + interval '1 month', 'next month is not made: its events will go to the catch-all'))
    AS m (severity, first, problem)
WHERE NOT EXISTS (SELECT FROM month p WHERE p.first <= m.first AND p.last > m.first)
UNION ALL
SELECT 'warning', 'table ' || r.name,
       CASE WHEN k.has_key THEN 'lacks indexes that the catch-all has: its events are found less quickly'
            ELSE 'has no primary key on event_id: events can be there twice, and are found less quickly' END,
       CASE WHEN k.has_key THEN (SELECT string_agg(regexp_replace(pg_get_indexdef(d.indexrelid), '^CREATE INDEX \S+ ON \S+ ', format('CREATE INDEX ON %s ', r.name)), '; ')
                                 FROM unnest(k.lacking) AS w (indexrelid) JOIN pg_index d ON d.indexrelid = w.indexrelid) || ';'
            ELSE format('ALTER TABLE %s ADD PRIMARY KEY (event_id);', r.name) END
FROM log l
JOIN relation r ON r.oid = l.oid AND r.relkind = 'r'
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'event_id'
                   WHERE i.indrelid = l.oid AND i.indisprimary AND i.indisvalid AND i.indkey::text = a.attnum::text),
           -- By the names of their columns, since a month of another origin may have them at other numbers.
           ARRAY(SELECT d.indexrelid FROM pg_index d
                 WHERE d.indrelid = 'audit.event_default'::regclass AND NOT d.indisunique AND d.indisvalid AND d.indpred IS NULL AND d.indexprs IS NULL
                   AND NOT EXISTS (SELECT FROM pg_index i
                                   WHERE i.indrelid = l.oid AND i.indisvalid AND i.indpred IS NULL
                                     AND ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                                               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.place)
                                       = ARRAY(SELECT a.attname FROM unnest(d.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                                               JOIN pg_attribute a ON a.attrelid = d.indrelid AND a.attnum = k.attnum ORDER BY k.place))
                 ORDER BY d.indexrelid)
) AS k (has_key, lacking)
WHERE NOT k.has_key OR k.lacking <> '{}'

-- Views over the log.
UNION ALL
SELECT CASE WHEN c.relkind = 'm' THEN CASE WHEN g.grantees IS NULL THEN 'info' ELSE 'warning' END
            WHEN o.rolbypassrls OR pg_has_role(o.oid, e.relowner, 'USAGE') THEN 'warning' ELSE 'info' END,
       CASE WHEN r.relkind = 'm' THEN 'materialized view ' ELSE 'view ' END || r.name,
       CASE WHEN r.oid <> c.oid THEN 'shows what ' || c.name || ' does: '  ELSE '' END
       || CASE WHEN c.relkind = 'm' THEN 'it holds events as ' || quote_ident(o.rolname) || ' read them, whatever its readers may read'
               WHEN o.rolbypassrls OR pg_has_role(o.oid, e.relowner, 'USAGE')
               THEN 'without security_invoker it shows all events to whoever may select from it'
               ELSE 'without security_invoker its readers need no membership in audit_reader' END,
       CASE WHEN c.relkind = 'v' THEN format('ALTER VIEW %s SET (security_invoker = true);', c.name)
            WHEN g.grantees IS NULL THEN format('DROP MATERIALIZED VIEW %s;', c.name)
            ELSE format('REVOKE ALL ON %s FROM %s;', c.name, g.grantees) END
FROM (SELECT DISTINCT w.oid, w.cause FROM view_of_log w) v
JOIN relation r ON r.oid = v.oid
JOIN relation c ON c.oid = v.cause
JOIN pg_authid o ON o.oid = c.relowner
JOIN pg_class e ON e.oid = 'audit.event'::regclass
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
    FROM (SELECT x.grantee FROM aclexplode(c.relacl) x
          UNION SELECT x.grantee FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) x WHERE t.attrelid = c.oid) a
    WHERE a.grantee <> c.relowner
) AS g (grantees)

-- Functions whose body PostgreSQL knows (BEGIN ATOMIC) and that read the log as their owner.
UNION ALL
SELECT 'warning', 'function ' || p.oid::regprocedure,
       'SECURITY DEFINER: it reads all events, and whoever may execute it decides what becomes of them',
       format('ALTER ROUTINE %s SECURITY INVOKER;', p.oid::regprocedure)
FROM pg_proc p
JOIN pg_authid o ON o.oid = p.proowner
JOIN pg_class e ON e.oid = 'audit.event'::regclass
WHERE p.prosecdef AND p.pronamespace <> 'audit'::regnamespace AND (o.rolbypassrls OR pg_has_role(o.oid, e.relowner, 'USAGE'))
  AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
                AND (d.refobjid IN (SELECT l.oid FROM log l) OR d.refobjid IN (SELECT v.oid FROM view_of_log v)))
$health$;
COMMENT ON FUNCTION audit.health_of_log() IS 'The part of audit.health about the log and views over it';
