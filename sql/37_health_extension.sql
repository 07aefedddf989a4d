-- The part of audit.health about the extension's own objects: whether they are as CREATE EXTENSION made them, whose they
-- are, and who was granted what.

-- Settings are those that decide how PostgreSQL prints definitions.
CREATE FUNCTION audit.parts() RETURNS TABLE (type text, identity text, definition text)
    LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
    SET intervalstyle = 'postgres' SET quote_all_identifiers = off
AS $parts$
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    WHERE e.extname = 'audit'
),
relation AS MATERIALIZED (
    SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name, c.reloptions, c.relrowsecurity,
           -- audit.health_of_log looks after what stands on these.
           c.oid = 'audit.event'::regclass OR c.relispartition AS is_log
    FROM member m
    JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
    JOIN pg_namespace n ON n.oid = c.relnamespace
),
part (classid, objid, definition) AS (
    SELECT m.classid, m.objid,
           -- What is installed cannot say how it is itself.
           CASE WHEN p.proname = 'as_installed' THEN NULL
                WHEN p.oid IS NOT NULL THEN rtrim(pg_get_functiondef(p.oid), E'\n') || ';'
                WHEN v.relkind = 'v' THEN format('CREATE OR REPLACE VIEW %s%s AS %s', v.name, ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
                                                 pg_get_viewdef(v.oid))
                WHEN v.oid IS NOT NULL THEN
                    (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), 'NOT NULL' || CASE WHEN a.attnotnull THEN '' END,
                                                 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)
                     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                     WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped)
                    || CASE WHEN v.relrowsecurity THEN '' ELSE ', without row-level security' END
           END
    FROM member m
    LEFT JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    LEFT JOIN relation v ON m.classid = 'pg_class'::regclass AND v.oid = m.objid
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid,
           format('%s; ALTER TABLE %s %s TRIGGER %I;', regexp_replace(pg_get_triggerdef(t.oid), '^CREATE ', 'CREATE OR REPLACE '), r.name,
                  CASE t.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'O' THEN 'ENABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, t.tgname)
    FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    WHERE NOT r.is_log
    UNION ALL
    SELECT 'pg_policy'::regclass, q.oid,
           format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', q.polname, r.name, CASE WHEN q.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                  CASE q.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                  CASE WHEN q.polroles = '{0}' THEN 'PUBLIC'
                       ELSE (SELECT string_agg(quote_ident(pg_get_userbyid(o.role)), ', ' ORDER BY o.role) FROM unnest(q.polroles) AS o (role)) END)
           || COALESCE(' USING (' || pg_get_expr(q.polqual, q.polrelid) || ')', '')
           || COALESCE(' WITH CHECK (' || pg_get_expr(q.polwithcheck, q.polrelid) || ')', '') || ';'
    FROM relation r JOIN pg_policy q ON q.polrelid = r.oid
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid, pg_get_ruledef(w.oid)
    FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
    WHERE NOT r.is_log AND w.rulename <> '_RETURN'
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, format('ALTER TABLE %s ADD CONSTRAINT %I %s;', r.name, k.conname, pg_get_constraintdef(k.oid))
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
    WHERE NOT r.is_log
)
SELECT i.type, CASE WHEN p.classid = 'pg_proc'::regclass THEN p.objid::regprocedure::text ELSE i.identity END, p.definition
FROM part p CROSS JOIN LATERAL pg_identify_object(p.classid, p.objid, 0) i
$parts$;
COMMENT ON FUNCTION audit.parts() IS
'What the extension consists of, and how each part is made as PostgreSQL prints it now; audit.as_installed has it as CREATE EXTENSION left it';

-- Declared here, for grants, and given its rows by the last script.
CREATE FUNCTION audit.as_installed() RETURNS TABLE (type text, identity text, definition text)
    LANGUAGE sql IMMUTABLE AS $$ SELECT NULL::text, NULL::text, NULL::text $$;
COMMENT ON FUNCTION audit.as_installed() IS 'What the extension consists of, as CREATE EXTENSION made it: what audit.parts returned then';

CREATE FUNCTION audit.health_of_extension()
    RETURNS TABLE (severity text, object text, problem text, remedy text)
    LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $health$
WITH event_guard (name, event, function, loss) AS (VALUES
    ('audit_follow_ddl'::name, 'ddl_command_end', 'follow_ddl',
     'settings no longer follow renamed columns, new partitions lack triggers, and what switches tracking off leaves no event'),
    ('audit_before_ddl', 'ddl_command_start', 'before_ddl',
     'months of the log and the extension can be dropped, and what switches tracking off leaves no event'),
    ('audit_before_rewrite', 'table_rewrite', 'before_rewrite', 'ALTER TABLE can rewrite what events hold')
),
extension AS (
    SELECT e.oid, e.extowner, o.rolname FROM pg_extension e JOIN pg_authid o ON o.oid = e.extowner WHERE e.extname = 'audit'
),
installed AS MATERIALIZED (SELECT s.* FROM audit.as_installed() s WHERE s.type <> 'event trigger'),
part AS MATERIALIZED (SELECT s.* FROM audit.parts() s WHERE s.type <> 'event trigger'),
-- Functions under another name: what is behind AS tells them, a symbol of the library or a body.
renamed AS MATERIALIZED (
    SELECT p.identity, s.identity AS meant,
           format('ALTER %s %s RENAME TO %s;', upper(p.type), p.identity, regexp_replace(s.identity, '^audit\.|\(.*$', '', 'g')) AS remedy
    FROM part p
    JOIN installed s ON s.type = p.type AND split_part(s.definition, E'\nAS ', 2) = split_part(p.definition, E'\nAS ', 2)
                    AND substr(s.identity, strpos(s.identity, '(')) = substr(p.identity, strpos(p.identity, '('))
    WHERE p.type IN ('function', 'procedure') AND p.identity LIKE 'audit.%'
      AND p.identity NOT IN (SELECT x.identity FROM installed x) AND s.identity NOT IN (SELECT x.identity FROM part x)
),
-- Objects with owners and rights: the extension's, and the months of the log, which are its own although no members.
owned AS MATERIALIZED (
    SELECT d.classid, d.objid, true AS is_member
    FROM extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    UNION
    SELECT 'pg_class'::regclass, i.inhrelid, false FROM pg_inherits i
    WHERE i.inhparent = 'audit.event'::regclass AND i.inhrelid <> COALESCE(to_regclass('audit.event_default'), 0)
),
object AS MATERIALIZED (
    SELECT o.classid, o.objid, i.type, COALESCE(p.oid::regprocedure::text, i.identity) AS identity, COALESCE(c.relowner, p.proowner, n.nspowner, v.evtowner) AS owner,
           CASE WHEN c.oid IS NOT NULL THEN 'TABLE' WHEN p.prokind = 'p' THEN 'PROCEDURE' WHEN p.oid IS NOT NULL THEN 'FUNCTION' ELSE 'SCHEMA' END AS kind,
           k.acl AS default_acl, COALESCE(c.relacl, p.proacl, n.nspacl, k.acl) AS acl,
           CASE WHEN o.is_member THEN COALESCE(x.initprivs, k.acl) ELSE k.acl END AS initial_acl
    FROM owned o
    CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    LEFT JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
    LEFT JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
    LEFT JOIN pg_namespace n ON o.classid = 'pg_namespace'::regclass AND n.oid = o.objid
    LEFT JOIN pg_event_trigger v ON o.classid = 'pg_event_trigger'::regclass AND v.oid = o.objid
    LEFT JOIN pg_init_privs x ON x.classoid = o.classid AND x.objoid = o.objid AND x.objsubid = 0
    CROSS JOIN LATERAL (SELECT CASE WHEN c.oid IS NOT NULL THEN acldefault('r', c.relowner) WHEN p.oid IS NOT NULL THEN acldefault('f', p.proowner)
                                    WHEN n.oid IS NOT NULL THEN acldefault('n', n.nspowner) END) AS k (acl)
),
-- Who has what, but for owners; of columns as well.
granted (classid, objid, grantee, privilege) AS MATERIALIZED (
    SELECT o.classid, o.objid, a.grantee, a.privilege_type FROM object o CROSS JOIN LATERAL aclexplode(o.acl) a WHERE a.grantee <> o.owner
    UNION
    SELECT o.classid, o.objid, a.grantee, format('%s (%I)', a.privilege_type, t.attname)
    FROM object o JOIN pg_attribute t ON o.kind = 'TABLE' AND t.attrelid = o.objid CROSS JOIN LATERAL aclexplode(t.attacl) a WHERE a.grantee <> o.owner
),
-- What the owner of now or of then had is no grant.
meant (classid, objid, grantee, privilege) AS MATERIALIZED (
    SELECT o.classid, o.objid, a.grantee, a.privilege_type
    FROM object o CROSS JOIN LATERAL aclexplode(o.initial_acl) a
    WHERE a.grantee NOT IN (o.owner, a.grantor)
),
differs AS (
    SELECT true AS is_added, g.* FROM (SELECT * FROM granted EXCEPT SELECT * FROM meant) g
    UNION ALL
    SELECT false, m.* FROM (SELECT * FROM meant EXCEPT SELECT * FROM granted) m
)

SELECT 'error', format('event trigger %I', g.name),
       CASE WHEN x.evtname IS NULL THEN 'missing: ' WHEN x.evtname <> g.name THEN format('has the name %I: ', x.evtname)
            WHEN x.evttags IS NOT NULL THEN 'does not fire for all commands: ' WHEN x.evtenabled = 'D' THEN 'disabled: '
            ELSE 'not ENABLE ALWAYS: ' END || g.loss,
       CASE WHEN x.evtname IS NULL OR x.evttags IS NOT NULL THEN
               CASE WHEN x.evttags IS NULL THEN '' ELSE
                   format('SET audit.allow_destruction = on; ALTER EXTENSION audit DROP EVENT TRIGGER %1$I; DROP EVENT TRIGGER %1$I; ', x.evtname) END
               || format('CREATE EVENT TRIGGER %1$I ON %2$s EXECUTE FUNCTION audit.%3$I(); ALTER EXTENSION audit ADD EVENT TRIGGER %1$I; ',
                         g.name, g.event, g.function)
            WHEN x.evtname <> g.name THEN format('ALTER EVENT TRIGGER %I RENAME TO %I; ', x.evtname, g.name) ELSE '' END
       || format('ALTER EVENT TRIGGER %I ENABLE ALWAYS;', g.name)
FROM event_guard g
LEFT JOIN LATERAL (
    SELECT y.evtname, y.evtenabled, y.evttags
    FROM pg_event_trigger y JOIN pg_proc p ON p.oid = y.evtfoid AND p.pronamespace = 'audit'::regnamespace AND p.proname = g.function
    WHERE y.evtevent = g.event
    ORDER BY y.evtname <> g.name, y.oid LIMIT 1
) x ON true
WHERE x.evtname IS DISTINCT FROM g.name OR x.evtenabled <> 'A' OR x.evttags IS NOT NULL

-- What is not as CREATE EXTENSION made it.
UNION ALL
SELECT CASE WHEN p.type IS NULL OR s.type IS NOT NULL OR p.type IN ('trigger', 'rule', 'policy', 'table constraint') THEN 'error' ELSE 'warning' END,
       t.type || ' ' || t.identity,
       CASE WHEN n.identity IS NOT NULL THEN format('is %s now: ', n.identity) WHEN p.type IS NULL THEN 'missing: ' WHEN s.type IS NULL THEN 'added: ' ELSE 'altered: ' END
       || CASE t.type WHEN 'policy' THEN 'others than admins may read, or admins may not'
                      WHEN 'table' THEN CASE WHEN s.definition || ', without row-level security' = p.definition
                                             THEN 'row-level security is off: whoever may select from it reads the rows of all tenants'
                                             ELSE 'its columns are not those that CREATE EXTENSION made' END
                      WHEN 'trigger' THEN 'changes of who may read can leave no event, or another one'
                      WHEN 'rule' THEN 'changes of who may read can go elsewhere' WHEN 'table constraint' THEN 'what can be granted is not what was meant'
                      ELSE CASE WHEN s.type IS NULL THEN 'it came into the extension later' ELSE 'it is not as CREATE EXTENSION made it' END END,
       CASE WHEN n.identity IS NOT NULL THEN n.remedy
            WHEN s.type IS NULL THEN
               CASE t.type WHEN 'table constraint' THEN regexp_replace(t.identity, '^(.*) on (.*)$', 'ALTER TABLE \2 DROP CONSTRAINT \1;')
                           WHEN 'policy' THEN format('DROP POLICY %s;', t.identity) WHEN 'trigger' THEN format('DROP TRIGGER %s;', t.identity)
                           WHEN 'rule' THEN format('DROP RULE %s;', t.identity)
                           ELSE format('SET audit.allow_destruction = on; ALTER EXTENSION audit DROP %s %s;', upper(t.type), t.identity) END
            WHEN p.type IS NULL AND t.type IN ('function', 'procedure') AND to_regprocedure(t.identity) IS NOT NULL
              OR p.type IS NULL AND t.type IN ('view', 'table') AND to_regclass(t.identity) IS NOT NULL
               THEN format('ALTER EXTENSION audit ADD %s %s;', upper(t.type), t.identity)
            WHEN t.type IN ('function', 'procedure', 'view', 'trigger', 'table constraint') AND (p.type IS NOT NULL OR t.type IN ('trigger', 'table constraint'))
               THEN CASE WHEN t.type = 'table constraint' AND p.type IS NOT NULL THEN regexp_replace(t.identity, '^(.*) on (.*)$', 'ALTER TABLE \2 DROP CONSTRAINT \1; ') ELSE '' END
                    || CASE WHEN t.type = 'view' AND strpos(s.definition, ' WITH (') = 0 THEN format('ALTER VIEW %s RESET (security_invoker, security_barrier, check_option); ', t.identity) ELSE '' END
                    || s.definition
            WHEN t.type = 'policy' THEN CASE WHEN p.type IS NULL THEN '' ELSE format('DROP POLICY %s; ', t.identity) END || s.definition
            WHEN t.type = 'table' AND s.definition || ', without row-level security' = p.definition THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', t.identity)
            ELSE 'Undo what the log tells of (audit.guard.disabled), or dump the database and restore it where the extension is made anew.' END
FROM part p
FULL JOIN installed s ON s.type = p.type AND s.identity = p.identity
CROSS JOIN LATERAL (SELECT COALESCE(s.type, p.type), COALESCE(s.identity, p.identity)) AS t (type, identity)
LEFT JOIN renamed n ON n.meant = s.identity AND p.type IS NULL
WHERE (p.type IS NULL OR s.type IS NULL OR p.definition IS DISTINCT FROM s.definition)
  AND NOT (s.type IS NULL AND t.identity IN (SELECT x.identity FROM renamed x))

-- Owners can do with their objects what the guards keep others from.
UNION ALL
SELECT 'error', o.type || ' ' || o.identity, format('belongs to %I, not to %I, whose the extension is', w.rolname, e.rolname),
       format('ALTER %s %s OWNER TO %I;', CASE WHEN o.type = 'event trigger' THEN 'EVENT TRIGGER' WHEN o.type = 'view' THEN 'VIEW' ELSE o.kind END, o.identity, e.rolname)
FROM object o
CROSS JOIN extension e
JOIN pg_authid w ON w.oid = o.owner
WHERE o.owner <> e.extowner

-- Rights that the extension did not give, and those that it gave and somebody took. What every audit_reader may do is
-- worth a look in others.
UNION ALL
SELECT CASE WHEN d.is_added AND bool_and(EXISTS (SELECT FROM meant m WHERE m.objid = d.objid AND m.classid = d.classid AND m.privilege = regexp_replace(d.privilege, ' .*', '')
                                                                   AND m.grantee = to_regrole('audit_reader'))) THEN 'info' ELSE 'warning' END,
       o.type || ' ' || o.identity,
       CASE WHEN d.is_added THEN format('%s granted to %s, beyond what the extension grants', w.privileges, w.grantee)
            ELSE format('%s revoked from %s, which need it', w.privileges, w.grantee) END,
       CASE WHEN d.is_added THEN format('REVOKE %s ON %s %s FROM %s;', w.privileges, o.kind, o.identity, w.grantee)
            ELSE format('GRANT %s ON %s %s TO %s;', w.privileges, o.kind, o.identity, w.grantee) END
FROM differs d
JOIN object o ON o.classid = d.classid AND o.objid = d.objid
CROSS JOIN LATERAL (
    SELECT string_agg(x.privilege, ', ' ORDER BY x.privilege), CASE d.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(d.grantee)) END
    FROM differs x WHERE x.is_added = d.is_added AND x.classid = d.classid AND x.objid = d.objid AND x.grantee = d.grantee
) AS w (privileges, grantee)
GROUP BY d.is_added, o.type, o.identity, o.kind, w.privileges, w.grantee
$health$;
COMMENT ON FUNCTION audit.health_of_extension() IS
'The part of audit.health about the extension''s own objects: as CREATE EXTENSION made them, its owner''s, with the rights that it gave';
