-- What goes wrong, and leaves no event.

-- A whole day's work, rolled back.
BEGIN;
SET LOCAL audit.actor_id = 'usr_cem';
INSERT INTO projects (id, organisation_id, name) VALUES ('prj_ghost', 'org_acme', 'Ghost');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_ghost', 'usr_cem');
INSERT INTO prompts (project_id, name) SELECT 'prj_ghost', 'prompt ' || n FROM generate_series(1, 30) n;
UPDATE users SET is_instance_owner = true WHERE id = 'usr_cem';
DELETE FROM organisations WHERE id = 'org_acme';
ROLLBACK;
\qecho request usr_cem

-- A statement that fails takes its transaction with it. The application catches the error; what it did before counts.
BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
INSERT INTO datasets (project_id, name) VALUES ('prj_search', 'kept') RETURNING id AS dataset \gset
DO $$
BEGIN
    INSERT INTO datasets (project_id, name) VALUES ('prj_search', 'lost');
    INSERT INTO api_keys (id, project_id, name, key_hash) VALUES ('key_leaked', 'prj_search', 'Again', 'topsecret-again');
EXCEPTION WHEN unique_violation THEN
    NULL;
END $$;
UPDATE datasets SET description = 'after the error' WHERE id = :dataset;
COMMIT;
\qecho request usr_dia
\qecho + datasets dataset.created dataset :dataset org_acme prj_search name=kept
\qecho ~ datasets dataset.updated dataset :dataset org_acme prj_search description

-- Savepoints in savepoints: the inner one was released, the outer one rolled back.
BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
SAVEPOINT outside;
UPDATE datasets SET description = 'one' WHERE id = :dataset;
SAVEPOINT inside;
UPDATE datasets SET description = 'two' WHERE id = :dataset;
RELEASE inside;
ROLLBACK TO outside;
UPDATE datasets SET name = 'kept after all' WHERE id = :dataset;
COMMIT;
\qecho request usr_dia
\qecho ~ datasets dataset.updated dataset :dataset org_acme prj_search name

-- A name that ends with its savepoint or its transaction. The last write has nobody: its transaction named no one.
BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
SAVEPOINT disguise;
SET LOCAL audit.actor_id = 'usr_eve';
ROLLBACK TO disguise;
UPDATE datasets SET description = 'by Dia' WHERE id = :dataset;
COMMIT;
\qecho request usr_dia
\qecho ~ datasets dataset.updated dataset :dataset org_acme prj_search description

UPDATE datasets SET description = 'by nobody' WHERE id = :dataset;
\qecho request N/A user
\qecho ~ datasets dataset.updated dataset :dataset org_acme prj_search description

-- Writes that find nothing to write.
BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
UPDATE datasets SET name = 'never' WHERE id = -1;
DELETE FROM datasets WHERE id = -1;
INSERT INTO entities (project_id, external_id, name) VALUES ('prj_chat', 'crm-1', 'Other') ON CONFLICT DO NOTHING;
COMMIT;
\qecho request usr_dia
