-- What the DBA types, once, so that people read their part of the log. Who they are stays the application's to say: whoever becomes an
-- admin there, or ceases to be one, is that here with the next statement.

GRANT audit_reader TO observatory_app;      -- it may ask; what it is shown depends on the user that it acts for

DO $$
BEGIN
    -- Nobody logs in as this role. The view below is read with its owner's rights, so its owner can read what the view needs and
    -- nothing else: a superuser's view would be read as a superuser.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'observatory_admins') THEN
        CREATE ROLE observatory_admins;
    END IF;
    -- Acme's BI analyst asks the database, not the application.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'observatory_analyst') THEN
        CREATE ROLE observatory_analyst LOGIN;
    END IF;
END $$;
GRANT SELECT (user_id, organisation_id, role) ON memberships TO observatory_admins;
GRANT SELECT (id, project_id, user_id) ON project_members TO observatory_admins;
GRANT SELECT (member_id, role_id) ON project_roles TO observatory_admins;
GRANT SELECT (id, organisation_id, permissions) ON roles TO observatory_admins;
GRANT SELECT (id, organisation_id) ON projects TO observatory_admins;
GRANT SELECT (id, is_instance_owner) ON users TO observatory_admins;

CREATE OR REPLACE VIEW audit_admins (actor_id, organisation_id, project_id, instance_owner) AS
    SELECT user_id, organisation_id, NULL, false FROM memberships WHERE role = 'admin'
    UNION ALL
    -- The project with its organisation: one that was another's before has a past there, which stays that organisation's. The role has
    -- to be of the same organisation, too: roles are left behind where a project moves.
    SELECT m.user_id, p.organisation_id, p.id, false
    FROM project_members m
    JOIN projects p ON p.id = m.project_id
    JOIN project_roles a ON a.member_id = m.id
    JOIN roles r ON r.id = a.role_id AND r.organisation_id = p.organisation_id
    WHERE 'project:admin' = ANY (r.permissions)
    UNION ALL
    SELECT id, NULL, NULL, true FROM users WHERE is_instance_owner;
ALTER VIEW audit_admins OWNER TO observatory_admins;

SELECT audit.use_admins_from('audit_admins');

-- A role of the database is granted by name.
GRANT audit_reader TO observatory_analyst;
SELECT audit.grant_admin(db_role => 'observatory_analyst', organisation_id => 'org_acme');
