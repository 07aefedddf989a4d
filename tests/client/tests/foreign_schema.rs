//! A schema that the extension was not made for, configured with docs/actions.md alone: Flagsmith's.
//!
//! What each transaction should leave was written down before it was run, but for one that says so.

use audit_client_tests::{Database, texts};

/// Who writes, what, and the events that should be there. An event is its action, resource type and id, organisation/project, and its
/// states: the columns that changed, `+n` for a state with n columns that is only after, `-n` for one that is only before, `0` for none.
type Step = (&'static str, &'static str, &'static [&'static str]);

const EVENTS: &str = "
    SELECT format('%s: %s %s %s %s/%s %s', coalesce(actor_id, 'nobody'), action, resource_type, coalesce(resource_id, '-'),
                  coalesce(organisation_id, '-'), coalesce(project_id, '-'),
                  CASE WHEN before_state IS NULL AND after_state IS NULL THEN '0'
                       WHEN before_state IS NULL THEN '+' || (SELECT count(*) FROM jsonb_object_keys(after_state))
                       WHEN after_state IS NULL THEN '-' || (SELECT count(*) FROM jsonb_object_keys(before_state))
                       ELSE (SELECT string_agg(key, ',' ORDER BY key) FROM jsonb_object_keys(after_state) key) END)
    FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id";

const STEPS: &[Step] = &[
    (
        "ann",
        "INSERT INTO app_user (id, email, first_name, password)
             VALUES (1, 'ann@acme.example', 'Ann', 'secret-a'), (2, 'bob@acme.example', 'Bob', 'secret-b'),
                    (3, 'cem@acme.example', 'Cem', 'secret-c');
         INSERT INTO organisation (id, name) VALUES (1, 'Acme'), (2, 'Birch');
         INSERT INTO subscription (organisation_id) SELECT id FROM organisation ORDER BY id;
         INSERT INTO organisation_member (organisation_id, user_id, role) VALUES (1, 1, 'ADMIN'), (2, 1, 'ADMIN')",
        &[
            "user.created user 1 -/- +7",
            "user.created user 2 -/- +7",
            "user.created user 3 -/- +7",
            "organisation.created organisation 1 1/- +6",
            "organisation.created organisation 2 2/- +6",
            "organisation.user.added user 1 1/- +5",
            "organisation.user.added user 1 2/- +5",
        ],
    ),
    (
        "ann",
        "INSERT INTO invitation (id, organisation_id, email, hash, invited_by) VALUES (1, 1, 'bob@acme.example', 'secret-h', 1)",
        &["organisation.user.invited invitation 1 1/- +6"],
    ),
    (
        "bob",
        "DELETE FROM invitation WHERE hash = 'secret-h';
         INSERT INTO organisation_member (organisation_id, user_id, role) VALUES (1, 2, 'USER');
         UPDATE app_user SET last_login = now() WHERE id = 2",
        &["organisation.invitation.closed invitation 1 1/- -6", "organisation.user.added user 2 1/- +5"],
    ),
    (
        "ann",
        "UPDATE organisation_member SET role = 'ADMIN' WHERE organisation_id = 1 AND user_id = 2;
         INSERT INTO organisation_member (organisation_id, user_id, role) VALUES (1, 2, 'USER'), (1, 3, 'USER')
             ON CONFLICT (organisation_id, user_id) DO UPDATE SET role = excluded.role",
        &[
            "organisation.user.role.assigned user 2 1/- id,role",
            "organisation.user.role.assigned user 2 1/- id,role",
            "organisation.user.added user 3 1/- +5",
        ],
    ),
    (
        "ann",
        "INSERT INTO master_api_key (id, organisation_id, name, hashed_key) VALUES ('k4.x', 1, 'ci', 'secret-k');
         UPDATE master_api_key SET revoked = true, name = 'old ci'",
        &[
            "api_key.created api_key k4.x 1/- +7",
            "api_key.revoked api_key k4.x 1/- revoked",
            "api_key.updated api_key k4.x 1/- name",
        ],
    ),
    (
        "bob",
        "INSERT INTO project (id, organisation_id, name) VALUES (1, 1, 'Shop'), (2, 2, 'Blog');
         INSERT INTO environment (id, project_id, name, client_key) VALUES (1, 1, 'Production', 'p'), (2, 1, 'Staging', 's'),
                    (3, 2, 'Production', 'q');
         INSERT INTO project_permission VALUES (1, 2, true, '{}'), (1, 3, false, '{VIEW_PROJECT}')",
        &[
            "project.created project 1 1/1 +5",
            "project.created project 2 2/2 +5",
            "environment.created environment 1 1/1 +7",
            "environment.created environment 2 1/1 +7",
            "environment.created environment 3 2/2 +7",
            "project_member.added_as_admin user 2 1/1 +4",
            "project_member.added user 3 1/1 +4",
        ],
    ),
    (
        "bob",
        "INSERT INTO feature (id, project_id, name, kind) VALUES (1, 1, 'checkout', 'STANDARD'), (2, 1, 'banner', 'MULTIVARIATE');
         INSERT INTO feature_state (id, feature_id, environment_id)
             SELECT row_number() OVER (ORDER BY f.id, e.id), f.id, e.id FROM feature f JOIN environment e USING (project_id)",
        &["feature.created feature 1 1/1 +8", "feature.experiment.created feature 2 1/1 +8"],
    ),
    (
        "bob",
        r#"UPDATE feature_state SET enabled = true, value = '{"type": "string", "string": "v2"}', version = 1, live_from = now()
             WHERE feature_id = 1 AND environment_id = 1;
           UPDATE feature_state SET version = 2 WHERE feature_id = 1 AND environment_id = 1;
           UPDATE environment SET updated_at = clock_timestamp() WHERE id = 1"#,
        &["feature.enabled feature_state 1:1 1/1 enabled,id", "feature.value.changed feature_state 1:1 1/1 id,value"],
    ),
    (
        "bob",
        "INSERT INTO segment (id, project_id, name) VALUES (1, 1, 'Beta');
         INSERT INTO segment_rule (id, segment_id, rule_id, match) VALUES (1, 1, NULL, 'ALL'), (2, NULL, 1, 'ANY');
         INSERT INTO segment_condition VALUES (1, 2, 'PERCENTAGE_SPLIT', NULL, '10'), (2, 2, 'EQUAL', 'country', 'DE');
         INSERT INTO feature_state (id, feature_id, environment_id, segment_id, enabled) VALUES (5, 1, 1, 1, true)",
        &[
            "segment.created segment 1 1/1 +5",
            "segment_rule.created segment_rule 2 1/1 +4",
            "segment_condition.created segment_condition 1 1/1 +5",
            "segment_condition.created segment_condition 2 1/1 +5",
            "feature.override.added feature_state 1:1 1/1 +9",
        ],
    ),
    (
        "bob",
        "UPDATE segment_condition SET value = '25' WHERE id = 1;
         UPDATE segment_condition SET value = '25' WHERE id = 1;
         UPDATE segment_condition SET property = 'land', value = 'FR' WHERE id = 2;
         UPDATE segment_rule SET match = 'NONE'",
        &[
            "segment_condition.widened segment_condition 1 1/1 value",
            "segment_condition.updated segment_condition 2 1/1 property,value",
            "segment_rule.updated segment_rule 2 1/1 match",
        ],
    ),
    (
        "cem",
        "INSERT INTO change_request (id, environment_id, user_id, title)
             VALUES ('c0ffee00-0000-4000-8000-000000000001', 1, 3, 'Checkout off');
         INSERT INTO change_request_approval (id, change_request_id, user_id) VALUES (1, 'c0ffee00-0000-4000-8000-000000000001', 2)",
        &[
            "change_request.opened change_request c0ffee00-0000-4000-8000-000000000001 1/1 +9",
            "change_request.approval.requested change_request c0ffee00-0000-4000-8000-000000000001 1/1 +4",
        ],
    ),
    (
        "bob",
        "UPDATE change_request_approval SET approved_at = now();
         UPDATE feature_state SET enabled = false, version = 3, change_request_id = 'c0ffee00-0000-4000-8000-000000000001' WHERE id = 1;
         UPDATE change_request SET committed_at = now(), committed_by = 2, updated_at = clock_timestamp()",
        &[
            "change_request.approved change_request c0ffee00-0000-4000-8000-000000000001 1/1 approved_at,id",
            "feature.disabled feature_state 1:1 1/1 enabled,id",
            "change_request.committed change_request c0ffee00-0000-4000-8000-000000000001 1/1 committed_at,committed_by",
        ],
    ),
    (
        "ann",
        "INSERT INTO organisation_webhook VALUES (1, 1, 'https://hooks.example/o', 'secret-o');
         INSERT INTO environment_webhook VALUES (1, 1, 'https://hooks.example/e', 'secret-e');
         UPDATE environment_webhook SET url = 'https://hooks.example/f', secret = 'secret-f', enabled = false",
        &[
            "organisation_webhook.created organisation_webhook 1 1/- +5",
            "environment_webhook.created environment_webhook 1 1/1 +5",
            "environment_webhook.disabled environment_webhook 1 1/1 enabled",
            "environment_webhook.secret.rotated environment_webhook 1 1/1 secret",
            "environment_webhook.updated environment_webhook 1 1/1 url",
        ],
    ),
    (
        "ann",
        "UPDATE project_permission SET admin = false, permissions = '{VIEW_PROJECT,CREATE_FEATURE}' WHERE user_id = 2;
         UPDATE project_permission SET permissions = permissions || '{DELETE_FEATURE}' WHERE user_id = 3;
         DELETE FROM project_permission WHERE user_id = 3",
        &[
            "project_role.removed user 2 1/1 admin,project_id,user_id",
            "project_role.assigned user 2 1/1 permissions,project_id,user_id",
            "project_role.assigned user 3 1/1 permissions,project_id,user_id",
            "project_member.removed user 3 1/1 -4",
        ],
    ),
    (
        "ann",
        "INSERT INTO environment_api_key (id, environment_id, name, key) VALUES (1, 1, 'backend', 'secret-s');
         UPDATE environment_api_key SET active = false;
         UPDATE environment SET minimum_approvals = 2 WHERE id = 1;
         UPDATE environment SET minimum_approvals = 1 WHERE id = 1",
        &[
            "environment_key.created environment_key 1 1/1 +6",
            "environment_key.revoked environment_key 1 1/1 active",
            "environment.updated environment 1 1/1 minimum_approvals",
            "environment.approvals.relaxed environment 1 1/1 minimum_approvals",
        ],
    ),
    (
        "ann",
        "UPDATE environment SET project_id = 2 WHERE id = 2",
        &["environment.updated environment 2 1/1 -1", "environment.updated environment 2 2/2 +1"],
    ),
    (
        "bob",
        "UPDATE feature SET is_archived = true, name = 'checkout-old' WHERE id = 1;
         UPDATE feature SET deleted_at = now() WHERE id = 2;
         DELETE FROM feature_state WHERE segment_id = 1",
        &[
            "feature.archived feature 1 1/1 is_archived",
            "feature.updated feature 1 1/1 name",
            "feature.deleted feature 2 1/1 deleted_at",
            "feature.override.removed feature_state 1:1 1/1 -9",
        ],
    ),
    // This was looked at first: the document did not say whose event it is.
    (
        "ann",
        "UPDATE organisation_member SET user_id = 3 WHERE organisation_id = 2",
        &["organisation.user.updated user 3 2/- id,user_id"],
    ),
    (
        "billing",
        "SAVEPOINT s; UPDATE organisation SET name = 'Nobody'; ROLLBACK TO s;
         UPDATE organisation SET stop_serving_flags = true, over_limit_alerted = true WHERE id = 1;
         UPDATE subscription SET plan = 'startup', max_seats = 3, status = 'ACTIVE' WHERE organisation_id = 1;
         UPDATE subscription SET cancelled_at = now(), status = NULL, notes = 'by phone' WHERE organisation_id = 1",
        &[
            "organisation.serving.stopped organisation 1 1/- stop_serving_flags",
            "organisation.subscription.plan.changed organisation 1 1/- id,max_seats,plan,status",
            "organisation.subscription.cancelled organisation 1 1/- cancelled_at,id,status",
        ],
    ),
    (
        "ann",
        "UPDATE app_user SET is_active = false, password = 'secret-!' WHERE id = 3;
         DELETE FROM app_user WHERE id = 3",
        &[
            "user.password.changed user 3 -/- password",
            "user.deactivated user 3 -/- is_active",
            "user.deleted user 3 -/- -7",
            "organisation.user.removed user 3 1/- -5",
            "organisation.user.removed user 3 2/- -5",
            "change_request.deleted change_request c0ffee00-0000-4000-8000-000000000001 1/1 -9",
            "change_request.approval.withdrawn change_request c0ffee00-0000-4000-8000-000000000001 1/1 -4",
        ],
    ),
    (
        "ann",
        "UPDATE project SET deleted_at = now() WHERE id = 1;
         UPDATE environment SET deleted_at = now() WHERE project_id = 1;
         UPDATE segment SET deleted_at = now() WHERE project_id = 1",
        &[
            "project.deleted project 1 1/1 deleted_at",
            "environment.deleted environment 1 1/1 deleted_at",
            "segment.deleted segment 1 1/1 deleted_at",
        ],
    ),
    // A cascade: the paths of what goes lead over rows that are gone.
    (
        "",
        "DELETE FROM project WHERE id = 1",
        &[
            "project.purged project 1 1/1 -5",
            "project_member.removed user 2 1/1 -4",
            "segment.deleted segment 1 1/1 -5",
            "feature.deleted feature 1 1/1 -8",
            "feature.deleted feature 2 1/1 -8",
            "environment_key.deleted environment_key 1 1/1 -6",
            "environment_webhook.deleted environment_webhook 1 1/1 -5",
            "segment_condition.deleted segment_condition 1 1/1 -5",
            "segment_condition.deleted segment_condition 2 1/1 -5",
        ],
    ),
    (
        "",
        "INSERT INTO task (task_name) VALUES ('purge'); TRUNCATE task; TRUNCATE environment_webhook",
        &["environment_webhook.truncated environment_webhook - -/- 0"],
    ),
];

#[test]
fn a_feature_flag_service_leaves_the_events_that_were_expected() {
    let database = Database::create("foreign");
    for script in [include_str!("schema/flagsmith.sql"), include_str!("schema/flagsmith_audit.sql")] {
        let output = database.psql(script);
        for sign in ["ERROR", "NOTICE", "WARNING"] {
            assert!(!output.contains(sign), "{output}");
        }
    }

    let mut client = database.connect();
    let mut expected = Vec::new();
    for (actor, script, events) in STEPS {
        let mut transaction = client.transaction().unwrap();
        if !actor.is_empty() {
            transaction.execute("SELECT set_config('audit.actor_id', $1, true)", &[actor]).unwrap();
        }
        transaction.batch_execute(script).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        transaction.commit().unwrap();
        let actor = if actor.is_empty() { "nobody" } else { actor };
        expected.extend(events.iter().map(|event| format!("{actor}: {event}")));
    }
    let events = texts(&mut client, EVENTS);
    for (number, (event, expected)) in events.iter().zip(&expected).enumerate() {
        assert_eq!(event, expected, "event {number} of\n{}", events.join("\n"));
    }
    assert_eq!(events.len(), expected.len());

    // What is masked is nowhere in the log.
    let leaked = "SELECT event::text FROM audit.event WHERE event::text LIKE '%secret-%'";
    assert_eq!(texts(&mut client, leaked), Vec::<String>::new());
}
