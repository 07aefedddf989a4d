-- Events that no table write shows.
\set SHOW_CONTEXT never
SELECT audit.record('organisation.user.logged-in', 'user', 'u-1', 'acme') IS NOT NULL AS recorded;
SELECT audit.record('dataset.exported', 'dataset', '7', 'acme', 'p1', before_state => '{"rows": 5}', after_state => '[1]',
                    metadata => '{"format": "csv"}') IS NOT NULL AS recorded;
SELECT action, resource_type, resource_id, organisation_id, project_id, before_state, after_state, metadata, table_name
FROM audit.event ORDER BY event_id DESC LIMIT 2;
SELECT audit.record('audit.tracking.disabled', 'table', 'x');
SELECT audit.record('Login', 'user', 'u-1');
SELECT audit.record('login', 'user', 'u-1');
SELECT audit.record('user..login', 'user', 'u-1');
SELECT audit.record(NULL, 'user', 'u-1');
-- The actor.
BEGIN;
SELECT set_config('audit.actor_id', 'u-1', true), set_config('audit.actor_type', 'api-key', true), set_config('audit.metadata', '{"request_id": "r-1"}', true);
SELECT audit.record('user.seen', NULL, NULL) IS NOT NULL AS recorded;
SELECT audit.record('user.seen', NULL, NULL, metadata => '{"more": 1}') IS NOT NULL AS recorded;
COMMIT;
SELECT audit.record('user.seen', NULL, NULL) IS NOT NULL AS recorded;
SELECT actor_id, actor_type, metadata FROM audit.event WHERE action = 'user.seen' ORDER BY event_id;
