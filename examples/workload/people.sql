-- Organisations and their people.

-- Everybody signs up; from then on they act for themselves.
BEGIN;
SET LOCAL audit.actor_id = 'usr_eve'; SET LOCAL audit.metadata = '{"request_id": "r-1", "ip": "203.0.113.7", "user_agent": "Firefox"}';
INSERT INTO users (id, email, name, password_hash) VALUES ('usr_eve', 'eve@globex.example', 'Eve', 'argon2:topsecret-eve');
COMMIT;
\qecho request usr_eve user r-1
\qecho + users user.created user usr_eve N/A N/A name=Eve totp_seed=[masked]

BEGIN;
SET LOCAL audit.actor_id = 'usr_hui'; SET LOCAL audit.metadata = '{"request_id": "r-2", "ip": "203.0.113.8"}';
INSERT INTO users (id, email, name, password_hash) VALUES ('usr_hui', 'hui@initech.example', 'Hui', 'argon2:topsecret-hui');
COMMIT;
\qecho request usr_hui user r-2
\qecho + users user.created user usr_hui N/A N/A

-- An organisation comes with its first admin and its settings, which say nothing yet.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada'; SET LOCAL audit.metadata = '{"request_id": "r-3"}';
INSERT INTO organisations (id, name) VALUES ('org_acme', 'Acme');
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_acme', 'usr_ada', 'admin');
INSERT INTO settings (organisation_id) VALUES ('org_acme');
UPDATE organisations SET seats_used = seats_used + 1 WHERE id = 'org_acme';
COMMIT;
\qecho request usr_ada user r-3
\qecho + organisations organisation.created organisation org_acme org_acme N/A plan=free
\qecho + memberships organisation.user.added user usr_ada org_acme N/A role=admin

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
INSERT INTO organisations (id, name) VALUES ('org_globex', 'Globex');
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_globex', 'usr_eve', 'admin');
INSERT INTO settings (organisation_id, retention_days) VALUES ('org_globex', 365);
COMMIT;
\qecho request usr_eve
\qecho + organisations organisation.created organisation org_globex org_globex N/A name=Globex
\qecho + memberships organisation.user.added user usr_eve org_globex N/A role=admin
\qecho + settings organisation.retention.updated organisation org_globex org_globex N/A retention_days=365

BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
INSERT INTO organisations (id, name, billing_email) VALUES ('org_initech', 'Initech', 'bills@initech.example');
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_initech', 'usr_hui', 'admin');
INSERT INTO settings (organisation_id) VALUES ('org_initech');
COMMIT;
\qecho request usr_hui
\qecho + organisations organisation.created organisation org_initech org_initech N/A billing_email=bills@initech.example
\qecho + memberships organisation.user.added user usr_hui org_initech N/A role=admin

-- Ada invites Bob, who signs up and accepts: what the log tells is that he was added.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO invitations (organisation_id, email, token_hash, expires_on) VALUES ('org_acme', 'bob@acme.example', 'topsecret-b', '2026-03-01')
RETURNING id AS invitation \gset
COMMIT;
\qecho request usr_ada
\qecho + invitations organisation.user.invited invitation :invitation org_acme N/A email=bob@acme.example status=pending token_hash=[masked]

BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
INSERT INTO users (id, email, name, password_hash) VALUES ('usr_bob', 'bob@acme.example', 'Bob', 'argon2:topsecret-bob');
UPDATE invitations SET status = 'accepted' WHERE id = :invitation;
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_acme', 'usr_bob', 'member');
COMMIT;
\qecho request usr_bob
\qecho + users user.created user usr_bob N/A N/A
\qecho + memberships organisation.user.added user usr_bob org_acme N/A role=member

-- Cem's invitation got lost and is sent again, with a new token.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO invitations (organisation_id, email, token_hash, expires_on) VALUES ('org_acme', 'cem@acme.example', 'topsecret-c', '2026-03-01')
RETURNING id AS invitation \gset
COMMIT;
\qecho request usr_ada
\qecho + invitations organisation.user.invited invitation :invitation org_acme N/A role=member

BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE invitations SET token_hash = 'topsecret-c2', expires_on = '2026-03-15' WHERE id = :invitation;
COMMIT;
\qecho request usr_ada
\qecho ~ invitations organisation.user.invited invitation :invitation org_acme N/A token_hash=[masked]>[masked] expires_on=2026-03-01>2026-03-15

BEGIN;
SET LOCAL audit.actor_id = 'usr_cem';
INSERT INTO users (id, email, name, password_hash) VALUES ('usr_cem', 'cem@acme.example', 'Cem', 'argon2:topsecret-cem');
UPDATE invitations SET status = 'accepted' WHERE id = :invitation;
INSERT INTO memberships (organisation_id, user_id) VALUES ('org_acme', 'usr_cem');
COMMIT;
\qecho request usr_cem
\qecho + users user.created user usr_cem N/A N/A
\qecho + memberships organisation.user.added user usr_cem org_acme N/A role=member

-- Two in one request: a typing error, found too late and revoked, and Dia.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO invitations (organisation_id, email, role, token_hash, expires_on) VALUES ('org_acme', 'dai@acme.example', 'viewer', 'topsecret-x', '2026-03-01')
RETURNING id AS mistyped \gset
INSERT INTO invitations (organisation_id, email, role, token_hash, expires_on) VALUES ('org_acme', 'dia@acme.example', 'viewer', 'topsecret-d', '2026-03-01')
RETURNING id AS invitation \gset
COMMIT;
\qecho request usr_ada
\qecho + invitations organisation.user.invited invitation :mistyped org_acme N/A email=dai@acme.example
\qecho + invitations organisation.user.invited invitation :invitation org_acme N/A email=dia@acme.example

BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE invitations SET status = 'revoked' WHERE id = :mistyped;
COMMIT;
\qecho request usr_ada
\qecho ~ invitations organisation.user.invitation.revoked invitation :mistyped org_acme N/A status=pending>revoked

BEGIN;
SET LOCAL audit.actor_id = 'usr_dia';
INSERT INTO users (id, email, name, password_hash) VALUES ('usr_dia', 'dia@acme.example', 'Dia', 'argon2:topsecret-dia');
UPDATE invitations SET status = 'accepted' WHERE id = :invitation;
INSERT INTO memberships (organisation_id, user_id, role) VALUES ('org_acme', 'usr_dia', 'viewer');
COMMIT;
\qecho request usr_dia
\qecho + users user.created user usr_dia N/A N/A
\qecho + memberships organisation.user.added user usr_dia org_acme N/A role=viewer

-- Roles in the organisation. Dia becomes a member; Bob an admin, by mistake, and back. What e-mail Bob wants is his own affair.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE memberships SET role = 'member' WHERE organisation_id = 'org_acme' AND user_id = 'usr_dia';
UPDATE memberships SET role = 'admin' WHERE organisation_id = 'org_acme' AND user_id = 'usr_bob';
UPDATE memberships SET role = 'member' WHERE organisation_id = 'org_acme' AND user_id = 'usr_bob';
COMMIT;
\qecho request usr_ada
\qecho ~ memberships organisation.user.role.assigned user usr_dia org_acme N/A id role=viewer>member
\qecho ~ memberships organisation.user.role.assigned user usr_bob org_acme N/A id role=member>admin
\qecho ~ memberships organisation.user.role.assigned user usr_bob org_acme N/A id role=admin>member

BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE memberships SET wants_digest = false WHERE organisation_id = 'org_acme' AND user_id = 'usr_bob';
COMMIT;
\qecho request usr_bob

-- Globex has single sign-on: who signs in is in, and the invitation that records it was accepted before it was there.
BEGIN;
SET LOCAL audit.actor_id = 'sso'; SET LOCAL audit.actor_type = 'system';
INSERT INTO users (id, email, name, password_hash) VALUES
    ('usr_fay', 'fay@globex.example', 'Fay', 'sso:topsecret'), ('usr_gil', 'gil@globex.example', 'Gil', 'sso:topsecret');
INSERT INTO invitations (organisation_id, email, status, token_hash, expires_on) VALUES
    ('org_globex', 'fay@globex.example', 'accepted', 'topsecret-f', '2026-03-01'),
    ('org_globex', 'gil@globex.example', 'accepted', 'topsecret-g', '2026-03-01');
INSERT INTO memberships (organisation_id, user_id) VALUES ('org_globex', 'usr_fay'), ('org_globex', 'usr_gil');
COMMIT;
\qecho request sso system
\qecho + users user.created user usr_fay N/A N/A
\qecho + users user.created user usr_gil N/A N/A
\qecho + memberships organisation.user.added user usr_fay org_globex N/A
\qecho + memberships organisation.user.added user usr_gil org_globex N/A

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
UPDATE memberships SET role = 'admin', wants_digest = false WHERE organisation_id = 'org_globex' AND user_id = 'usr_fay';
COMMIT;
\qecho request usr_eve
\qecho ~ memberships organisation.user.role.assigned user usr_fay org_globex N/A id role=member>admin

-- Hui makes the accounts of Initech's people herself. Gil helps out there too.
BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
INSERT INTO users (id, email, name, password_hash) VALUES
    ('usr_ivo', 'ivo@initech.example', 'Ivo', 'argon2:topsecret-ivo'), ('usr_jan', 'jan@initech.example', 'Jan', 'argon2:topsecret-jan');
INSERT INTO memberships (organisation_id, user_id, role) VALUES
    ('org_initech', 'usr_ivo', 'member'), ('org_initech', 'usr_jan', 'member'), ('org_initech', 'usr_gil', 'viewer');
UPDATE organisations SET seats_used = 4 WHERE id = 'org_initech';
COMMIT;
\qecho request usr_hui
\qecho + users user.created user usr_ivo N/A N/A
\qecho + users user.created user usr_jan N/A N/A
\qecho + memberships organisation.user.added user usr_ivo org_initech N/A role=member
\qecho + memberships organisation.user.added user usr_jan org_initech N/A role=member
\qecho + memberships organisation.user.added user usr_gil org_initech N/A role=viewer

-- Plans and names. Setting what is set already is no change.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE organisations SET plan = 'enterprise', billing_email = 'billing@acme.example' WHERE id = 'org_acme';
UPDATE organisations SET plan = 'enterprise' WHERE id = 'org_acme';
COMMIT;
\qecho request usr_ada
\qecho ~ organisations organisation.updated organisation org_acme org_acme N/A plan=free>enterprise billing_email=null>billing@acme.example

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
UPDATE organisations SET name = 'Globex Corporation' WHERE id = 'org_globex';
COMMIT;
\qecho request usr_eve
\qecho ~ organisations organisation.updated organisation org_globex org_globex N/A name

-- How long Acme keeps its traces; with another setting in the same statement, and another setting alone.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE settings SET retention_days = 730 WHERE organisation_id = 'org_acme' AND project_id IS NULL;
COMMIT;
\qecho request usr_ada
\qecho ~ settings organisation.retention.updated organisation org_acme org_acme N/A id retention_days=null>730

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
UPDATE settings SET default_model = 'small-3', retention_days = 180 WHERE organisation_id = 'org_globex' AND project_id IS NULL;
COMMIT;
\qecho request usr_eve
\qecho ~ settings organisation.retention.updated organisation org_globex org_globex N/A id retention_days=365>180
\qecho ~ settings organisation.updated organisation org_globex org_globex N/A id default_model=null>small-3

BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
UPDATE settings SET redact_inputs = true WHERE organisation_id = 'org_initech' AND project_id IS NULL;
COMMIT;
\qecho request usr_hui
\qecho ~ settings organisation.updated organisation org_initech org_initech N/A id redact_inputs=null>true

-- Roles for the members of projects. Acme's auditor was a bad idea.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_acme', 'lead', '{project:admin,read,write}') RETURNING id AS acme_lead \gset
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_acme', 'analyst', '{read}') RETURNING id AS acme_analyst \gset
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_acme', 'auditor', '{read}') RETURNING id AS role \gset
COMMIT;
\qecho request usr_ada
\qecho + roles role.created role :acme_lead org_acme N/A name=lead
\qecho + roles role.created role :acme_analyst org_acme N/A name=analyst
\qecho + roles role.created role :role org_acme N/A name=auditor

BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE roles SET permissions = permissions || '{write}' WHERE id = :acme_analyst;
DELETE FROM roles WHERE id = :role;
COMMIT;
\qecho request usr_ada
\qecho ~ roles role.updated role :acme_analyst org_acme N/A permissions
\qecho - roles role.deleted role :role org_acme N/A name=auditor

BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_globex', 'lead', '{project:admin}') RETURNING id AS globex_lead \gset
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_globex', 'analyst', '{read}') RETURNING id AS globex_analyst \gset
UPDATE roles SET permissions = '{project:admin,read,write}' WHERE id = :globex_lead;
COMMIT;
\qecho request usr_eve
\qecho + roles role.created role :globex_lead org_globex N/A
\qecho + roles role.created role :globex_analyst org_globex N/A
\qecho ~ roles role.updated role :globex_lead org_globex N/A permissions

BEGIN;
SET LOCAL audit.actor_id = 'usr_hui';
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_initech', 'lead', '{project:admin,read,write}') RETURNING id AS initech_lead \gset
INSERT INTO roles (organisation_id, name, permissions) VALUES ('org_initech', 'analyst', '{read}') RETURNING id AS initech_analyst \gset
COMMIT;
\qecho request usr_hui
\qecho + roles role.created role :initech_lead org_initech N/A
\qecho + roles role.created role :initech_analyst org_initech N/A

-- Instance owners. With the flag Ada changes a name: two things happened.
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE users SET is_instance_owner = true, name = 'Eve (operations)' WHERE id = 'usr_eve';
UPDATE users SET is_instance_owner = true WHERE id = 'usr_root';
COMMIT;
\qecho request usr_ada
\qecho ~ users instance_owner.assigned instance_owner usr_eve N/A N/A is_instance_owner=false>true
\qecho ~ users user.updated user usr_eve N/A N/A name
\qecho ~ users instance_owner.assigned instance_owner usr_root N/A N/A is_instance_owner=false>true

BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
UPDATE users SET is_instance_owner = false WHERE id = 'usr_eve';
COMMIT;
\qecho request usr_ada
\qecho ~ users instance_owner.removed instance_owner usr_eve N/A N/A is_instance_owner=true>false

-- Accounts: signing in is counted, which is no event; a password and a second factor are set.
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE users SET sign_in_count = sign_in_count + 1, last_seen_at = now() WHERE id = 'usr_bob';
COMMIT;
\qecho request usr_bob

BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
UPDATE users SET password_hash = 'argon2:topsecret-other', last_seen_at = now() WHERE id = 'usr_bob';
UPDATE users SET totp_seed = 'topsecret-seed' WHERE id = 'usr_bob';
COMMIT;
\qecho request usr_bob
\qecho ~ users user.updated user usr_bob N/A N/A password_hash=[masked]>[masked]
\qecho ~ users user.updated user usr_bob N/A N/A totp_seed=[masked]>[masked]
