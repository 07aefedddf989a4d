-- Who may do what: nobody anything, then each role its own. Configuring, writing and reading never imply one
-- another.

-- Default privileges of the installing role may have granted something already.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT format('%s %I.%I', 'TABLE', n.nspname, c.relname) AS object, a.grantee
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE n.nspname = 'audit' AND c.relkind IN ('r', 'p', 'v') AND a.grantee <> c.relowner
        UNION
        SELECT format('ROUTINE %s', p.oid::regprocedure), a.grantee
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        CROSS JOIN LATERAL aclexplode(p.proacl) a
        WHERE n.nspname = 'audit' AND a.grantee <> p.proowner
        UNION
        SELECT 'SCHEMA audit', a.grantee
        FROM pg_namespace n
        CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = 'audit' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', granted.object,
                       CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
END
$$;
REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON SCHEMA audit FROM PUBLIC;

-- Whoever makes a partition of a tracked table inherits its trigger, which takes EXECUTE. What else they could do
-- with it, the event trigger refuses.
GRANT EXECUTE ON FUNCTION audit.capture() TO PUBLIC;

-- The policy's, run by whoever selects; each tells the caller's own rights.
GRANT EXECUTE ON FUNCTION audit.readable_organisations(), audit.readable_projects(), audit.readable_pairs(),
                          audit.readable_from(), audit.is_readable_pair(text[], text, text) TO PUBLIC;

-- Whoever calls audit_match runs the conditions on indexes that the planner makes of it. Only roles with a right to
-- the schema can call these by name.
GRANT EXECUTE ON FUNCTION audit.pattern_low(text), audit.pattern_high(text) TO PUBLIC;

-- Whoever may select from audit.tracked_table reads settings by it.
GRANT EXECUTE ON FUNCTION audit.trigger_settings(bytea) TO PUBLIC;

GRANT USAGE ON SCHEMA audit TO audit_admin, audit_writer, audit_reader, pg_monitor;
GRANT EXECUTE ON FUNCTION audit.health(interval), audit.check_health(text) TO audit_admin, pg_monitor;

GRANT EXECUTE ON FUNCTION audit.track(regclass, text, text[], text, text, jsonb, text[], text[], text[], boolean) TO audit_admin;
GRANT EXECUTE ON FUNCTION audit.untrack(regclass) TO audit_admin;
GRANT EXECUTE ON PROCEDURE audit.maintain() TO audit_admin;
GRANT EXECUTE ON FUNCTION audit.grant_admin(text, regrole, text, text, boolean),
                          audit.revoke_admin(text, regrole, text, text, boolean),
                          audit.use_admins_from(regclass),
                          audit.set_organisation(text, boolean) TO audit_admin;
GRANT SELECT ON audit.tracked_table, audit.catalogue, audit.admin, audit.admin_source, audit.organisation TO audit_admin;

GRANT EXECUTE ON FUNCTION audit.record(text, text, text, text, text, jsonb, jsonb, jsonb) TO audit_writer;
GRANT SET ON PARAMETER audit.actor_id, audit.actor_type, audit.metadata TO audit_writer;

GRANT SELECT ON audit.event, audit.organisation_log, audit.project_log, audit.catalogue TO audit_reader;
GRANT EXECUTE ON FUNCTION audit.log(text, text, text, uuid, int, text, text, text, timestamptz, timestamptz),
                          audit.history(text, text, uuid, int),
                          audit.check_pattern(text), audit.default_pattern(text), audit.to_json(audit.event) TO audit_reader;
