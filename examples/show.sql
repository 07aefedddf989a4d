-- What a user wants to see.
\pset footer off
\pset linestyle unicode
\pset border 1
\pset null ''

\echo
\echo 'Acme''s Audit tab, with an empty filter: the ten latest organisation-level events'
SELECT to_char(occurred_at, 'Mon FMDD, YYYY, FMHH12:MI AM') AS "Timestamp", action AS "Action", resource_type AS "Resource Type",
       left(resource_id, 20) AS "Resource ID", coalesce(actor_id, 'N/A') AS "Actor ID"
FROM audit.event WHERE organisation_id = 'org_acme' AND audit_match(action, '') ORDER BY event_id DESC LIMIT 10;

\echo 'organisation.user.* in Globex: one statement of Eve''s touched two columns, and only the role is anybody else''s business'
SELECT action AS "Action", resource_id AS "Resource ID", actor_id AS "Actor ID", before_state ->> 'role' AS "Role before", after_state ->> 'role' AS "Role after"
FROM audit.event WHERE organisation_id = 'org_globex' AND audit_match(action, 'organisation.user.*') ORDER BY event_id LIMIT 6;

\echo 'The life of a prompt: two tables, one resource; promoting with a note is two events'
SELECT action AS "Action", actor_id AS "Actor ID", table_name AS "Table", before_state - '{id,created_at}'::text[] AS "Before",
       CASE WHEN before_state IS NOT NULL THEN after_state - 'id' END AS "After"
FROM audit.event WHERE resource_type = 'prompt' AND resource_id = (SELECT min(id)::text FROM prompts) ORDER BY event_id;

\echo 'Written by the DBA: the application''s user is unknown, the database''s role is not'
SELECT action AS "Action", resource_id AS "Resource ID", coalesce(actor_id, 'N/A') AS "Actor ID", session_role AS "Database role"
FROM audit.event WHERE audit_match(action, 'instance_owner.*, user.created') AND actor_id IS NULL ORDER BY event_id;

\echo 'A project goes to another organisation: neither sees the other''s values'
SELECT organisation_id AS "Organisation", action AS "Action", before_state AS "Before", after_state AS "After"
FROM audit.event WHERE resource_id = 'prj_search' AND coalesce(before_state, after_state) ? 'organisation_id' AND action = 'project.updated' ORDER BY event_id;

\echo 'Filters: how many events each shows'
SELECT pattern AS "Action Filter", count(*) FILTER (WHERE audit_match(e.action, pattern)) AS "Events"
FROM audit.event e, (VALUES (''), ('organisation.user.*'), ('project.*'), ('datasource.*'), ('*.deleted'),
                            ('organisation.*, -organisation.user.*'), ('entity.created'), ('*')) v (pattern)
GROUP BY pattern ORDER BY pattern;

\echo 'One event as JSON'
\pset format unaligned
\pset tuples_only on
SELECT jsonb_pretty(audit.to_json(e)) FROM audit.event e WHERE action = 'datasource.updated' ORDER BY event_id LIMIT 1;
\echo
