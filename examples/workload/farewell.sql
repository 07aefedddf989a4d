-- People, projects and an organisation go. What goes with them by foreign keys is in the log too, in their last scope.

-- Bob leaves Acme. His projects are cleaned up in the same request.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
DELETE FROM project_members WHERE id = :bob_in_chat;
DELETE FROM memberships WHERE organisation_id = 'org_acme' AND user_id = 'usr_bob';
COMMIT;
\qecho request usr_ada
\qecho - project_members project_member.removed project_member usr_bob org_acme prj_chat
\qecho - project_roles project_role.removed project_role :bob_in_chat::acme_lead org_acme prj_chat
\qecho - memberships organisation.user.removed user usr_bob org_acme N/A wants_digest=false

-- Acme has no analysts any more: who was one (Cem in Chat) is none.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
DELETE FROM roles WHERE id = :acme_analyst;
COMMIT;
\qecho request usr_ada
\qecho - roles role.deleted role :acme_analyst org_acme N/A name=analyst
\qecho - project_roles project_role.removed project_role :cem_in_chat::acme_analyst org_acme prj_chat

-- Jan deletes the account, and with it whatever says that Jan was somewhere.
BEGIN;
SET LOCAL audit.actor_id = 'usr_jan';
DELETE FROM users WHERE id = 'usr_jan';
COMMIT;
\qecho request usr_jan
\qecho - users user.deleted user usr_jan N/A N/A name=Jan password_hash=[masked]
\qecho in any order
\qecho - memberships organisation.user.removed user usr_jan org_initech N/A
\qecho - project_members project_member.removed project_member usr_jan org_initech prj_copilot
\qecho - project_roles project_role.removed project_role :jan_in_copilot::initech_analyst org_initech prj_copilot

-- The account for emergencies goes while it owns the instance: that is what the log says.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
DELETE FROM users WHERE id = 'usr_root';
COMMIT;
\qecho request usr_ada
\qecho - users instance_owner.removed instance_owner usr_root N/A N/A is_instance_owner=true

-- Search is sold to Globex. Each side sees the project leave or come, with its own values; roles are left behind, settings move along.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO settings (organisation_id, project_id, retention_days) VALUES ('org_acme', 'prj_search', 14) RETURNING id AS search_settings \gset
COMMIT;
\qecho request usr_ada
\qecho + settings project.retention.updated project prj_search org_acme prj_search

BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
DELETE FROM project_roles WHERE member_id = :dia_in_search;
DELETE FROM project_members WHERE id = :dia_in_search;
UPDATE projects SET organisation_id = 'org_globex', name = 'Search (formerly Acme)' WHERE id = 'prj_search';
COMMIT;
\qecho request usr_ada
\qecho - project_roles project_role.removed project_role :dia_in_search::acme_lead org_acme prj_search
\qecho - project_members project_member.removed project_member usr_dia org_acme prj_search
\qecho < projects project.updated project prj_search org_acme prj_search organisation_id=org_acme name=Search
\qecho > projects project.updated project prj_search org_globex prj_search organisation_id=org_globex name

-- What is in it belongs to Globex from now on.
BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
UPDATE settings SET retention_days = 180 WHERE id = :search_settings;
UPDATE datasets SET name = 'ours' WHERE id = :dataset;
COMMIT;
\qecho request usr_eve
\qecho ~ settings project.retention.updated project prj_search org_globex prj_search id retention_days=14>180
\qecho ~ datasets dataset.updated dataset :dataset org_globex prj_search name

-- A score was filed under the wrong project, and moves to the right one with a correction.
SELECT id AS score FROM scores WHERE trace_id = 'batch-6' \gset
BEGIN;
SET LOCAL audit.actor_id = 'usr_gil';
UPDATE scores SET project_id = 'prj_triage', value = 0.25 WHERE id = :score;
COMMIT;
\qecho request usr_gil
\qecho < scores score.updated score :score org_globex prj_routing project_id=prj_routing value=0.0000001
\qecho > scores score.updated score :score org_globex prj_triage project_id=prj_triage value=0.25

-- A trial and everything in it.
BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
INSERT INTO settings (organisation_id, project_id) VALUES ('org_initech', 'prj_trial');
INSERT INTO api_keys (id, project_id, name, key_hash) VALUES ('key_trial', 'prj_trial', 'Trial', 'topsecret-trial');
INSERT INTO datasources (project_id, name, kind) VALUES ('prj_trial', 'sample', 'file') RETURNING id AS datasource \gset
INSERT INTO model_configurations (project_id, name, model) VALUES ('prj_trial', 'default', 'small-3') RETURNING id AS model \gset
INSERT INTO conversation_configurations (project_id, model_configuration_id, name) VALUES ('prj_trial', :model, 'demo') RETURNING id AS conversation \gset
INSERT INTO datasets (project_id, name) VALUES ('prj_trial', 'sample') RETURNING id AS dataset \gset
INSERT INTO prompts (project_id, name) VALUES ('prj_trial', 'sample') RETURNING id AS prompt \gset
INSERT INTO prompt_versions (prompt_id, version, template) VALUES (:prompt, 1, 'Hi');
INSERT INTO experiments (project_id, dataset_id, name) VALUES ('prj_trial', :dataset, 'first') RETURNING id AS experiment \gset
INSERT INTO runs (project_id, experiment_id) VALUES ('prj_trial', :experiment);
COMMIT;
\qecho request usr_hui
\qecho + api_keys api_key.created api_key key_trial org_initech prj_trial
\qecho + datasources datasource.created datasource :datasource org_initech prj_trial
\qecho + model_configurations model_configuration.created model_configuration :model org_initech prj_trial
\qecho + conversation_configurations conversation_configuration.created conversation_configuration :conversation org_initech prj_trial
\qecho + datasets dataset.created dataset :dataset org_initech prj_trial
\qecho + prompts prompt.created prompt :prompt org_initech prj_trial
\qecho + prompt_versions prompt.version_created prompt :prompt org_initech prj_trial
\qecho + experiments experiment.created experiment :experiment org_initech prj_trial

BEGIN;
SET LOCAL audit.actor_id = 'usr_hui'; SET LOCAL audit.metadata = '{"request_id": "r-trial", "reason": "trial over"}';
DELETE FROM projects WHERE id = 'prj_trial';
COMMIT;
\qecho request usr_hui user r-trial
\qecho - projects project.deleted project prj_trial org_initech prj_trial name=Trial
\qecho in any order
\qecho - api_keys api_key.deleted api_key key_trial org_initech prj_trial key_hash=[masked]
\qecho - datasources datasource.deleted datasource :datasource org_initech prj_trial
\qecho - model_configurations model_configuration.deleted model_configuration :model org_initech prj_trial
\qecho - conversation_configurations conversation_configuration.deleted conversation_configuration :conversation org_initech prj_trial
\qecho - datasets dataset.deleted dataset :dataset org_initech prj_trial
\qecho - prompts prompt.deleted prompt :prompt org_initech prj_trial
\qecho - experiments experiment.deleted experiment :experiment org_initech prj_trial

-- An organisation that nobody wanted, with a project, people and a role. Its events stay, without it.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ivo';
INSERT INTO organisations (id, name) VALUES ('org_hooli', 'Hooli');
INSERT INTO settings (organisation_id, retention_days) VALUES ('org_hooli', 7);
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_hooli', 'usr_ivo', 'admin'), ('org_hooli', 'usr_hui', 'member');
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_hooli', 'lead', '{project:admin}') RETURNING id AS role \gset
INSERT INTO invitations (organisation_id, email, token_hash, expires_on) VALUES ('org_hooli', 'x@hooli.example', 'topsecret-h', '2026-03-01')
RETURNING id AS invitation \gset
INSERT INTO projects (id, organisation_id, name) VALUES ('prj_box', 'org_hooli', 'Box');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_box', 'usr_ivo') RETURNING id AS member \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:member, :role);
INSERT INTO entities (project_id, external_id, name) VALUES ('prj_box', 'box', 'Box') RETURNING id AS entity \gset
COMMIT;
\qecho request usr_ivo
\qecho + organisations organisation.created organisation org_hooli org_hooli N/A
\qecho + settings organisation.retention.updated organisation org_hooli org_hooli N/A retention_days=7
\qecho + memberships organisation.user.added user usr_ivo org_hooli N/A
\qecho + memberships organisation.user.added user usr_hui org_hooli N/A
\qecho + roles role.created role :role org_hooli N/A
\qecho + invitations organisation.user.invited invitation :invitation org_hooli N/A
\qecho + projects project.created project prj_box org_hooli prj_box
\qecho + project_members project_member.added project_member usr_ivo org_hooli prj_box
\qecho + project_roles project_role.assigned project_role :member::role org_hooli prj_box
\qecho + entities entity.created entity :entity org_hooli prj_box

BEGIN;
SET LOCAL audit.actor_id = 'usr_ivo'; SET LOCAL audit.metadata = '{"request_id": "r-hooli"}';
DELETE FROM organisations WHERE id = 'org_hooli';
COMMIT;
\qecho request usr_ivo user r-hooli
\qecho - organisations organisation.deleted organisation org_hooli org_hooli N/A name=Hooli
\qecho in any order
\qecho - memberships organisation.user.removed user usr_ivo org_hooli N/A
\qecho - memberships organisation.user.removed user usr_hui org_hooli N/A
\qecho - roles role.deleted role :role org_hooli N/A
\qecho - projects project.deleted project prj_box org_hooli prj_box
\qecho - project_members project_member.removed project_member usr_ivo org_hooli prj_box
\qecho - project_roles project_role.removed project_role :member::role org_hooli prj_box
\qecho - entities entity.deleted entity :entity org_hooli prj_box
