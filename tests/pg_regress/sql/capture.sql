-- What writes leave.
CREATE VIEW seen AS
SELECT action, resource_type AS type, resource_id AS id, organisation_id AS org, project_id AS project, before_state AS before, after_state AS after, table_name
FROM audit.event WHERE event_id > current_setting('seen.since')::uuid AND action NOT LIKE 'audit.%' ORDER BY event_id;
CREATE FUNCTION mark() RETURNS void LANGUAGE sql AS
$$ SELECT set_config('seen.since', coalesce((SELECT event_id::text FROM audit.event ORDER BY event_id DESC LIMIT 1), '00000000-0000-0000-0000-000000000000'), false) $$;
\o /dev/null
SELECT mark();
\o
CREATE TABLE datasource (id int PRIMARY KEY, organisation_id text, project_id text, name text, password text, touched int DEFAULT 0);
SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id', project_id => 'project_id',
                   mask => '{password}', exclude => '{touched}');
INSERT INTO datasource VALUES (1, 'acme', 'p1', 'events', 'secret'), (2, 'acme', NULL, 'users', NULL);
UPDATE datasource SET name = 'clicks', touched = touched + 1 WHERE id = 1;
UPDATE datasource SET password = 'changed' WHERE id = 1;
-- No event: nothing changed, or only what is excluded.
UPDATE datasource SET name = name;
UPDATE datasource SET touched = 5;
UPDATE datasource SET id = 3 WHERE id = 2;
INSERT INTO datasource VALUES (1, 'acme', 'p1', 'again') ON CONFLICT DO NOTHING;
INSERT INTO datasource VALUES (1, 'acme', 'p1', 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
WITH gone AS (DELETE FROM datasource WHERE id = 3 RETURNING *)
INSERT INTO datasource SELECT 4, organisation_id, project_id, name FROM gone;
COPY datasource (id, name) FROM stdin;
5	copied
\.
MERGE INTO datasource d USING (VALUES (5, 'merged'), (6, 'new')) s (id, name) ON d.id = s.id
WHEN MATCHED THEN UPDATE SET name = s.name
WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name);
DELETE FROM datasource WHERE id > 4;
TRUNCATE datasource;
SELECT * FROM seen;
-- Another trigger's update of the same row comes after the change that caused it.
\o /dev/null
SELECT mark();
\o
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE datasource SET name = NEW.name || '!' WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER " early" AFTER INSERT ON datasource FOR EACH ROW EXECUTE FUNCTION bump();
ALTER TRIGGER " early" ON datasource RENAME TO "#bump";
INSERT INTO datasource (id, name) VALUES (1, 'a');
DROP TRIGGER "#bump" ON datasource;
-- Cascades.
CREATE TABLE part (id int PRIMARY KEY, datasource int REFERENCES datasource ON DELETE CASCADE ON UPDATE CASCADE);
SELECT audit.track('part', 'part');
INSERT INTO part VALUES (10, 1);
UPDATE datasource SET id = 2;
DELETE FROM datasource;
SELECT action, id, before, after FROM seen;
-- The product page's columns, for the last of them.
SELECT action, resource_type, resource_id, coalesce(actor_id, 'N/A') AS actor_id, session_role = session_user AS me
FROM audit.event ORDER BY event_id DESC LIMIT 1;
SELECT jsonb_object_keys(audit.to_json(e)) FROM (SELECT e FROM audit.event e LIMIT 1) x (e);
DROP TABLE part, datasource;
DROP VIEW seen;
DROP FUNCTION mark, bump;
