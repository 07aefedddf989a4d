-- Imports: one statement, many rows. Which ids the rows got, the application's tables say; how many there are, the import.

-- A customer's directory: 150 entities in one statement, in the order of its list.
BEGIN;
SET LOCAL audit.actor_id = 'key_prj_chat'; SET LOCAL audit.actor_type = 'api-key'; SET LOCAL audit.metadata = '{"request_id": "directory"}';
INSERT INTO entities (project_id, external_id, name) SELECT 'prj_chat', 'crm-' || n, 'Customer ' || n FROM generate_series(1, 150) n ORDER BY n;
COMMIT;
\qecho request key_prj_chat api-key directory
SELECT format('+ entities entity.created entity %s org_acme prj_chat external_id=crm-%s', id, n)
FROM generate_series(1, 150) n LEFT JOIN entities ON external_id = 'crm-' || n AND project_id = 'prj_chat' ORDER BY n;

-- The next day's list overlaps: 50 are new, of the 100 known ones every tenth has another name.
BEGIN;
SET LOCAL audit.actor_id = 'key_prj_chat'; SET LOCAL audit.actor_type = 'api-key';
INSERT INTO entities AS e (project_id, external_id, name)
SELECT 'prj_chat', 'crm-' || n, CASE WHEN n % 10 = 0 THEN 'Renamed ' ELSE 'Customer ' END || n FROM generate_series(51, 200) n ORDER BY n
ON CONFLICT (project_id, external_id) DO UPDATE SET name = excluded.name, trace_count = e.trace_count + 1;
COMMIT;
\qecho request key_prj_chat api-key
SELECT CASE WHEN n > 150 THEN format('+ entities entity.created entity %s org_acme prj_chat external_id=crm-%s', id, n)
            ELSE format('~ entities entity.updated entity %s org_acme prj_chat name', id) END
FROM generate_series(51, 200) n LEFT JOIN entities ON external_id = 'crm-' || n AND project_id = 'prj_chat'
WHERE n > 150 OR n % 10 = 0 ORDER BY n;

-- Scores of an offline judge, by COPY.
BEGIN;
SET LOCAL audit.actor_id = 'importer'; SET LOCAL audit.actor_type = 'system';
COPY scores (project_id, trace_id, name, value) FROM stdin;
prj_triage	batch-1	urgency	0.1
prj_triage	batch-2	urgency	0.2
prj_triage	batch-3	urgency	\N
prj_triage	batch-4	urgency	Infinity
prj_routing	batch-5	urgency	0.5
prj_routing	batch-6	urgency	1e-7
\.
COMMIT;
SELECT min(id) AS batch FROM scores WHERE trace_id = 'batch-1' \gset
\qecho request importer system
SELECT format('+ scores score.created score %s org_globex %s trace_id=batch-%s value=%s', :batch + n - 1, project, n, value)
FROM (VALUES (1, 'prj_triage', '0.1'), (2, 'prj_triage', '0.2'), (3, 'prj_triage', 'null'), (4, 'prj_triage', 'Infinity'),
             (5, 'prj_routing', '0.5'), (6, 'prj_routing', '0.0000001')) import (n, project, value) ORDER BY n;

-- A rubric changes: all of a batch at once. One statement's rows come in no order that anybody promised.
BEGIN;
SET LOCAL audit.actor_id = 'usr_fay';
UPDATE scores SET name = 'priority' WHERE trace_id LIKE 'batch-%';
COMMIT;
\qecho request usr_fay
\qecho in any order
SELECT format('~ scores score.updated score %s org_globex %s name=urgency>priority', :batch + n - 1,
              CASE WHEN n <= 4 THEN 'prj_triage' ELSE 'prj_routing' END)
FROM generate_series(1, 6) n;

-- A staging table and MERGE: models are added, changed and removed in one statement.
BEGIN;
SET LOCAL audit.actor_id = 'usr_gil';
INSERT INTO model_configurations (project_id, name, model) VALUES ('prj_routing', 'kept', 'small-3') RETURNING id AS kept \gset
INSERT INTO model_configurations (project_id, name, model) VALUES ('prj_routing', 'old', 'small-1') RETURNING id AS old \gset
MERGE INTO model_configurations m
USING (VALUES ('kept', 'small-4'), ('old', NULL), ('new', 'large-3')) wanted (name, model)
ON m.project_id = 'prj_routing' AND m.name = wanted.name
WHEN MATCHED AND wanted.model IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET model = wanted.model
WHEN NOT MATCHED THEN INSERT (project_id, name, model) VALUES ('prj_routing', wanted.name, wanted.model);
SELECT id AS new FROM model_configurations WHERE project_id = 'prj_routing' AND name = 'new' \gset
COMMIT;
\qecho request usr_gil
\qecho + model_configurations model_configuration.created model_configuration :kept org_globex prj_routing name=kept
\qecho + model_configurations model_configuration.created model_configuration :old org_globex prj_routing name=old
\qecho in any order
\qecho ~ model_configurations model_configuration.updated model_configuration :kept org_globex prj_routing model=small-3>small-4
\qecho - model_configurations model_configuration.deleted model_configuration :old org_globex prj_routing
\qecho + model_configurations model_configuration.created model_configuration :new org_globex prj_routing name=new

-- Many small requests of a program, each its own transaction.
SELECT format('BEGIN; SET LOCAL audit.actor_id = ''key_prj_chat''; SET LOCAL audit.actor_type = ''api-key'';
               INSERT INTO scores (project_id, trace_id, name, value) VALUES (''prj_chat'', ''live-%s'', ''latency'', %s); COMMIT', n, n)
FROM generate_series(1, 60) n ORDER BY n \gexec
SELECT format(E'request key_prj_chat api-key\n+ scores score.created score %s org_acme prj_chat trace_id=live-%s value=%s', id, n, n)
FROM generate_series(1, 60) n LEFT JOIN scores ON trace_id = 'live-' || n ORDER BY n;
