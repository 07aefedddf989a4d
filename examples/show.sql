-- What a user wants to see.
\pset footer off
\pset linestyle unicode
\pset border 1

\echo
\echo 'The Audit tab: the ten latest events'
SELECT to_char(occurred_at, 'Mon FMDD, YYYY, FMHH12:MI AM') AS "Timestamp", action AS "Action", resource_type AS "Resource Type",
       left(resource_id, 20) AS "Resource ID", coalesce(actor_id, 'N/A') AS "Actor ID"
FROM audit.event ORDER BY event_id DESC LIMIT 10;

\echo 'A migration by the DBA: the actor is unknown to the application'
SELECT action AS "Action", resource_id AS "Resource ID", coalesce(actor_id, 'N/A') AS "Actor ID", session_role AS "Database role"
FROM audit.event WHERE audit_match(action, 'instance_owner.*') ORDER BY event_id;

\echo 'Filters: how many events each shows'
SELECT pattern AS "Action Filter", count(*) FILTER (WHERE audit_match(e.action, pattern)) AS "Events"
FROM audit.event e, (VALUES (''), ('organisation.user.*'), ('project.*'), ('datasource.*'), ('*.deleted'),
                            ('organisation.*, -organisation.user.*'), ('entity.created')) v (pattern)
GROUP BY pattern ORDER BY pattern;

\echo 'organisation.user.*'
SELECT action AS "Action", resource_id AS "Resource ID", coalesce(actor_id, 'N/A') AS "Actor ID", before_state AS "Before", after_state AS "After"
FROM audit.event WHERE audit_match(action, 'organisation.user.*') AND organisation_id = 'acme' ORDER BY event_id;

\echo 'One event as JSON'
\pset format unaligned
\pset tuples_only on
SELECT jsonb_pretty(audit.to_json(e)) FROM audit.event e WHERE action = 'datasource.updated' LIMIT 1;
\echo
