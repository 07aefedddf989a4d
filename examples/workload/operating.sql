-- A week in which one project observes what runs. Variables: organisation, project, lead, helper, week.
\set key key_ :project

-- The lead connects a datasource and, a day later, moves it and changes its key.
\set name traces- :week
BEGIN;
SET LOCAL audit.actor_id = :'lead'; SET LOCAL audit.metadata = '{"request_id": "connect"}';
INSERT INTO datasources (project_id, name, kind, connection, api_key)
VALUES (:'project', :'name', 'otlp', '{"host": "otlp.example", "port": 4317}', 'sk-topsecret-1') RETURNING id AS datasource \gset
COMMIT;
\qecho request :lead user connect
\qecho + datasources datasource.created datasource :datasource :organisation :project name=:name api_key=[masked]

BEGIN;
SET LOCAL audit.actor_id = :'lead';
UPDATE datasources SET connection = connection || '{"port": 4318}', api_key = 'sk-topsecret-2' WHERE id = :'datasource';
UPDATE datasources SET kind = 'otlp-http' WHERE id = :'datasource';
COMMIT;
\qecho request :lead
\qecho ~ datasources datasource.updated datasource :datasource :organisation :project connection api_key=[masked]>[masked]
\qecho ~ datasources datasource.updated datasource :datasource :organisation :project kind=otlp>otlp-http

-- The worker syncs: the cursor moves on, counters count, and two entities turn up. On the next sync they are there already.
\set external :week -a
\set other :week -b
BEGIN;
SET LOCAL audit.actor_id = 'sync'; SET LOCAL audit.actor_type = 'system';
INSERT INTO entities (project_id, external_id, name) VALUES (:'project', :'external', 'Assistant') RETURNING id AS entity \gset
INSERT INTO entities (project_id, external_id, name) VALUES (:'project', :'other', 'Retriever') RETURNING id AS retriever \gset
UPDATE datasources SET sync_cursor = '0/2', last_synced_at = now() WHERE id = :'datasource';
UPDATE projects SET trace_count = trace_count + 200 WHERE id = :'project';
COMMIT;
\qecho request sync system
\qecho + entities entity.created entity :entity :organisation :project name=Assistant
\qecho + entities entity.created entity :retriever :organisation :project name=Retriever

BEGIN;
SET LOCAL audit.actor_id = 'sync'; SET LOCAL audit.actor_type = 'system';
INSERT INTO entities AS e (project_id, external_id, name) VALUES (:'project', :'external', 'Assistant'), (:'project', :'other', 'Searcher')
ON CONFLICT (project_id, external_id) DO UPDATE SET name = excluded.name, trace_count = e.trace_count + 100;
UPDATE datasources SET sync_cursor = '0/3', last_synced_at = now() WHERE id = :'datasource';
COMMIT;
\qecho request sync system
\qecho ~ entities entity.updated entity :retriever :organisation :project name=Retriever>Searcher

BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE entities SET labels = labels || '{production}' WHERE id = :entity;
DELETE FROM entities WHERE id = :retriever;
COMMIT;
\qecho request :helper
\qecho ~ entities entity.updated entity :entity :organisation :project labels
\qecho - entities entity.deleted entity :retriever :organisation :project name=Searcher

-- A model, and a conversation that uses it. When the model goes, the conversation has none.
BEGIN;
SET LOCAL audit.actor_id = :'lead';
INSERT INTO model_configurations (project_id, name, model, temperature, provider_key) VALUES (:'project', 'default', 'small-3', 0.20, 'sk-topsecret-3')
RETURNING id AS model \gset
INSERT INTO conversation_configurations (project_id, model_configuration_id, name, greeting) VALUES (:'project', :model, 'support', 'Hello')
RETURNING id AS conversation \gset
COMMIT;
\qecho request :lead
\qecho + model_configurations model_configuration.created model_configuration :model :organisation :project temperature=0.20 provider_key=[masked]
\qecho + conversation_configurations conversation_configuration.created conversation_configuration :conversation :organisation :project greeting=Hello

BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE model_configurations SET temperature = 0.7, max_tokens = 800 WHERE id = :model;
UPDATE model_configurations SET max_tokens = 800 WHERE id = :model;
UPDATE conversation_configurations SET greeting = 'Welcome', tools = '[{"name": "search"}]' WHERE id = :conversation;
COMMIT;
\qecho request :helper
\qecho ~ model_configurations model_configuration.updated model_configuration :model :organisation :project temperature=0.20>0.70 max_tokens=null>800
\qecho ~ conversation_configurations conversation_configuration.updated conversation_configuration :conversation :organisation :project greeting=Hello>Welcome tools

BEGIN;
SET LOCAL audit.actor_id = :'lead';
DELETE FROM model_configurations WHERE id = :model;
COMMIT;
\qecho request :lead
\qecho - model_configurations model_configuration.deleted model_configuration :model :organisation :project provider_key=[masked]
\qecho ~ conversation_configurations conversation_configuration.updated conversation_configuration :conversation :organisation :project model_configuration_id=:model>null

BEGIN;
SET LOCAL audit.actor_id = :'lead';
DELETE FROM conversation_configurations WHERE id = :conversation;
COMMIT;
\qecho request :lead
\qecho - conversation_configurations conversation_configuration.deleted conversation_configuration :conversation :organisation :project greeting=Welcome

-- Scores come from programs. One is not a number, which is a value too.
BEGIN;
SET LOCAL audit.actor_id = :'key'; SET LOCAL audit.actor_type = 'api-key';
INSERT INTO scores (project_id, trace_id, name, value) VALUES (:'project', 'trace-1', 'helpfulness', 0.5) RETURNING id AS score \gset
INSERT INTO scores (project_id, trace_id, name, value) VALUES (:'project', 'trace-1', 'toxicity', 'NaN') RETURNING id AS nonsense \gset
COMMIT;
\qecho request :key api-key
\qecho + scores score.created score :score :organisation :project value=0.5 deleted_at=null
\qecho + scores score.created score :nonsense :organisation :project value=NaN

BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE scores SET value = 0.75, comment = 'checked' WHERE id = :score;
COMMIT;
\qecho request :helper
\qecho ~ scores score.updated score :score :organisation :project value=0.5>0.75 comment=null>checked

-- Into the bin with a reason, in one statement: deleted, and updated. The other one is taken out of it again.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE scores SET deleted_at = '2026-02-18 09:00+00', comment = 'no-number' WHERE id = :nonsense;
UPDATE scores SET deleted_at = '2026-02-18 09:00+00' WHERE id = :score;
COMMIT;
\qecho request :helper
\qecho ~ scores score.deleted score :nonsense :organisation :project deleted_at
\qecho ~ scores score.updated score :nonsense :organisation :project comment=null>no-number
\qecho ~ scores score.deleted score :score :organisation :project deleted_at

BEGIN;
SET LOCAL audit.actor_id = :'lead';
UPDATE scores SET deleted_at = NULL WHERE id = :score;
COMMIT;
\qecho request :lead
\qecho ~ scores score.updated score :score :organisation :project deleted_at

-- An import that is undone in part: what was rolled back to the savepoint has not happened.
BEGIN;
SET LOCAL audit.actor_id = :'key'; SET LOCAL audit.actor_type = 'api-key';
INSERT INTO scores (project_id, trace_id, name, value) VALUES (:'project', 'trace-2', 'helpfulness', 1) RETURNING id AS kept \gset
SAVEPOINT batch;
INSERT INTO scores (project_id, trace_id, name, value) SELECT :'project', 'trace-' || n, 'helpfulness', 0 FROM generate_series(3, 12) n;
UPDATE scores SET value = 0.5 WHERE id = :kept;
ROLLBACK TO batch;
UPDATE scores SET value = 0.9 WHERE id = :kept;
COMMIT;
\qecho request :key api-key
\qecho + scores score.created score :kept :organisation :project value=1
\qecho ~ scores score.updated score :kept :organisation :project value=1>0.9

-- A wrong project: nothing of it happened.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
DELETE FROM datasources WHERE project_id = :'project';
UPDATE entities SET labels = '{}' WHERE project_id = :'project';
ROLLBACK;
\qecho request :helper

-- The project's description, and the datasource goes.
\set name 'Week ' :week
BEGIN;
SET LOCAL audit.actor_id = :'lead';
UPDATE projects SET description = :'name', trace_count = trace_count + 1 WHERE id = :'project';
DELETE FROM datasources WHERE id = :'datasource';
COMMIT;
\qecho request :lead
\qecho ~ projects project.updated project :project :organisation :project description
\qecho - datasources datasource.deleted datasource :datasource :organisation :project kind=otlp-http api_key=[masked]
