-- Who reads, and what readers call.
\set SHOW_CONTEXT never
CREATE ROLE regress_app;
CREATE ROLE regress_analyst;
GRANT audit_writer, audit_reader TO regress_app;
GRANT audit_reader TO regress_analyst;
SET audit.actor_id = 'u-1';
SELECT count(audit.record(action, 'thing', id, organisation, project)) FROM (VALUES
    ('organisation.created', 'a', 'r-acme', NULL), ('organisation.user.added', 'b', 'r-acme', NULL), ('entity.created', 'c', 'r-acme', 'p'),
    ('entity.deleted', 'c', 'r-acme', 'p'), ('organisation.created', 'd', 'r-globex', NULL), ('entity.created', 'e', 'r-globex', 'q'),
    ('instance_owner.assigned', NULL, NULL, NULL)) AS e (action, id, organisation, project);
RESET audit.actor_id;

SELECT audit.grant_admin('ann', organisation_id => 'r-acme');
SELECT audit.grant_admin('pia', organisation_id => 'r-globex', project_id => 'q');
SELECT audit.grant_admin('own', instance_owner => true);
SELECT audit.grant_admin(db_role => 'regress_analyst', organisation_id => 'r-globex');
-- One principal and one scope, or an error.
SELECT audit.grant_admin();
SELECT audit.grant_admin('ann');
SELECT audit.grant_admin('ann', 'regress_analyst', 'r-acme');
SELECT audit.grant_admin('ann', organisation_id => 'r-acme', instance_owner => true);
SELECT audit.grant_admin('', organisation_id => 'r-acme');
SELECT audit.revoke_admin('ann', project_id => 'r-acme');
SELECT actor_id, db_role, organisation_id, project_id, instance_owner FROM audit.admin ORDER BY 1, 2, 3;

SET ROLE regress_app;
SELECT action, resource_id FROM audit.log();                      -- nobody is named
SET audit.actor_id = 'ann';
SELECT action, resource_id FROM audit.log('r-acme');
SELECT action, resource_id FROM audit.log('r-acme', pattern => '*');
SELECT action, resource_id FROM audit.log('r-acme', 'p');
SELECT action, resource_id FROM audit.log('r-acme', pattern => '*, -entity.*, -audit.*', max_rows => 1);
SELECT action, resource_id FROM audit.log('r-globex');
SELECT action, resource_id FROM audit.history('thing', 'c');
SELECT organisation_id, project_id, action, resource_type, resource_id, actor_id FROM audit.organisation_log ORDER BY event_id;
SET audit.actor_id = 'pia';
SELECT organisation_id, project_id, action, resource_type, resource_id, actor_id FROM audit.project_log ORDER BY event_id;
SELECT count(*) FROM audit.organisation_log;
SET audit.actor_id = 'own';
SELECT organisation_id, action FROM audit.log(pattern => 'organisation.*, instance_owner.*', max_rows => 4);
RESET audit.actor_id;
SET ROLE regress_analyst;
SELECT organisation_id, action FROM audit.log(pattern => '*');

-- What is wrong, and what to do.
SELECT count(*) FROM audit.log(pattern => 'entity.%');
SELECT count(*) FROM audit.log(max_rows => -1);
SELECT count(*) FROM audit.history('thing', NULL);
SELECT audit.grant_admin(db_role => 'regress_analyst', instance_owner => true);
RESET ROLE;
SELECT audit.set_organisation('r-globex', false);
SET ROLE regress_analyst;
SELECT count(*) FROM audit.log(pattern => '*');
RESET ROLE;
SELECT audit.set_organisation(NULL, true);
SELECT audit.use_admins_from('audit.catalogue');
CREATE VIEW admins AS SELECT 'ann' AS actor_id, NULL AS organisation_id, NULL AS project_id, 'yes' AS instance_owner;
SELECT audit.use_admins_from('admins');
DROP VIEW admins;
CREATE VIEW admins AS SELECT 1 / 0 AS actor_id, NULL AS organisation_id, NULL AS project_id, true AS instance_owner;
SELECT audit.use_admins_from('admins');
DROP VIEW admins;

SELECT audit.revoke_admin(db_role => 'regress_analyst', organisation_id => 'r-globex');
SELECT audit.set_organisation('r-globex', NULL);
DROP ROLE regress_app, regress_analyst;
