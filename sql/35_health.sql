-- What is wrong with the audit system, one row a problem. Catalogs and the extension's own tables are read, never
-- pg_partition_tree and its kin, which lock; no view or function of anybody else is run.

-- As its owner, so that whoever monitors sees everything; without tenants' ids, which are none of their business.
CREATE FUNCTION audit.health(not_seen_for interval DEFAULT interval '90 days')
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off
AS $health$
WITH RECURSIVE
relation AS NOT MATERIALIZED (
    SELECT c.oid, c.relkind, c.relowner, c.relpersistence, c.relrowsecurity, c.relnamespace, c.relname, c.relacl, c.reloptions,
           format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
),

-- The log: audit.event and its partitions.
log (oid, is_root) AS (
    SELECT 'audit.event'::regclass::oid, true
    UNION ALL
    SELECT i.inhrelid, false FROM log l JOIN pg_inherits i ON i.inhparent = l.oid
),
-- Its guards on each table.
guard (oid, name, is_cloned, events, level, loss) AS (
    SELECT l.oid, g.name, g.is_cloned AND NOT l.is_root, g.events, g.level, g.loss
    FROM log l
    CROSS JOIN (VALUES
        ('!audit_row_guard'::name, true, 'BEFORE UPDATE OR DELETE', 'ROW', 'events can be changed and deleted'),
        ('!audit_statement_guard', false, 'BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE', 'STATEMENT',
         'events can be inserted, and all of them removed by TRUNCATE')
    ) AS g (name, is_cloned, events, level, loss)
),
-- What watches the tables of rights, which are tracked as an application's are.
watch (oid, name) AS (
    SELECT c.oid, w.name
    FROM pg_class c
    CROSS JOIN (VALUES ('!audit_row'::name), ('!audit_truncate')) AS w (name)
    WHERE c.relnamespace = 'audit'::regnamespace AND c.relname IN ('admin', 'admin_source', 'organisation')
),
event_guard (name, event, function, loss) AS (VALUES
    ('audit_follow_ddl'::name, 'ddl_command_end', 'follow_ddl',
     'settings no longer follow renamed columns, new partitions lack triggers, and what switches tracking off leaves no event'),
    ('audit_before_ddl', 'ddl_command_start', 'before_ddl',
     'months of the log and the extension can be dropped, and what switches tracking off leaves no event'),
    ('audit_before_rewrite', 'table_rewrite', 'before_rewrite', 'ALTER TABLE can rewrite what events hold')
),
-- The one policy of the log, as PostgreSQL prints it.
policy (condition) AS (VALUES (
$$((organisation_id = ANY (( SELECT audit.readable_organisations() AS readable_organisations)::text[])) OR (project_id = ANY (( SELECT audit.readable_projects() AS readable_projects)::text[])) OR ((project_id = ANY (( SELECT audit.readable_pairs() AS readable_pairs)::text[])) AND audit.is_readable_pair(( SELECT audit.readable_pairs() AS readable_pairs), organisation_id, project_id)) OR (event_id >= ( SELECT audit.readable_from() AS readable_from)))$$
)),

-- Tracked tables. Where the row trigger is gone, that of TRUNCATE still tells the settings.
capture AS MATERIALIZED (
    SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgparentid, t.tgargs
    FROM pg_trigger t
    WHERE t.tgfoid = 'audit.capture()'::regprocedure
      AND NOT EXISTS (SELECT FROM watch w WHERE w.oid = t.tgrelid)
),
tracked AS MATERIALIZED (
    SELECT r.oid, r.name, r.relnamespace, s.settings, COALESCE((s.settings ->> 'on_replica')::boolean, false) AS on_replica,
           format('SELECT audit.track(%L, %L', r.name, s.settings ->> 'resource_type')
           || COALESCE((SELECT string_agg(format(', %s => %L', k.key, ARRAY(SELECT jsonb_array_elements_text(s.settings -> k.key))::text), '')
                        FROM unnest(ARRAY['resource_id', 'exclude', 'mask', 'personal']) AS k (key) WHERE s.settings ? k.key), '')
           || COALESCE((SELECT string_agg(format(', %s => %L', k.key, s.settings ->> k.key), '')
                        FROM unnest(ARRAY['organisation_id', 'project_id']) AS k (key) WHERE s.settings ? k.key), '')
           || CASE WHEN s.settings ?| '{actions,rules}'
                   THEN format(', actions => %L', COALESCE(s.settings -> 'actions', '{}')
                        || CASE WHEN s.settings ? 'rules' THEN jsonb_build_object('rules', s.settings -> 'rules') ELSE '{}' END)
                   ELSE '' END AS command
    FROM capture t
    JOIN relation r ON r.oid = t.tgrelid
    CROSS JOIN LATERAL (SELECT convert_from(rtrim(t.tgargs, '\x00'), getdatabaseencoding())::jsonb) AS s (settings)
    WHERE t.tgparentid = 0 AND t.tgargs <> ''
      AND (t.tgname = '!audit_row'
           OR t.tgname = '!audit_truncate'
              AND NOT EXISTS (SELECT FROM capture x WHERE x.tgrelid = t.tgrelid AND x.tgname = '!audit_row')
              AND NOT EXISTS (SELECT FROM pg_inherits i JOIN capture x ON x.tgrelid = i.inhparent WHERE i.inhrelid = t.tgrelid))
),
tree (root, oid) AS (
    SELECT t.oid, t.oid FROM tracked t
    UNION ALL
    SELECT t.root, i.inhrelid
    FROM tree t
    JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
    JOIN pg_inherits i ON i.inhparent = t.oid
),

-- ALTER DATABASE ... SET and ALTER ROLE ... SET that count here.
setting AS (
    SELECT d.setdatabase, d.setrole, lower(split_part(l.line, '=', 1)) AS name, substr(l.line, strpos(l.line, '=') + 1) AS value,
           CASE WHEN d.setrole <> 0 THEN format('ROLE %I', r.rolname) || CASE WHEN b.oid IS NULL THEN '' ELSE format(' IN DATABASE %I', b.datname) END
                WHEN d.setdatabase <> 0 THEN format('DATABASE %I', b.datname)
                ELSE 'ROLE ALL' END AS place
    FROM pg_db_role_setting d
    CROSS JOIN unnest(d.setconfig) AS l (line)
    LEFT JOIN pg_authid r ON r.oid = d.setrole
    LEFT JOIN (SELECT oid, format('%I', datname) AS shown, datname FROM pg_database WHERE datname = current_database()) b ON b.oid = d.setdatabase
    WHERE d.setdatabase = 0 OR b.oid IS NOT NULL
),
-- What new sessions preload: by default, and those of roles with a setting of their own.
preloaded (place, value) AS (
    SELECT format('DATABASE %I', current_database()), current_setting('shared_preload_libraries') || ','
           || COALESCE((SELECT s.value FROM setting s WHERE s.name = 'session_preload_libraries' AND s.setrole = 0
                        ORDER BY s.setdatabase DESC LIMIT 1),
                       (SELECT g.reset_val FROM pg_settings g WHERE g.name = 'session_preload_libraries'
                           AND g.source NOT IN ('database user', 'user', 'database', 'client', 'session')),
                       (SELECT f.setting FROM pg_file_settings f WHERE f.name = 'session_preload_libraries' AND f.applied), '')
    UNION ALL
    SELECT s.place, current_setting('shared_preload_libraries') || ',' || s.value
    FROM setting s WHERE s.name = 'session_preload_libraries' AND s.setrole <> 0
),

-- Views that show events without asking what their reader may read, and through whom: themselves, or another view.
-- What a view with security_invoker reads, it reads as whoever asks, also where it stands in another view.
edge AS MATERIALIZED (
    SELECT DISTINCT w.ev_class AS oid, d.refclassid, d.refobjid, v.relkind = 'm' AS is_materialised,
           EXISTS (SELECT FROM pg_options_to_table(v.reloptions) o
                   WHERE o.option_name = 'security_invoker' AND o.option_value ~* '^(t|y|on|1)') AS is_invoker
    FROM pg_rewrite w
    JOIN pg_class v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
        -- The extension's own are what they should be.
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
),

audit_role AS (
    SELECT w.name, r.oid, r.rolcanlogin, r.rolsuper, r.rolbypassrls, r.rolcreaterole
    FROM (VALUES ('audit_admin'::name), ('audit_writer'), ('audit_reader')) AS w (name) LEFT JOIN pg_authid r ON r.rolname = w.name
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
        SELECT r.rule ->> 'action' FROM jsonb_array_elements(t.settings -> 'rules') AS r (rule)
    ) AS a (action)
    WHERE a.action IS NOT NULL AND not_seen_for IS NOT NULL
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
),
newly_tracked AS MATERIALIZED (
    SELECT DISTINCT e.resource_id FROM audit.event e
    WHERE e.action IN ('audit.tracking.enabled', 'audit.tracking.changed') AND e.resource_type = 'table'
      AND e.event_id >= (SELECT p.first FROM period p) AND e.occurred_at >= (SELECT p.since FROM period p)
),

found (severity, object, problem, remedy) AS (
    -- Triggers of tracked tables: missing, disabled, or firing for the wrong rows.
    SELECT CASE WHEN x.tgenabled = 'A' THEN 'warning' ELSE 'error' END,
           format('trigger %I on %s', k.name, r.name),
           CASE WHEN x.tgenabled IS NULL AND r.relkind = 'f' THEN 'a foreign table can have no such trigger: ' || k.loss
                WHEN x.tgenabled IS NULL THEN 'missing: ' || k.loss
                WHEN x.tgenabled = 'D' THEN 'disabled: ' || k.loss
                WHEN x.tgenabled = 'R' THEN 'enabled for replicated rows only; of all others, ' || k.loss
                WHEN x.tgenabled = 'A' THEN 'enabled for replicated rows, too, though on_replica is off: they leave events here and at their origin'
                ELSE 'not enabled for replicated rows, though on_replica is on; of them, ' || k.loss END,
           CASE WHEN x.tgenabled IS NULL AND r.relkind = 'f'
                THEN format('ALTER TABLE %s DETACH PARTITION %s;', (SELECT p.name FROM pg_inherits i JOIN relation p ON p.oid = i.inhparent
                                                                    WHERE i.inhrelid = r.oid), r.name)
                WHEN x.tgenabled IS NULL THEN t.command || CASE WHEN t.on_replica THEN ', on_replica => true);' ELSE ');' END
                ELSE format('ALTER TABLE %s ENABLE%s TRIGGER %I;', r.name, CASE WHEN t.on_replica THEN ' ALWAYS' ELSE '' END, k.name) END
    FROM tree b
    JOIN tracked t ON t.oid = b.root
    JOIN relation r ON r.oid = b.oid
    CROSS JOIN LATERAL (VALUES
        ('!audit_row'::name, true, 'INSERT, UPDATE and DELETE leave no event'),
        ('!audit_truncate', true, 'TRUNCATE leaves no event'),
        ('!audit_end', r.relkind = 'p', 'a row that an UPDATE moves and another trigger swallows leaves no event')
    ) AS k (name, is_wanted, loss)
    LEFT JOIN capture x ON x.tgrelid = b.oid AND x.tgname = k.name
    WHERE k.is_wanted AND x.tgenabled IS DISTINCT FROM CASE WHEN t.on_replica THEN 'A' ELSE 'O' END::"char"

    -- Rows that a subscription writes fire no ordinary trigger.
    UNION ALL
    SELECT DISTINCT 'warning', 'table ' || t.name,
           format('target of subscription %I, but not tracked with on_replica: rows that it applies leave no event', s.subname),
           t.command || ', on_replica => true);'
    FROM tracked t
    JOIN tree b ON b.root = t.oid
    JOIN pg_subscription_rel l ON l.srrelid = b.oid
    JOIN pg_subscription s ON s.oid = l.srsubid
    WHERE NOT t.on_replica

    -- Guards: row and statement triggers, and event triggers.
    UNION ALL
    SELECT 'error', format('trigger %I on %s', g.name, r.name),
           CASE WHEN x.tgenabled IS NULL THEN 'missing: ' WHEN x.tgenabled = 'D' THEN 'disabled: ' ELSE 'not ENABLE ALWAYS: ' END || g.loss,
           CASE WHEN x.tgenabled IS NOT NULL THEN '' ELSE
               format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION audit.guard(); ', g.name, g.events,
                      CASE WHEN g.is_cloned THEN 'audit.event' ELSE r.name END, g.level) END
           || format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', CASE WHEN x.tgenabled IS NULL AND g.is_cloned THEN 'audit.event' ELSE r.name END, g.name)
    FROM guard g
    JOIN relation r ON r.oid = g.oid
    LEFT JOIN pg_trigger x ON x.tgrelid = g.oid AND x.tgname = g.name AND x.tgfoid = 'audit.guard()'::regprocedure
    WHERE x.tgenabled IS DISTINCT FROM 'A'
    UNION ALL
    SELECT 'error', format('trigger %I on %s', w.name, r.name),
           CASE WHEN x.tgenabled IS NULL THEN 'missing: ' WHEN x.tgenabled = 'D' THEN 'disabled: ' ELSE 'not ENABLE ALWAYS: ' END
           || 'changes of who may read leave no event',
           CASE WHEN x.tgenabled IS NULL THEN 'Install the extension again, or make the trigger as sql/25_access.sql does.'
                ELSE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', r.name, w.name) END
    FROM watch w
    JOIN relation r ON r.oid = w.oid
    LEFT JOIN pg_trigger x ON x.tgrelid = w.oid AND x.tgname = w.name AND x.tgfoid = 'audit.capture()'::regprocedure
    WHERE x.tgenabled IS DISTINCT FROM 'A'
    UNION ALL
    SELECT 'error', format('event trigger %I', g.name),
           CASE WHEN x.evtenabled IS NULL THEN 'missing: ' WHEN x.evtenabled = 'D' THEN 'disabled: ' ELSE 'not ENABLE ALWAYS: ' END || g.loss,
           CASE WHEN x.evtenabled IS NOT NULL THEN '' ELSE
               format('CREATE EVENT TRIGGER %1$I ON %2$s EXECUTE FUNCTION audit.%3$I(); ALTER EXTENSION audit ADD EVENT TRIGGER %1$I; ',
                      g.name, g.event, g.function) END
           || format('ALTER EVENT TRIGGER %I ENABLE ALWAYS;', g.name)
    FROM event_guard g
    LEFT JOIN (SELECT y.* FROM pg_event_trigger y JOIN pg_proc p ON p.oid = y.evtfoid AND p.pronamespace = 'audit'::regnamespace) x
        ON x.evtname = g.name
    WHERE x.evtenabled IS DISTINCT FROM 'A'

    -- Row-level security of the log and of the tables of rights.
    UNION ALL
    SELECT 'error', 'table ' || r.name, 'row-level security is off: whoever may select from it reads the rows of all tenants',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', r.name)
    FROM relation r
    WHERE NOT r.relrowsecurity AND r.relkind IN ('r', 'p')
      AND (r.relnamespace = 'audit'::regnamespace OR r.oid IN (SELECT l.oid FROM log l))
    UNION ALL
    SELECT 'error', 'policy readable on audit.event',
           CASE WHEN q.oid IS NULL THEN 'missing: admins read nothing' ELSE 'altered: others than admins may read, or admins may not' END,
           CASE WHEN q.oid IS NULL THEN '' ELSE 'DROP POLICY readable ON audit.event; ' END
           || format('CREATE POLICY readable ON audit.event FOR SELECT USING (%s);', p.condition)
    FROM policy p
    LEFT JOIN pg_policy q ON q.polrelid = 'audit.event'::regclass AND q.polname = 'readable'
    WHERE (q.polcmd, q.polpermissive, q.polroles, pg_get_expr(q.polqual, q.polrelid)) IS DISTINCT FROM ('r'::"char", true, '{0}'::oid[], p.condition)
    UNION ALL
    SELECT 'error', format('policy %I on %s', q.polname, r.name),
           'added: it changes who reads what' || CASE WHEN l.is_root THEN ', and audit.log refuses to be called' ELSE '' END,
           format('DROP POLICY %I ON %s;', q.polname, r.name)
    FROM pg_policy q
    JOIN log l ON l.oid = q.polrelid
    JOIN relation r ON r.oid = q.polrelid
    WHERE NOT (l.is_root AND q.polname = 'readable')

    -- Where the events are.
    UNION ALL
    SELECT 'error', 'table ' || r.name, 'unlogged: a crash empties it', format('ALTER TABLE %s SET LOGGED;', r.name)
    FROM log l JOIN relation r ON r.oid = l.oid WHERE r.relpersistence = 'u'
    UNION ALL
    SELECT 'error', 'table ' || r.name, 'no partition of audit.event: nobody is shown its events',
           format('ALTER TABLE audit.event ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', r.name,
                  m.month::timestamptz::text, (m.month + interval '1 month')::timestamptz::text)
    FROM relation r
    CROSS JOIN LATERAL (SELECT to_date(substr(r.relname, 7), 'YYYY_MM')::timestamp) AS m (month)
    WHERE r.relnamespace = 'audit'::regnamespace AND r.relkind = 'r' AND r.relname ~ '^event_\d{4}_(0[1-9]|1[0-2])$'
      AND r.oid NOT IN (SELECT l.oid FROM log l)
    UNION ALL
    SELECT 'warning', 'table audit.event_default', 'the catch-all holds events whose month was not made in time: they are found less quickly',
           'CALL audit.maintain();'
    WHERE EXISTS (SELECT FROM audit.event_default e WHERE e.occurred_at >= '0001-01-01' AND e.occurred_at < '9999-01-01')
    UNION ALL
    SELECT m.severity, 'table audit.' || m.name, m.problem, 'CALL audit.maintain();'
    FROM (VALUES ('error', to_char(now(), '"event_"YYYY_MM'), 'this month is not made: its events go to the catch-all'),
                 ('warning', to_char(date_trunc('month', now()) + interval '1 month', '"event_"YYYY_MM'),
                  'next month is not made: its events will go to the catch-all')) AS m (severity, name, problem)
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'audit'::regnamespace AND c.relname = m.name)

    -- Tables that nobody tracks, beside others that are.
    UNION ALL
    SELECT 'info', 'table ' || r.name, 'not tracked, though others of its schema are: its changes leave no event',
           format('SELECT audit.track(%L, %L);', r.name, CASE WHEN r.relname ~ '^[a-z0-9_][a-z0-9_-]*$' THEN r.relname ELSE 'resource' END)
    FROM relation r
    WHERE r.relkind IN ('r', 'p') AND r.relpersistence = 'p'
      AND r.relnamespace IN (SELECT t.relnamespace FROM tracked t)
      AND r.oid NOT IN (SELECT b.oid FROM tree b)
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.oid AND c.relispartition)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'info', 'table ' || t.name,
           format('not seen for %s: %s', not_seen_for, string_agg(a.action, ', ' ORDER BY a.action))
           || '; nobody does it, or the application does it in another way than its settings expect',
           format('SELECT last_seen FROM audit.tracked_table WHERE target = %L::regclass;', t.name)
    FROM action a
    JOIN unseen u ON u.action = a.action
    JOIN tracked t ON t.oid = a.oid
    WHERE NOT EXISTS (SELECT FROM newly_tracked n WHERE n.resource_id = t.name)
    GROUP BY t.oid, t.name

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

    -- Roles.
    UNION ALL
    SELECT 'error', format('role %I', a.name), 'missing: the rights that its members had are gone with it, and functions that ask for it fail',
           format('Rename it back (ALTER ROLE ... RENAME TO %I), or install the extension again.', a.name)
    FROM audit_role a WHERE a.oid IS NULL
    UNION ALL
    SELECT 'error', format('role %I', a.name),
           concat_ws(', ', CASE WHEN a.rolcanlogin THEN 'can log in' END, CASE WHEN a.rolsuper THEN 'is a superuser' END,
                     CASE WHEN a.rolbypassrls THEN 'bypasses row-level security' END, CASE WHEN a.rolcreaterole THEN 'creates roles' END)
           || ': it is for membership only, and its members have more rights than meant',
           format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE;', a.name)
    FROM audit_role a WHERE a.rolcanlogin OR a.rolsuper OR a.rolbypassrls OR a.rolcreaterole
    UNION ALL
    SELECT 'warning', format('role %I', a.name), format('implies %I: configuring, writing and reading are no longer apart', b.name),
           format('REVOKE %I FROM %I;', g.rolname, a.name)
    FROM audit_role a
    JOIN pg_auth_members m ON m.member = a.oid
    JOIN pg_authid g ON g.oid = m.roleid
    JOIN audit_role b ON b.oid <> a.oid AND NOT g.rolsuper AND pg_has_role(g.oid, b.oid, 'MEMBER')
    UNION ALL
    SELECT 'warning', format('role %I', r.rolname),
           'CREATEROLE: on PostgreSQL 15 it can make itself a member of audit_writer or any other role that is no superuser',
           format('ALTER ROLE %I NOCREATEROLE;', r.rolname)
    FROM pg_authid r
    WHERE r.rolcreaterole AND NOT r.rolsuper AND current_setting('server_version_num')::int < 160000
      AND r.oid NOT IN (SELECT a.oid FROM audit_role a WHERE a.oid IS NOT NULL)
    UNION ALL
    SELECT 'warning', format('role %I', r.rolname), format('ADMIN OPTION: it can make itself and others a member of %I', a.name),
           format('REVOKE ADMIN OPTION FOR %I FROM %I;', a.name, r.rolname)
    FROM audit_role a
    JOIN pg_auth_members m ON m.roleid = a.oid AND m.admin_option
    JOIN pg_authid r ON r.oid = m.member AND NOT r.rolsuper
    UNION ALL
    SELECT 'warning', CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE format('role %I', r.rolname) END,
           format('%s on parameter %s: ', string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type), p.parname)
           || CASE p.parname WHEN 'session_replication_role' THEN 'it can keep the triggers of tracked tables from firing'
                             ELSE 'it can pose as anybody, or lift what is required, without being in audit_writer' END,
           format('REVOKE ALL ON PARAMETER %s FROM %s;', p.parname, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END)
    FROM pg_parameter_acl p
    CROSS JOIN LATERAL aclexplode(p.paracl) x
    LEFT JOIN pg_authid r ON r.oid = x.grantee
    LEFT JOIN audit_role w ON w.name = 'audit_writer' AND p.parname IN ('audit.actor_id', 'audit.actor_type', 'audit.metadata')
    WHERE (p.parname LIKE 'audit.%' OR p.parname = 'session_replication_role')
      AND r.rolsuper IS NOT TRUE
      AND (w.oid IS NULL OR x.grantee = 0 OR NOT pg_has_role(x.grantee, w.oid, 'MEMBER'))
    GROUP BY x.grantee, r.rolname, p.parname

    -- Who may read.
    UNION ALL
    SELECT 'warning', format('role %I', a.db_role),
           CASE WHEN byname.oid IS NOT NULL THEN 'made again since audit.grant_admin: what it was granted does not count'
                WHEN byoid.oid IS NOT NULL THEN format('renamed to %I since audit.grant_admin: what it was granted does not count', byoid.rolname)
                ELSE 'dropped since audit.grant_admin: what it was granted would not count for a new role of that name' END,
           CASE WHEN byname.oid IS NULL AND byoid.oid IS NULL THEN ''
                ELSE format('SELECT audit.grant_admin(db_role => %L, organisation_id => organisation_id, project_id => project_id, '
                            'instance_owner => instance_owner) FROM audit.admin WHERE db_role = %L; ',
                            quote_ident(COALESCE(byname.rolname, byoid.rolname)), a.db_role) END
           || CASE WHEN byname.oid IS NULL THEN format('DELETE FROM audit.admin WHERE db_role = %L;', a.db_role) ELSE '' END
    FROM (SELECT DISTINCT g.db_role, g.db_role_oid FROM audit.admin g WHERE g.db_role IS NOT NULL) a
    LEFT JOIN pg_authid byname ON byname.rolname = a.db_role
    LEFT JOIN pg_authid byoid ON byoid.oid = a.db_role_oid
    WHERE byname.oid IS DISTINCT FROM a.db_role_oid
    UNION ALL
    SELECT 'error', 'view ' || s.name,
           CASE WHEN r.oid IS NULL THEN 'gone' WHEN o.rolname <> s.owner THEN format('belongs to %I now, not to %I', o.rolname, s.owner)
                ELSE 'lacks columns' END || ', so it is no source of admins: actors cannot read the log',
           CASE WHEN r.oid IS NULL THEN 'SELECT audit.use_admins_from(NULL);'
                WHEN o.rolname <> s.owner AND EXISTS (SELECT FROM pg_authid x WHERE x.rolname = s.owner)
                THEN format('ALTER VIEW %s OWNER TO %I;', s.name, s.owner)
                ELSE format('SELECT audit.use_admins_from(%L);', s.name) END
    FROM (SELECT format('%I.%I', x.schema_name, x.source_name) AS name, x.owner FROM audit.admin_source x) s
    LEFT JOIN relation r ON r.name = s.name
    LEFT JOIN pg_authid o ON o.oid = r.relowner
    WHERE o.rolname IS DISTINCT FROM s.owner
       OR (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = r.oid
           AND a.attname IN ('actor_id', 'organisation_id', 'project_id', 'instance_owner')) <> 4

    -- Settings.
    UNION ALL
    SELECT 'warning', 'setting session_preload_libraries of ' || lower(split_part(p.place, ' ', 1)) || substr(p.place, strpos(p.place, ' ')),
           'audit is not preloaded: a session knows the audit settings only once it has used the extension',
           format('ALTER %s SET session_preload_libraries = %s;', p.place,
                  (SELECT string_agg(quote_literal(btrim(l.name, ' "')), ', ')
                   FROM unnest(string_to_array(substr(p.value, length(current_setting('shared_preload_libraries')) + 2), ',') || 'audit'::text) AS l (name)
                   WHERE btrim(l.name, ' "') <> ''))
    FROM preloaded p
    WHERE p.value !~ '(^|[,/\s"])audit(\.so)?($|[,\s"])'
    UNION ALL
    SELECT 'error', 'setting ' || s.name || COALESCE(' of ' || lower(split_part(s.place, ' ', 1)) || substr(s.place, strpos(s.place, ' ')), ''),
           CASE s.name WHEN 'audit.allow_destruction' THEN 'left on: months of the log and the extension can be dropped'
                       ELSE 'replica: the triggers of tracked tables do not fire, writes leave no event' END,
           CASE WHEN s.place IS NULL THEN format('ALTER SYSTEM RESET %s; SELECT pg_reload_conf();', s.name)
                ELSE format('ALTER %s RESET %s;', s.place, s.name) END
    FROM (SELECT x.name, x.value, x.place FROM setting x
          UNION ALL
          SELECT lower(f.name), f.setting, NULL FROM pg_file_settings f WHERE f.applied) s
    WHERE s.name = 'audit.allow_destruction' AND s.value !~* '^(f|n|of|0)'
       OR s.name = 'session_replication_role' AND lower(s.value) = 'replica'
)
SELECT f.severity, f.object, f.problem, f.remedy
FROM found f
ORDER BY array_position('{error,warning,info}', f.severity), f.object COLLATE "C", f.problem COLLATE "C"
$health$;
COMMENT ON FUNCTION audit.health(interval) IS
'What is wrong with the audit system, one row a problem, the worst first; none if all is well. For members of pg_monitor and audit_admin.
not_seen_for: tells of configured actions that nobody has seen for so long; NULL leaves that out.
severity: error (events are lost, or read by whom they should not be), warning (they may be), info (worth a look).
object: what has the problem. problem: what it is, and what is lost by it. remedy: what to type.
docs/monitoring.md explains each';

CREATE FUNCTION audit.check_health(severity text DEFAULT 'warning') RETURNS text
    LANGUAGE c CALLED ON NULL INPUT STABLE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'audit_check_health';
COMMENT ON FUNCTION audit.check_health(text) IS
'Returns ok, or raises 55000 with the problems of audit.health() of this severity and worse: for cron, through psql''s exit code.
severity: error, warning or info. Errors: 22023 another severity; 55000 there are problems';
