-- What is wrong with the audit system, one row a problem. Catalogs and the extension's own tables are read; no view or
-- function of anybody else is run.

-- As its owner, so that whoever monitors sees everything; without tenants' ids, which are none of their business.
CREATE FUNCTION audit.health(not_seen_for interval DEFAULT interval '90 days')
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off
    SET quote_all_identifiers = off SET standard_conforming_strings = on SET intervalstyle = postgres
AS $health$
-- The parts read what only a superuser may.
WITH owner AS MATERIALIZED (SELECT r.rolname, r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)
SELECT f.severity, f.object, f.problem, f.remedy
FROM (SELECT * FROM audit.health_of_tables(not_seen_for) WHERE (SELECT o.rolsuper FROM owner o)
      UNION ALL SELECT * FROM audit.health_of_log() WHERE (SELECT o.rolsuper FROM owner o)
      UNION ALL SELECT * FROM audit.health_of_extension() WHERE (SELECT o.rolsuper FROM owner o)
      UNION ALL SELECT * FROM audit.health_of_roles() WHERE (SELECT o.rolsuper FROM owner o)
      UNION ALL SELECT 'error', format('role %I', o.rolname),
                       'owns the extension, but is no superuser: its guards work no more as they should, and this function tells nothing else',
                       format('ALTER ROLE %I SUPERUSER;', o.rolname)
      FROM owner o WHERE NOT o.rolsuper) f
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
