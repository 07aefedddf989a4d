-- What the DBA types, once: one call for each table that people ask about. The application's schema and code stay as they are.
--
-- A write is named after its resource and the operation, such as dataset.created. Where that is not what people call it, the call says
-- so. Everywhere, what the application counts or stamps for itself is excluded: it is in no event, and alone it makes none.

CREATE EXTENSION audit;
GRANT audit_writer TO observatory_app;      -- it may say which user it acts for

-- People and organisations.

SELECT audit.track('organisations', 'organisation', organisation_id => 'id', exclude => '{seats_used,updated_at}', personal => '{billing_email}');

-- Accounts belong to no organisation. That a password changed is recorded, never what to. The flag of instance owners has its own
-- actions, whether an account comes with it, gains it, loses it, or goes with it.
SELECT audit.track('users', 'user',
    mask     => '{password_hash,totp_seed}',
    exclude  => '{sign_in_count,last_seen_at,updated_at}',
    personal => '{email,name}',
    actions  => $$ {"rules": [
        {"on": "insert", "if": "new.is_instance_owner", "action": "instance_owner.assigned", "resource_type": "instance_owner"},
        {"on": "update", "columns": ["is_instance_owner"], "if": "new.is_instance_owner",
         "action": "instance_owner.assigned", "resource_type": "instance_owner"},
        {"on": "update", "columns": ["is_instance_owner"], "action": "instance_owner.removed", "resource_type": "instance_owner"},
        {"on": "delete", "if": "old.is_instance_owner", "action": "instance_owner.removed", "resource_type": "instance_owner"}]} $$);

-- An invitation is told when it is sent, sent again (any other change means that) or revoked. When it is accepted the membership tells.
-- Single sign-on inserts accepted ones, and a worker deletes old ones: nobody was invited or uninvited then.
SELECT audit.track('invitations', 'invitation',
    organisation_id => 'organisation_id',
    mask     => '{token_hash}',
    exclude  => '{updated_at}',
    personal => '{email}',
    actions  => $$ {"insert": null, "update": "organisation.user.invited", "delete": null, "rules": [
        {"on": "insert", "if": "new.status = 'pending'", "action": "organisation.user.invited"},
        {"on": "update", "if": "old.status <> 'accepted' and new.status = 'accepted'", "action": null},
        {"on": "update", "if": "old.status <> 'revoked' and new.status = 'revoked'", "action": "organisation.user.invitation.revoked"}]} $$);

-- A membership is nothing that people know: what happens, happens to the user. Whether they want e-mail is their own affair.
SELECT audit.track('memberships', 'user',
    resource_id     => '{user_id}',
    organisation_id => 'organisation_id',
    exclude => '{updated_at}',
    actions => $$ {"insert": "organisation.user.added", "update": null, "delete": "organisation.user.removed", "rules": [
        {"on": "update", "columns": ["role"], "action": "organisation.user.role.assigned"}]} $$);

SELECT audit.track('roles', 'role', organisation_id => 'organisation_id', exclude => '{updated_at}');

-- Projects.

SELECT audit.track('projects', 'project', organisation_id => 'organisation_id', project_id => 'id', exclude => '{trace_count,updated_at}');

-- One table for both levels. How long traces are kept has an action on each; any other setting is an update of the organisation or the
-- project. Rows are made with their defaults, follow their project to another organisation, and go with it: none of that is a decision.
SELECT audit.track('settings', 'organisation',
    resource_id     => '{organisation_id}',
    organisation_id => 'organisation_id',
    project_id      => 'project_id',
    exclude => '{updated_at}',
    actions => $$ {"insert": null, "delete": null, "rules": [
        {"on": "insert", "if": "new.retention_days is not null and new.project_id is not null",
         "action": "project.retention.updated", "resource_type": "project", "resource_id": ["project_id"]},
        {"on": "insert", "if": "new.retention_days is not null", "action": "organisation.retention.updated"},
        {"on": "update", "columns": ["organisation_id"], "action": null},
        {"on": "update", "columns": ["retention_days"], "if": "new.project_id is not null",
         "action": "project.retention.updated", "resource_type": "project", "resource_id": ["project_id"]},
        {"on": "update", "columns": ["retention_days"], "action": "organisation.retention.updated"},
        {"on": "update", "if": "new.project_id is not null",
         "action": "project.updated", "resource_type": "project", "resource_id": ["project_id"]}]} $$);

-- As a membership, but the project's.
SELECT audit.track('project_members', 'project_member',
    resource_id     => '{user_id}',
    organisation_id => 'project_id.organisation_id',
    project_id      => 'project_id',
    actions => '{"insert": "project_member.added", "delete": "project_member.removed"}');

-- The resource is the pair: this role of that member. A role that is exchanged for another was assigned.
SELECT audit.track('project_roles', 'project_role',
    resource_id     => '{member_id,role_id}',
    organisation_id => 'member_id.project_id.organisation_id',
    project_id      => 'member_id.project_id',
    actions => '{"insert": "project_role.assigned", "update": "project_role.assigned", "delete": "project_role.removed"}');

-- Keys are not in the product's catalogue of actions; their events belong into the log all the same.
SELECT audit.track('api_keys', 'api_key',
    organisation_id => 'project_id.organisation_id',
    project_id      => 'project_id',
    mask    => '{key_hash}',
    exclude => '{last_used_at}',
    actions => $$ {"rules": [
        {"on": "update", "columns": ["revoked_at"], "if": "new.revoked_at is not null", "action": "api_key.revoked"}]} $$);

-- What a project observes: created, updated, deleted. The organisation is found through the project.

SELECT audit.track('datasources', 'datasource', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    mask => '{api_key}', exclude => '{sync_cursor,last_synced_at,updated_at}');
SELECT audit.track('entities', 'entity', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{trace_count,updated_at}');
SELECT audit.track('model_configurations', 'model_configuration', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    mask => '{provider_key}', exclude => '{updated_at}');
SELECT audit.track('conversation_configurations', 'conversation_configuration', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{updated_at}');
SELECT audit.track('datasets', 'dataset', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{item_count,updated_at}');
-- dataset_items is not tracked: it is the customers' data, not what people did to the product.

-- To whoever throws a score into the bin it is deleted; taking it out again is an update. When the worker empties the bin, that was told.
SELECT audit.track('scores', 'score',
    organisation_id => 'project_id.organisation_id',
    project_id      => 'project_id',
    exclude => '{updated_at}',
    actions => $$ {"rules": [
        {"on": "update", "columns": ["deleted_at"], "if": "new.deleted_at is not null", "action": "score.deleted"},
        {"on": "delete", "if": "old.deleted_at is not null", "action": null}]} $$);

-- What a project tries out.

SELECT audit.track('prompts', 'prompt', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{last_used_at,updated_at}');

-- What happens to a version happens to its prompt. Promoting one demotes another, which is no event of its own. Versions go only with
-- their prompt.
SELECT audit.track('prompt_versions', 'prompt',
    resource_id     => '{prompt_id}',
    organisation_id => 'prompt_id.project_id.organisation_id',
    project_id      => 'prompt_id.project_id',
    exclude => '{updated_at}',
    actions => $$ {"insert": "prompt.version_created", "delete": null, "rules": [
        {"on": "update", "columns": ["is_promoted"], "if": "new.is_promoted", "action": "prompt.version_promoted"},
        {"on": "update", "columns": ["is_promoted"], "action": null}]} $$);

-- The status is the worker's; a new name is somebody's, and an update although the product's catalogue has no such action.
SELECT audit.track('experiments', 'experiment', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{updated_at}', actions => '{"rules": [{"on": "update", "columns": ["status"], "action": null}]}');
SELECT audit.track('evaluations', 'evaluation', organisation_id => 'project_id.organisation_id', project_id => 'project_id',
    exclude => '{updated_at}', actions => '{"rules": [{"on": "update", "columns": ["status"], "action": null}]}');

-- The first run comes with the experiment or evaluation; each further one is a rerun of it. How a run goes is no event.
SELECT audit.track('runs', 'run',
    organisation_id => 'project_id.organisation_id',
    project_id      => 'project_id',
    exclude => '{items_done,updated_at}',
    actions => $$ {"insert": null, "update": null, "delete": null, "rules": [
        {"on": "insert", "if": "new.number > 1 and new.experiment_id is not null",
         "action": "experiment.rerun", "resource_type": "experiment", "resource_id": ["experiment_id"]},
        {"on": "insert", "if": "new.number > 1",
         "action": "evaluation.rerun", "resource_type": "evaluation", "resource_id": ["evaluation_id"]}]} $$);

-- This month's partition of the log and the next ones; a scheduler calls it daily.
CALL audit.maintain();
