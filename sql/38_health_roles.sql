-- The part of audit.health about roles, who may read, and settings.

CREATE FUNCTION audit.health_of_roles()
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $health$
WITH
relation AS NOT MATERIALIZED (
    SELECT c.oid, c.relowner, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
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
audit_role AS (
    SELECT w.name, r.oid, r.rolcanlogin, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication
    FROM (VALUES ('audit_admin'::name), ('audit_writer'), ('audit_reader')) AS w (name) LEFT JOIN pg_authid r ON r.rolname = w.name
)

SELECT 'error', format('role %I', a.name), 'missing: the rights that its members had are gone with it, and functions that ask for it fail',
       format('Rename it back (ALTER ROLE ... RENAME TO %I), or install the extension again.', a.name)
FROM audit_role a WHERE a.oid IS NULL
UNION ALL
SELECT 'error', format('role %I', a.name),
       concat_ws(', ', CASE WHEN a.rolcanlogin THEN 'can log in' END, CASE WHEN a.rolsuper THEN 'is a superuser' END,
                 CASE WHEN a.rolbypassrls THEN 'bypasses row-level security' END, CASE WHEN a.rolcreaterole THEN 'creates roles' END,
                 CASE WHEN a.rolcreatedb THEN 'creates databases' END, CASE WHEN a.rolreplication THEN 'can replicate' END)
       || ': it is for membership only, and its members have more rights than meant',
       format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;', a.name)
FROM audit_role a WHERE a.rolcanlogin OR a.rolsuper OR a.rolbypassrls OR a.rolcreaterole OR a.rolcreatedb OR a.rolreplication
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
-- Of the role itself, or of one that is a member of it.
SELECT 'warning', format('role %I', r.rolname),
       format('ADMIN OPTION: it can make itself and others a member of %I', g.rolname) || CASE WHEN g.oid = a.oid THEN '' ELSE format(', and so of %I', a.name) END,
       format('REVOKE ADMIN OPTION FOR %I FROM %I;', g.rolname, r.rolname)
FROM audit_role a
JOIN pg_authid g ON NOT g.rolsuper AND pg_has_role(g.oid, a.oid, 'MEMBER')
JOIN pg_auth_members m ON m.roleid = g.oid AND m.admin_option
JOIN pg_authid r ON r.oid = m.member AND NOT r.rolsuper
WHERE a.oid IS NOT NULL
UNION ALL
SELECT 'warning', format('role %I', r.rolname),
       format('member of %I, which runs programs and writes files as the server does: it can do what a superuser can', g.rolname),
       format('REVOKE %I FROM %I;', g.rolname, r.rolname)
FROM pg_auth_members m
JOIN pg_authid g ON g.oid = m.roleid AND g.rolname IN ('pg_execute_server_program', 'pg_write_server_files')
JOIN pg_authid r ON r.oid = m.member AND NOT r.rolsuper
UNION ALL
SELECT 'info', format('role %I', r.rolname), format('member of superuser %I: SET ROLE lets it do what a superuser can', g.rolname),
       format('REVOKE %I FROM %I;', g.rolname, r.rolname)
FROM pg_auth_members m
JOIN pg_authid g ON g.oid = m.roleid AND g.rolsuper
JOIN pg_authid r ON r.oid = m.member AND NOT r.rolsuper
UNION ALL
SELECT 'warning', format('role %I', a.name), format('may not set %s: its members cannot say who acts', p.parname),
       format('GRANT SET ON PARAMETER %s TO %I;', p.parname, a.name)
FROM audit_role a
CROSS JOIN unnest(ARRAY['audit.actor_id', 'audit.actor_type', 'audit.metadata']) AS p (parname)
WHERE a.name = 'audit_writer' AND a.oid IS NOT NULL AND NOT has_parameter_privilege(a.oid, p.parname, 'SET')
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
SELECT k.severity, 'setting ' || s.name || COALESCE(' of ' || lower(split_part(s.place, ' ', 1)) || substr(s.place, strpos(s.place, ' ')), ''), k.problem,
       CASE WHEN s.place IS NULL THEN format('ALTER SYSTEM RESET %s; SELECT pg_reload_conf();', s.name)
            ELSE format('ALTER %s RESET %s;', s.place, s.name) END
FROM (SELECT x.name, x.value, x.place FROM setting x
      UNION
      SELECT lower(f.name), f.setting, NULL FROM pg_file_settings f WHERE f.applied
      UNION
      -- The command line's.
      SELECT g.name, g.reset_val, NULL FROM pg_settings g WHERE g.source IN ('command line', 'environment variable')) s
JOIN (VALUES
    ('audit.allow_destruction', '^(t|y|on|1)', 'error', 'left on: months of the log and the extension can be dropped'),
    ('session_replication_role', '^replica$', 'error', 'replica: the triggers of tracked tables do not fire, writes leave no event'),
    ('row_security', '^(f|n|of|0)', 'warning', 'off, as in restores: readers get errors, and with check_function_bodies off what superusers insert into the log leaves no event'),
    ('audit.actor_id', '.', 'warning', 'set for all sessions: what nobody is named for is this actor''s, who also reads for them')
) AS k (name, value, severity, problem) ON k.name = s.name AND s.value ~* k.value
$health$;
COMMENT ON FUNCTION audit.health_of_roles() IS 'The part of audit.health about roles, who may read, and settings';
