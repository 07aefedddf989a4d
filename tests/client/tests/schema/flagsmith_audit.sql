-- What is audited of flagsmith.sql, worked out with docs/actions.md.

-- People are the instance's. The password's hash is a secret; a login is no event.
SELECT audit.track('app_user', 'user',
    mask => '{password}', exclude => '{last_login}', personal => '{email,first_name,last_name}', actions => $$
    {"rules": [{"on": "update", "columns": ["password"], "action": "user.password.changed"},
               {"on": "update", "columns": ["is_active"], "if": "new.is_active", "action": "user.reactivated"},
               {"on": "update", "columns": ["is_active"], "action": "user.deactivated"}]} $$);

SELECT audit.track('organisation', 'organisation', organisation_id => 'id', exclude => '{over_limit_alerted}', actions => $$
    {"rules": [{"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "organisation.deleted"},
               {"on": "update", "columns": ["deleted_at"], "if": "new.deleted_at is null", "action": "organisation.restored"},
               {"on": "update", "columns": ["stop_serving_flags"], "if": "new.stop_serving_flags",
                "action": "organisation.serving.stopped"},
               {"on": "update", "columns": ["stop_serving_flags"], "action": "organisation.serving.resumed"},
               {"on": "delete", "if": "old.deleted_at is not null", "action": "organisation.purged"}]} $$);

-- Every organisation has one from the start and it goes with the organisation: only changes matter.
SELECT audit.track('subscription', 'organisation', resource_id => '{organisation_id}', organisation_id => 'organisation_id',
    exclude => '{notes}', actions => $$
    {"insert": null,
     "update": "organisation.subscription.updated",
     "delete": null,
     "rules": [{"on": "update", "columns": ["cancelled_at", "status"], "action": "organisation.subscription.cancelled",
                "if": "old.cancelled_at is null and new.cancelled_at is not null"},
               {"on": "update", "columns": ["plan", "max_seats", "cancelled_at", "status"], "if": "old.plan is distinct from new.plan",
                "action": "organisation.subscription.plan.changed"}]} $$);

SELECT audit.track('organisation_member', 'user', resource_id => '{user_id}', organisation_id => 'organisation_id', actions => $$
    {"insert": "organisation.user.added",
     "update": "organisation.user.updated",
     "delete": "organisation.user.removed",
     "rules": [{"on": "update", "columns": ["role"], "action": "organisation.user.role.assigned"}]} $$);

-- There need not be a user yet, so the invitation is the resource. That one was accepted shows as organisation.user.added.
SELECT audit.track('invitation', 'invitation', organisation_id => 'organisation_id', mask => '{hash}', personal => '{email}', actions => $$
    {"insert": "organisation.user.invited",
     "update": "organisation.invitation.updated",
     "delete": "organisation.invitation.closed"} $$);

SELECT audit.track('master_api_key', 'api_key', organisation_id => 'organisation_id', mask => '{hashed_key}', actions => $$
    {"rules": [{"on": "update", "columns": ["revoked"], "if": "new.revoked", "action": "api_key.revoked"}]} $$);

-- Two tables with ids of their own are two types, or webhook 1 would be either.
SELECT audit.track('organisation_webhook', 'organisation_webhook', organisation_id => 'organisation_id', mask => '{secret}');

-- The catalogue has names for who is in a project.
SELECT audit.track('project', 'project', organisation_id => 'organisation_id', project_id => 'id', actions => $$
    {"rules": [{"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "project.deleted"},
               {"on": "update", "columns": ["deleted_at"], "if": "new.deleted_at is null", "action": "project.restored"},
               {"on": "delete", "if": "old.deleted_at is not null", "action": "project.purged"}]} $$);

SELECT audit.track('project_permission', 'user', resource_id => '{user_id}',
    organisation_id => 'project_id.organisation_id', project_id => 'project_id', actions => $$
    {"insert": "project_member.added",
     "update": "project_member.updated",
     "delete": "project_member.removed",
     "rules": [{"on": "insert", "if": "new.admin", "action": "project_member.added_as_admin"},
               {"on": "update", "columns": ["admin"], "if": "old.admin", "action": "project_role.removed"},
               {"on": "update", "columns": ["admin", "permissions"], "action": "project_role.assigned"}]} $$);

-- updated_at is of whatever is in the environment.
SELECT audit.track('environment', 'environment',
    organisation_id => 'project_id.organisation_id', project_id => 'project_id', exclude => '{updated_at}', actions => $$
    {"rules": [{"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "environment.deleted"},
               {"on": "update", "columns": ["minimum_approvals"], "action": "environment.approvals.relaxed",
                "if": "coalesce(new.minimum_approvals, 0) < coalesce(old.minimum_approvals, 0)"},
               {"on": "delete", "if": "old.deleted_at is not null", "action": null}]} $$);

SELECT audit.track('environment_api_key', 'environment_key',
    organisation_id => 'environment_id.project_id.organisation_id', project_id => 'environment_id.project_id',
    mask => '{key}', actions => $$
    {"rules": [{"on": "update", "columns": ["active"], "if": "not new.active", "action": "environment_key.revoked"}]} $$);

SELECT audit.track('environment_webhook', 'environment_webhook',
    organisation_id => 'environment_id.project_id.organisation_id', project_id => 'environment_id.project_id',
    mask => '{secret}', actions => $$
    {"rules": [{"on": "update", "columns": ["enabled"], "if": "new.enabled", "action": "environment_webhook.enabled"},
               {"on": "update", "columns": ["enabled"], "action": "environment_webhook.disabled"},
               {"on": "update", "columns": ["secret"], "action": "environment_webhook.secret.rotated"}]} $$);

SELECT audit.track('segment', 'segment', organisation_id => 'project_id.organisation_id', project_id => 'project_id', actions => $$
    {"rules": [{"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "segment.deleted"}]} $$);

-- Users see the inner rules only. The outer one holds them together; its path to the project is another, and a table has one.
SELECT audit.track('segment_rule', 'segment_rule',
    organisation_id => 'rule_id.segment_id.project_id.organisation_id', project_id => 'rule_id.segment_id.project_id', actions => $$
    {"delete": null,
     "rules": [{"on": "insert", "if": "new.rule_id is null", "action": null},
               {"on": "update", "if": "new.rule_id is null", "action": null}]} $$);

-- The CASE keeps the cast to numbers away from values that are none.
SELECT audit.track('segment_condition', 'segment_condition',
    organisation_id => 'rule_id.rule_id.segment_id.project_id.organisation_id', project_id => 'rule_id.rule_id.segment_id.project_id',
    actions => $$
    {"rules": [{"on": "update", "columns": ["value"], "action": "segment_condition.widened",
      "if": "case when old.operator = new.operator and new.operator = 'PERCENTAGE_SPLIT' then new.value::real > old.value::real end"}]} $$);

SELECT audit.track('feature', 'feature', organisation_id => 'project_id.organisation_id', project_id => 'project_id', actions => $$
    {"rules": [{"on": "insert", "if": "new.kind = 'MULTIVARIATE'", "action": "feature.experiment.created"},
               {"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "feature.deleted"},
               {"on": "update", "columns": ["is_archived"], "if": "new.is_archived", "action": "feature.archived"},
               {"on": "update", "columns": ["is_archived"], "action": "feature.unarchived"}]} $$);

-- What people did with the request. What it did to a flag is the flag's event.
SELECT audit.track('change_request', 'change_request',
    organisation_id => 'environment_id.project_id.organisation_id', project_id => 'environment_id.project_id',
    exclude => '{updated_at}', actions => $$
    {"insert": "change_request.opened",
     "rules": [{"on": "update", "columns": ["committed_at", "committed_by"], "action": "change_request.committed",
                "if": "old.committed_at is null and new.committed_at is not null"},
               {"on": "update", "columns": ["deleted_at"], "if": "old.deleted_at is null", "action": "change_request.deleted"},
               {"on": "update", "columns": ["committed_by"], "action": null}]} $$);

-- An approval without a time is one that is asked for.
SELECT audit.track('change_request_approval', 'change_request', resource_id => '{change_request_id}',
    organisation_id => 'change_request_id.environment_id.project_id.organisation_id',
    project_id => 'change_request_id.environment_id.project_id', actions => $$
    {"insert": "change_request.approval.requested",
     "update": "change_request.approval.updated",
     "delete": "change_request.approval.withdrawn",
     "rules": [{"on": "insert", "if": "new.approved_at is not null", "action": "change_request.approved"},
               {"on": "update", "columns": ["approved_at"], "if": "new.approved_at is not null", "action": "change_request.approved"}]} $$);

-- The id says which feature it is and where: the row's own key means nothing to users, and the states of an UPDATE have no environment.
-- Rows without a segment come with the feature or the environment, and go with it.
SELECT audit.track('feature_state', 'feature_state', resource_id => '{feature_id,environment_id}',
    organisation_id => 'environment_id.project_id.organisation_id', project_id => 'environment_id.project_id', actions => $$
    {"insert": null,
     "update": "feature.state.updated",
     "delete": null,
     "rules": [{"on": "insert", "if": "new.segment_id is not null", "action": "feature.override.added"},
               {"on": "update", "columns": ["enabled"], "if": "new.enabled", "action": "feature.enabled"},
               {"on": "update", "columns": ["enabled"], "action": "feature.disabled"},
               {"on": "update", "columns": ["value"], "action": "feature.value.changed"},
               {"on": "update", "columns": ["version", "live_from", "change_request_id"], "action": null},
               {"on": "delete", "if": "old.segment_id is not null", "action": "feature.override.removed"}]} $$);

-- Not tracked: task, the queue.
