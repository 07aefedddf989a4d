-- Projects, who is in them, and as what.

-- Ada makes Acme's two projects; their leads come with them.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO projects (id, organisation_id, name) VALUES ('prj_chat', 'org_acme', 'Chat'), ('prj_search', 'org_acme', 'Search');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_chat', 'usr_bob') RETURNING id AS bob_in_chat \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:bob_in_chat, :acme_lead);
INSERT INTO project_members (project_id, user_id) VALUES ('prj_search', 'usr_dia') RETURNING id AS dia_in_search \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:dia_in_search, :acme_lead);
COMMIT;
\qecho request usr_ada
\qecho + projects project.created project prj_chat org_acme prj_chat name=Chat
\qecho + projects project.created project prj_search org_acme prj_search name=Search
\qecho + project_members project_member.added project_member usr_bob org_acme prj_chat user_id=usr_bob
\qecho + project_roles project_role.assigned project_role :bob_in_chat::acme_lead org_acme prj_chat
\qecho + project_members project_member.added project_member usr_dia org_acme prj_search
\qecho + project_roles project_role.assigned project_role :dia_in_search::acme_lead org_acme prj_search

-- The leads bring in their people.
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
INSERT INTO project_members (project_id, user_id) VALUES ('prj_chat', 'usr_cem') RETURNING id AS cem_in_chat \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:cem_in_chat, :acme_analyst);
INSERT INTO project_members (project_id, user_id) VALUES ('prj_chat', 'usr_dia') RETURNING id AS dia_in_chat \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:dia_in_chat, :acme_lead);
COMMIT;
\qecho request usr_bob
\qecho + project_members project_member.added project_member usr_cem org_acme prj_chat
\qecho + project_roles project_role.assigned project_role :cem_in_chat::acme_analyst org_acme prj_chat
\qecho + project_members project_member.added project_member usr_dia org_acme prj_chat
\qecho + project_roles project_role.assigned project_role :dia_in_chat::acme_lead org_acme prj_chat

-- Dia has no time for a second project: she is an analyst there, then no more, then gone. With a member go her roles.
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE project_roles SET role_id = :acme_analyst WHERE member_id = :dia_in_chat;
COMMIT;
\qecho request usr_bob
\qecho ~ project_roles project_role.assigned project_role :dia_in_chat::acme_analyst org_acme prj_chat id role_id=:acme_lead>:acme_analyst

BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
DELETE FROM project_roles WHERE member_id = :dia_in_chat AND role_id = :acme_analyst;
INSERT INTO project_roles (member_id, role_id) VALUES (:dia_in_chat, :acme_analyst);
DELETE FROM project_members WHERE id = :dia_in_chat;
COMMIT;
\qecho request usr_bob
\qecho - project_roles project_role.removed project_role :dia_in_chat::acme_analyst org_acme prj_chat
\qecho + project_roles project_role.assigned project_role :dia_in_chat::acme_analyst org_acme prj_chat
\qecho - project_members project_member.removed project_member usr_dia org_acme prj_chat
\qecho - project_roles project_role.removed project_role :dia_in_chat::acme_analyst org_acme prj_chat

BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
INSERT INTO project_members (project_id, user_id) VALUES ('prj_search', 'usr_bob') RETURNING id AS bob_in_search \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:bob_in_search, :acme_lead);
COMMIT;
\qecho request usr_dia
\qecho + project_members project_member.added project_member usr_bob org_acme prj_search
\qecho + project_roles project_role.assigned project_role :bob_in_search::acme_lead org_acme prj_search

-- Globex.
BEGIN;
SET LOCAL audit.actor_id = 'usr_fay';
INSERT INTO projects (id, organisation_id, name, description) VALUES ('prj_triage', 'org_globex', 'Triage', 'Tickets by urgency');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_triage', 'usr_fay') RETURNING id AS fay_in_triage \gset
INSERT INTO project_members (project_id, user_id) VALUES ('prj_triage', 'usr_gil') RETURNING id AS gil_in_triage \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:fay_in_triage, :globex_lead), (:gil_in_triage, :globex_analyst);
COMMIT;
\qecho request usr_fay
\qecho + projects project.created project prj_triage org_globex prj_triage
\qecho + project_members project_member.added project_member usr_fay org_globex prj_triage
\qecho + project_members project_member.added project_member usr_gil org_globex prj_triage
\qecho + project_roles project_role.assigned project_role :fay_in_triage::globex_lead org_globex prj_triage
\qecho + project_roles project_role.assigned project_role :gil_in_triage::globex_analyst org_globex prj_triage

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
INSERT INTO projects (id, organisation_id, name) VALUES ('prj_routing', 'org_globex', 'Routing');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_routing', 'usr_gil') RETURNING id AS gil_in_routing \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:gil_in_routing, :globex_lead), (:gil_in_routing, :globex_analyst);
COMMIT;
\qecho request usr_eve
\qecho + projects project.created project prj_routing org_globex prj_routing
\qecho + project_members project_member.added project_member usr_gil org_globex prj_routing
\qecho + project_roles project_role.assigned project_role :gil_in_routing::globex_lead org_globex prj_routing
\qecho + project_roles project_role.assigned project_role :gil_in_routing::globex_analyst org_globex prj_routing

-- Initech, and a trial that its founder will throw away.
BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
INSERT INTO projects (id, organisation_id, name) VALUES
    ('prj_copilot', 'org_initech', 'Copilot'), ('prj_docs', 'org_initech', 'Docs'), ('prj_trial', 'org_initech', 'Trial');
INSERT INTO project_members (project_id, user_id) VALUES ('prj_copilot', 'usr_ivo') RETURNING id AS ivo_in_copilot \gset
INSERT INTO project_members (project_id, user_id) VALUES ('prj_copilot', 'usr_jan') RETURNING id AS jan_in_copilot \gset
INSERT INTO project_roles (member_id, role_id) VALUES (:ivo_in_copilot, :initech_lead), (:jan_in_copilot, :initech_analyst);
COMMIT;
\qecho request usr_hui
\qecho + projects project.created project prj_copilot org_initech prj_copilot
\qecho + projects project.created project prj_docs org_initech prj_docs
\qecho + projects project.created project prj_trial org_initech prj_trial
\qecho + project_members project_member.added project_member usr_ivo org_initech prj_copilot
\qecho + project_members project_member.added project_member usr_jan org_initech prj_copilot
\qecho + project_roles project_role.assigned project_role :ivo_in_copilot::initech_lead org_initech prj_copilot
\qecho + project_roles project_role.assigned project_role :jan_in_copilot::initech_analyst org_initech prj_copilot

-- Projects with settings of their own.
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
INSERT INTO settings (organisation_id, project_id, retention_days) VALUES ('org_acme', 'prj_chat', 90) RETURNING id AS chat_settings \gset
COMMIT;
\qecho request usr_bob
\qecho + settings project.retention.updated project prj_chat org_acme prj_chat retention_days=90

BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE settings SET retention_days = 60, redact_inputs = true, default_model = 'small-3' WHERE id = :chat_settings;
UPDATE settings SET redact_inputs = NULL WHERE id = :chat_settings;
COMMIT;
\qecho request usr_bob
\qecho ~ settings project.retention.updated project prj_chat org_acme prj_chat id retention_days=90>60
\qecho ~ settings project.updated project prj_chat org_acme prj_chat id redact_inputs=null>true default_model=null>small-3
\qecho ~ settings project.updated project prj_chat org_acme prj_chat id redact_inputs=true>null

BEGIN;
SET LOCAL audit.actor_id = 'usr_fay';
INSERT INTO settings (organisation_id, project_id, default_model) VALUES ('org_globex', 'prj_triage', 'large-3');
UPDATE settings SET retention_days = 30 WHERE project_id = 'prj_triage';
UPDATE settings SET retention_days = NULL WHERE project_id = 'prj_triage';
COMMIT;
\qecho request usr_fay
\qecho ~ settings project.retention.updated project prj_triage org_globex prj_triage id retention_days=null>30
\qecho ~ settings project.retention.updated project prj_triage org_globex prj_triage id retention_days=30>null

-- A key for each project's programs, made by the application. Search has one more, which was in a chat message and is revoked.
BEGIN;
SET LOCAL audit.actor_id = 'provisioning'; SET LOCAL audit.actor_type = 'system';
INSERT INTO api_keys (id, project_id, name, key_hash)
SELECT 'key_' || id, id, 'Programs', 'topsecret-' || id FROM projects WHERE id <> 'prj_trial' ORDER BY organisation_id, id;
COMMIT;
\qecho request provisioning system
\qecho + api_keys api_key.created api_key key_prj_chat org_acme prj_chat key_hash=[masked]
\qecho + api_keys api_key.created api_key key_prj_search org_acme prj_search
\qecho + api_keys api_key.created api_key key_prj_routing org_globex prj_routing
\qecho + api_keys api_key.created api_key key_prj_triage org_globex prj_triage
\qecho + api_keys api_key.created api_key key_prj_copilot org_initech prj_copilot
\qecho + api_keys api_key.created api_key key_prj_docs org_initech prj_docs

BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
INSERT INTO api_keys (id, project_id, name, key_hash) VALUES ('key_leaked', 'prj_search', 'Notebook', 'topsecret-leaked');
COMMIT;
\qecho request usr_dia
\qecho + api_keys api_key.created api_key key_leaked org_acme prj_search

BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
UPDATE api_keys SET name = 'Notebook (leaked)', revoked_at = '2026-02-17 15:34+00' WHERE id = 'key_leaked';
UPDATE api_keys SET last_used_at = now() WHERE id = 'key_leaked';
COMMIT;
\qecho request usr_dia
\qecho ~ api_keys api_key.revoked api_key key_leaked org_acme prj_search revoked_at
\qecho ~ api_keys api_key.updated api_key key_leaked org_acme prj_search name

-- Somebody still needs it, so it lives again for a moment, which is an update.
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE api_keys SET revoked_at = NULL WHERE id = 'key_leaked';
UPDATE api_keys SET revoked_at = '2026-02-17 18:00+00' WHERE id = 'key_leaked';
COMMIT;
\qecho request usr_bob
\qecho ~ api_keys api_key.updated api_key key_leaked org_acme prj_search revoked_at
\qecho ~ api_keys api_key.revoked api_key key_leaked org_acme prj_search revoked_at
