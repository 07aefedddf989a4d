-- What the sample application's DBA types: one call per table.

CREATE EXTENSION audit;
GRANT audit_writer TO observatory_app;

-- Organisations and their people. A membership is not a resource of its own: the user is.
SELECT audit.track('organisations', 'organisation', organisation_id => 'id');
SELECT audit.track('instance_owners', 'instance_owner',
                   actions => '{"insert": "instance_owner.assigned", "delete": "instance_owner.removed"}');
SELECT audit.track('invitations', 'user', organisation_id => 'organisation_id', resource_id => '{email}',
                   actions => '{"insert": "organisation.user.invited", "update": null, "delete": null}');
SELECT audit.track('memberships', 'user', organisation_id => 'organisation_id', resource_id => '{user_id}',
                   actions => '{"insert": "organisation.user.added", "update": "organisation.user.role.assigned",
                                "delete": "organisation.user.removed"}');
SELECT audit.track('organisation_retention', 'organisation', organisation_id => 'organisation_id',
                   actions => '{"insert": "organisation.retention.updated", "update": "organisation.retention.updated"}');
SELECT audit.track('roles', 'role', organisation_id => 'organisation_id');
-- Passwords never reach the log, and being seen is no event.
SELECT audit.track('users', 'user', mask => '{password_hash}', exclude => '{last_seen_at}', personal => '{email}');

-- Projects.
SELECT audit.track('projects', 'project', organisation_id => 'organisation_id', project_id => 'id');
SELECT audit.track('project_retention', 'project', organisation_id => 'organisation_id', project_id => 'project_id',
                   actions => '{"insert": "project.retention.updated", "update": "project.retention.updated"}');
SELECT audit.track('project_members', 'project_member', organisation_id => 'organisation_id', project_id => 'project_id',
                   resource_id => '{user_id}',
                   actions => '{"insert": "project_member.added", "delete": "project_member.removed"}');
SELECT audit.track('project_member_roles', 'project_role', organisation_id => 'organisation_id', project_id => 'project_id',
                   resource_id => '{user_id,role_id}',
                   actions => '{"insert": "project_role.assigned", "delete": "project_role.removed"}');

-- What a project holds: the default actions do.
SELECT audit.track('datasources', 'datasource', organisation_id => 'organisation_id', project_id => 'project_id', mask => '{api_key}');
SELECT audit.track('entities', 'entity', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('model_configurations', 'model_configuration', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('conversation_configurations', 'conversation_configuration', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('datasets', 'dataset', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('scores', 'score', organisation_id => 'organisation_id', project_id => 'project_id');

-- A new version or its promotion happens to the prompt; a further run to the experiment.
SELECT audit.track('prompts', 'prompt', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('prompt_versions', 'prompt', organisation_id => 'organisation_id', project_id => 'project_id', resource_id => '{prompt_id}',
                   actions => '{"insert": "prompt.version_created", "update": "prompt.version_promoted", "delete": null}');
SELECT audit.track('experiments', 'experiment', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('experiment_runs', 'experiment', organisation_id => 'organisation_id', project_id => 'project_id', resource_id => '{experiment_id}',
                   actions => '{"insert": "experiment.rerun", "update": null, "delete": null}');
SELECT audit.track('evaluations', 'evaluation', organisation_id => 'organisation_id', project_id => 'project_id');
SELECT audit.track('evaluation_runs', 'evaluation', organisation_id => 'organisation_id', project_id => 'project_id', resource_id => '{evaluation_id}',
                   actions => '{"insert": "evaluation.rerun", "update": null, "delete": null}');

-- This month's partition and the next ones; a scheduler calls it daily.
CALL audit.maintain();
