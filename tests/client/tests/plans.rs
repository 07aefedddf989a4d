//! What PostgreSQL makes of plain queries on the log, for readers under row-level security.

use audit_client_tests::{Database, texts};
use postgres::Client;
use serde_json::Value;

/// A log of twelve months that two kinds of principals read, and the application's role.
fn with_readers(label: &str) -> (Database, String) {
    let database = Database::create(label);
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let mut owner = database.connect();
    owner
        .batch_execute(
            "INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, organisation_id, project_id, session_role, db_role)
             SELECT gen_random_uuid(), date_trunc('month', now()) + interval '1 day' - i * interval '1 hour', pg_current_xact_id(),
                    (ARRAY['entity.created', 'entity.updated', 'entity.deleted', 'score.created', 'dataset.deleted'])[1 + i % 5],
                    'o' || i % 20, 'p' || i % 50, 'x', 'x'
             FROM generate_series(1, 8000) AS i;
             CALL audit.maintain();
             ANALYZE audit.event;
             CREATE SEQUENCE calls;
             CREATE FUNCTION counted(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 FROM (SELECT nextval('public.calls')) AS c $$;
             CREATE TABLE admin (actor text, organisation text, project text, owner boolean);
             INSERT INTO admin VALUES ('ann', 'o1', NULL, false), ('bob', NULL, 'p1', false), ('cleo', NULL, NULL, true);
             CREATE VIEW admins (actor_id, organisation_id, project_id, instance_owner) AS
                 SELECT actor, counted(organisation), project, owner FROM admin;
             SELECT audit.use_admins_from('admins')",
        )
        .unwrap();
    (database, app)
}

fn speak_for(client: &mut Client, actor: &str) {
    client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
}

fn explained(client: &mut Client, options: &str, query: &str) -> Value {
    let row = client.query_one(&format!("EXPLAIN (FORMAT JSON{options}) {query}"), &[]).unwrap();
    let plan: postgres::types::Json<Value> = row.get(0);
    plan.0[0]["Plan"].clone()
}

/// Each node of a plan.
fn nodes<'a>(plan: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(plan);
    for below in plan["Plans"].as_array().into_iter().flatten() {
        nodes(below, found);
    }
}

/// A field of the nodes that have it.
fn fields(plan: &Value, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    nodes(plan, &mut all);
    all.iter().filter_map(|node| node[name].as_str()).map(str::to_owned).collect()
}

#[test]
fn audit_match_is_an_index_condition_for_constants_and_parameters() {
    let (database, app) = with_readers("index");
    let mut client = database.connect_as(&app);
    client.batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").unwrap();
    client
        .batch_execute(
            "PREPARE by_action (text) AS SELECT event_id FROM audit.event WHERE audit_match(action, $1);
             PREPARE in_scope (text, text) AS SELECT event_id FROM audit.event WHERE organisation_id = $1 AND audit_match(action, $2)",
        )
        .unwrap();
    for (query, expected) in [
        ("SELECT FROM audit.event WHERE audit_match(action, 'score.*')", "action >= 'score.'"),
        ("SELECT FROM audit.event WHERE audit_match(action, 'score.created')", "action = 'score.created'"),
        (
            "SELECT FROM audit.event WHERE organisation_id = 'o1' AND audit_match(action, 'score.*')",
            "(organisation_id = 'o1'::text) AND (action >= 'score.'",
        ),
        ("EXECUTE by_action ('score.*')", "action >= audit.pattern_low($1)"),
        ("EXECUTE in_scope ('o1', 'score.*')", "(action >= audit.pattern_low($2))"),
        (
            "SELECT FROM audit.event WHERE audit_match(action, (SELECT 'score.*'::text))",
            "action >= audit.pattern_low($",
        ),
    ] {
        for actor in ["ann", "bob", "cleo"] {
            speak_for(&mut client, actor);
            let plan = explained(&mut client, "", query);
            let conditions = fields(&plan, "Index Cond");
            assert!(
                conditions.iter().filter(|condition| condition.contains(expected)).count() >= 12,
                "{actor}: {query}: {plan:#}"
            );
        }
    }
    // LIKE is not leakproof: it waits until the policy has let a row through.
    let plan = explained(&mut client, "", "SELECT FROM audit.event WHERE action LIKE 'score.%'");
    assert!(!fields(&plan, "Index Cond").iter().any(|condition| condition.contains("score")), "{plan:#}");
}

#[test]
fn rights_are_read_once_for_each_query() {
    let (database, app) = with_readers("once");
    let mut client = database.connect_as(&app);
    let mut owner = database.connect();
    let mut calls = || -> i64 {
        owner.query_one("SELECT coalesce(pg_sequence_last_value('calls'), 0)", &[]).unwrap().get(0)
    };
    // One row of the view each.
    for (actor, events) in [("ann", 400), ("bob", 160)] {
        speak_for(&mut client, actor);
        for query in [
            "SELECT count(*) FROM audit.event",
            "SELECT count(*) FROM audit.event AS a WHERE event_id IN (SELECT event_id FROM audit.event)",
            "SELECT count(*) FROM audit.log(pattern => '*', max_rows => NULL)",
            "SELECT count(*) FROM audit.organisation_log",
        ] {
            let before = calls();
            let count: i64 = client.query_one(query, &[]).unwrap().get(0);
            assert_eq!((count, calls() - before), (events, 1), "{actor}: {query}");
        }
    }
    speak_for(&mut client, "ann");
    let plan = explained(&mut client, ", ANALYZE", "SELECT FROM audit.event");
    let mut all = Vec::new();
    nodes(&plan, &mut all);
    let once: Vec<_> = all.iter().filter(|node| node["Parent Relationship"] == "InitPlan").collect();
    assert!(
        once.len() >= 4 && once.iter().all(|node| node["Actual Loops"].as_f64() <= Some(1.0)),
        "{plan:#}"
    );
}

#[test]
fn partitions_are_pruned() {
    let (database, app) = with_readers("pruned");
    let mut client = database.connect_as(&app);
    speak_for(&mut client, "ann");
    let month = texts(&mut client, "SELECT 'event_' || to_char(now() - interval '3 months', 'YYYY_MM')");
    let of_a_week = "SELECT FROM audit.event WHERE occurred_at >= date_trunc('month', now()) - interval '3 months'
                                                AND occurred_at < date_trunc('month', now()) - interval '3 months' + interval '7 days'";
    let read = |client: &mut Client, query: &str| {
        let plan = explained(client, ", ANALYZE", query);
        let mut all = Vec::new();
        nodes(&plan, &mut all);
        let mut tables: Vec<String> = all
            .iter()
            .filter(|node| node["Actual Loops"].as_f64() > Some(0.0))
            .filter_map(|node| node["Relation Name"].as_str())
            .map(str::to_owned)
            .collect();
        tables.dedup();
        tables
    };
    assert_eq!(read(&mut client, of_a_week), month);
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE week (timestamptz) AS SELECT FROM audit.event WHERE occurred_at >= $1 AND occurred_at < $1 + interval '7 days'",
        )
        .unwrap();
    let start = texts(&mut client, "SELECT (date_trunc('month', now()) - interval '3 months')::text");
    assert_eq!(read(&mut client, &format!("EXECUTE week ('{}')", start[0])), month);
}
