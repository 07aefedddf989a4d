-- A day of the sample application: each transaction names the user it acts for, as a web request would.

-- A migration by the DBA: nobody is named, so the actor is N/A.
INSERT INTO users (id, email, password_hash) VALUES
    ('u-ada', 'ada@acme.example', 'argon2:1'), ('u-bob', 'bob@acme.example', 'argon2:2'), ('u-eve', 'eve@globex.example', 'argon2:3');
INSERT INTO instance_owners VALUES ('u-ada'), ('u-eve');
DELETE FROM instance_owners WHERE user_id = 'u-eve';

SET SESSION AUTHORIZATION observatory_app;

BEGIN;
SELECT set_config('audit.actor_id', 'u-ada', true), set_config('audit.actor_type', 'user', true),
       set_config('audit.metadata', '{"request_id": "r-1", "ip": "203.0.113.7"}', true) \g /dev/null
INSERT INTO organisations VALUES ('acme', 'Acme'), ('globex', 'Globex'), ('initech', 'Initech');
INSERT INTO memberships VALUES ('acme', 'u-ada', 'admin'), ('acme', 'u-bob', 'member'), ('globex', 'u-eve', 'admin');
INSERT INTO invitations (organisation_id, email) VALUES ('acme', 'carol@acme.example');
UPDATE organisations SET plan = 'enterprise' WHERE id = 'acme';
UPDATE memberships SET role = 'admin' WHERE organisation_id = 'acme' AND user_id = 'u-bob';
INSERT INTO organisation_retention VALUES ('acme', '2 years');
INSERT INTO roles VALUES ('analyst', 'acme', '{read}'), ('intern', 'acme', '{read}');
UPDATE roles SET permissions = '{read,write}' WHERE id = 'analyst';
DELETE FROM roles WHERE id = 'intern';
DELETE FROM organisations WHERE id = 'initech';
COMMIT;

BEGIN;
SELECT set_config('audit.actor_id', 'u-bob', true), set_config('audit.actor_type', 'user', true) \g /dev/null
INSERT INTO projects VALUES ('chat', 'acme', 'Chat'), ('search', 'acme', 'Search');
UPDATE projects SET name = 'Support chat' WHERE id = 'chat';
INSERT INTO project_retention VALUES ('chat', 'acme', '90 days');
INSERT INTO project_members VALUES ('chat', 'acme', 'u-bob'), ('chat', 'acme', 'u-ada');
INSERT INTO project_member_roles VALUES ('chat', 'acme', 'u-ada', 'analyst');
DELETE FROM project_member_roles;
DELETE FROM project_members WHERE user_id = 'u-ada';
DELETE FROM projects WHERE id = 'search';
COMMIT;

BEGIN;
SELECT set_config('audit.actor_id', 'key-7', true), set_config('audit.actor_type', 'api-key', true) \g /dev/null
INSERT INTO datasources (id, organisation_id, project_id, name, connection, api_key) VALUES
    ('6f9c1f8e-3c1b-4b53-9d0e-1f2a3b4c5d6e', 'acme', 'chat', 'events', '{"host": "db1", "port": 5432}', 'sk-secret'),
    ('0b7d2f3a-8e55-4f0a-9a61-7c8d9e0f1a2b', 'acme', 'chat', 'legacy', '{"host": "db0"}', NULL);
UPDATE datasources SET name = 'clickstream', connection = connection || '{"port": 6432}' WHERE name = 'events';
DELETE FROM datasources WHERE name = 'legacy';
INSERT INTO entities (organisation_id, project_id, name) SELECT 'acme', 'chat', 'entity ' || n FROM generate_series(1, 5) n;
UPDATE entities SET labels = '{vip}' WHERE id = 1;
DELETE FROM entities WHERE id = 5;
INSERT INTO model_configurations (organisation_id, project_id, model, temperature) VALUES ('acme', 'chat', 'small', 0.20), ('acme', 'chat', 'large', 1);
UPDATE model_configurations SET temperature = 0.70 WHERE model = 'small';
DELETE FROM model_configurations WHERE model = 'large';
INSERT INTO conversation_configurations (organisation_id, project_id, greeting) VALUES ('acme', 'chat', 'Hello'), ('acme', 'chat', 'Hi');
UPDATE conversation_configurations SET greeting = 'Good morning' WHERE greeting = 'Hello';
DELETE FROM conversation_configurations WHERE greeting = 'Hi';
COMMIT;

BEGIN;
SELECT set_config('audit.actor_id', 'u-bob', true), set_config('audit.actor_type', 'user', true) \g /dev/null
INSERT INTO datasets (organisation_id, project_id, name) VALUES ('acme', 'chat', 'golden'), ('acme', 'chat', 'draft');
UPDATE datasets SET row_count = 120 WHERE name = 'golden';
DELETE FROM datasets WHERE name = 'draft';
INSERT INTO scores (organisation_id, project_id, name, value) VALUES ('acme', 'chat', 'helpfulness', 0.8), ('acme', 'chat', 'toxicity', 'NaN');
UPDATE scores SET value = 0.9 WHERE name = 'helpfulness';
DELETE FROM scores WHERE name = 'toxicity';
INSERT INTO prompts (organisation_id, project_id, name) VALUES ('acme', 'chat', 'greet'), ('acme', 'chat', 'obsolete');
INSERT INTO prompt_versions VALUES (1, 1, 'acme', 'chat', 'Say hello to {{name}}'), (1, 2, 'acme', 'chat', 'Greet {{name}} warmly');
UPDATE prompt_versions SET promoted = true WHERE prompt_id = 1 AND version = 2;
UPDATE prompts SET name = 'greeting' WHERE id = 1;
DELETE FROM prompts WHERE id = 2;
INSERT INTO experiments (organisation_id, project_id, name) VALUES ('acme', 'chat', 'tone'), ('acme', 'chat', 'length');
INSERT INTO experiment_runs (experiment_id, organisation_id, project_id) VALUES (1, 'acme', 'chat');
DELETE FROM experiments WHERE id = 2;
INSERT INTO evaluations (organisation_id, project_id, name) VALUES ('acme', 'chat', 'weekly'), ('acme', 'chat', 'once');
INSERT INTO evaluation_runs (evaluation_id, organisation_id, project_id) VALUES (1, 'acme', 'chat');
DELETE FROM evaluations WHERE id = 2;
COMMIT;

-- A request that fails leaves nothing.
BEGIN;
SELECT set_config('audit.actor_id', 'u-eve', true) \g /dev/null
DELETE FROM datasources;
ROLLBACK;

-- Seen, but no event: the column is excluded.
UPDATE users SET last_seen_at = now();
-- A password changed: that it did is recorded, not what to.
BEGIN;
SELECT set_config('audit.actor_id', 'u-ada', true), set_config('audit.actor_type', 'user', true) \g /dev/null
UPDATE users SET password_hash = 'argon2:changed' WHERE id = 'u-ada';
DELETE FROM memberships WHERE user_id = 'u-bob';
COMMIT;

-- The nightly job of the application itself.
BEGIN;
SELECT set_config('audit.actor_id', 'retention-worker', true), set_config('audit.actor_type', 'system', true) \g /dev/null
SELECT audit.record('retention.deleted', 'retention', 'traces', 'acme', 'chat', metadata => '{"deleted": 1200}') \g /dev/null
COMMIT;

RESET SESSION AUTHORIZATION;
