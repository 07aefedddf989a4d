-- What a DBA sees after CREATE EXTENSION.
\set SHOW_CONTEXT never
CREATE SCHEMA audit;
CREATE EXTENSION audit;
DROP SCHEMA audit;
CREATE EXTENSION audit;
\dx audit
\dx+ audit
\d audit.event
\df audit.*
\df audit_match
DROP SCHEMA audit CASCADE;
-- Who may call what.
SELECT p.oid::regprocedure AS function, coalesce(string_agg(a.grantee::regrole::text, ', ' ORDER BY a.grantee::regrole::text), '-') AS granted_to
FROM pg_proc p LEFT JOIN LATERAL aclexplode(p.proacl) a ON a.grantee NOT IN (0, p.proowner)
WHERE pronamespace = 'audit'::regnamespace
GROUP BY p.oid ORDER BY p.oid::regprocedure::text COLLATE "C";
-- What is PUBLIC's besides audit_match: what its plans and the policy call, and the triggers' function.
SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'audit'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT proname, provolatile, proisstrict, proleakproof, proparallel FROM pg_proc WHERE proname = 'audit_match';
SELECT proname, prosecdef, proconfig FROM pg_proc WHERE pronamespace = 'audit'::regnamespace AND (prosecdef OR proconfig IS NOT NULL) ORDER BY proname;
SELECT parname, paracl::text ~ 'audit_writer=s' AS writer_may_set FROM pg_parameter_acl WHERE parname LIKE 'audit.%' ORDER BY parname;
