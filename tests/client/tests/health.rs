//! audit.health() tells each problem, and its remedy ends it.

use std::process::Command;

use audit_client_tests::docs::blocks;
use audit_client_tests::health::{Case, cause_and_cure, healthy, told};
use audit_client_tests::{Cluster, SqlState, refused, root, texts};
use postgres::Client;

#[test]
fn each_problem_is_told_and_its_remedy_ends_it() {
    let (cluster, mut dba) = healthy("health");
    assert_eq!(told(&cluster), Vec::<[String; 4]>::new(), "all is well");
    let month = texts(&mut dba, "SELECT to_char(now(), '\"audit.event_\"YYYY_MM')").remove(0);
    let later =
        texts(&mut dba, "SELECT to_char(now() + interval '2 months', '\"audit.event_\"YYYY_MM')").remove(0);
    let thing = r#""App"."thi'ng""#;
    let row = r#"trigger "!audit_row" on "#;
    let cases: Vec<Case<'_>> = vec![
        // Triggers of tracked tables.
        (format!("ALTER TABLE {thing} DISABLE TRIGGER \"!audit_row\""), "error", format!("{row}{thing}"), "disabled"),
        (format!("ALTER TABLE {thing} ENABLE REPLICA TRIGGER \"!audit_row\""), "error", format!("{row}{thing}"), "replicated rows only"),
        (format!("DROP TRIGGER \"!audit_row\" ON {thing}"), "error", format!("{row}{thing}"), "missing"),
        (format!("DROP TRIGGER \"!audit_truncate\" ON {thing}"), "error", format!("trigger \"!audit_truncate\" on {thing}"), "TRUNCATE leaves no event"),
        ("ALTER TABLE copied ENABLE TRIGGER \"!audit_row\"".into(), "error", format!("{row}public.copied"), "not enabled for replicated rows"),
        (format!("ALTER TABLE {thing} ENABLE ALWAYS TRIGGER \"!audit_row\""), "warning", format!("{row}{thing}"), "though on_replica is off"),
        ("DROP TRIGGER \"!audit_truncate\" ON parted_1".into(), "error", "trigger \"!audit_truncate\" on public.parted_1".into(), "missing"),
        ("ALTER TABLE parted_1 DISABLE TRIGGER \"!audit_row\"".into(), "error", format!("{row}public.parted_1"), "disabled"),
        (
            format!(
                "CREATE SUBSCRIPTION s CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false);
                 SET allow_system_table_mods = on;
                 INSERT INTO pg_subscription_rel SELECT oid, '{}'::regclass, 'r' FROM pg_subscription",
                thing.replace('\'', "''")
            ),
            "warning",
            format!("table {thing}"),
            "rows that it applies leave no event",
        ),
        // Guards of the log.
        (format!("ALTER TABLE {month} DISABLE TRIGGER \"!audit_row_guard\""), "error", format!("trigger \"!audit_row_guard\" on {month}"), "disabled"),
        (format!("ALTER TABLE {month} ENABLE TRIGGER \"!audit_statement_guard\""), "error", format!("trigger \"!audit_statement_guard\" on {month}"), "not ENABLE ALWAYS"),
        ("DROP TRIGGER \"!audit_statement_guard\" ON audit.event_default".into(), "error", "trigger \"!audit_statement_guard\" on audit.event_default".into(), "missing"),
        ("DROP TRIGGER \"!audit_row_guard\" ON audit.event".into(), "error", "trigger \"!audit_row_guard\" on audit.event".into(), "missing"),
        ("ALTER EVENT TRIGGER audit_before_ddl DISABLE".into(), "error", "event trigger audit_before_ddl".into(), "disabled"),
        ("ALTER EVENT TRIGGER audit_follow_ddl ENABLE".into(), "error", "event trigger audit_follow_ddl".into(), "not ENABLE ALWAYS"),
        ("ALTER EVENT TRIGGER audit_before_rewrite DISABLE".into(), "error", "event trigger audit_before_rewrite".into(), "disabled"),
        ("ALTER TABLE audit.admin DISABLE TRIGGER USER".into(), "error", format!("{row}audit.admin"), "leave no event"),
        (format!("ALTER TABLE {month} DISABLE ROW LEVEL SECURITY"), "error", format!("table {month}"), "row-level security is off"),
        ("ALTER TABLE audit.admin DISABLE ROW LEVEL SECURITY".into(), "error", "table audit.admin".into(), "row-level security is off"),
        ("ALTER POLICY readable ON audit.event USING (true)".into(), "error", "policy readable on audit.event".into(), "altered"),
        ("DROP POLICY readable ON audit.event".into(), "error", "policy readable on audit.event".into(), "missing"),
        ("CREATE POLICY more ON audit.event USING (true)".into(), "error", "policy more on audit.event".into(), "added"),
        // Where events are.
        (
            "SET row_security = off; SET check_function_bodies = off;
             INSERT INTO audit.event (event_id, occurred_at, transaction_id, action) VALUES (gen_random_uuid(), '1999-01-01', '1', 'thing.old')".into(),
            "warning", "table audit.event_default".into(), "found less quickly",
        ),
        (
            format!("SET audit.allow_destruction = on; ALTER TABLE audit.event DETACH PARTITION {later}"),
            "error",
            format!("table {later}"),
            "nobody is shown its events",
        ),
        // Views.
        ("CREATE VIEW shown AS SELECT * FROM audit.event".into(), "warning", "view public.shown".into(), "shows all events"),
        ("CREATE VIEW shown_2 AS SELECT * FROM audit.organisation_log".into(), "info", "nothing".into(), ""),
        ("CREATE MATERIALIZED VIEW held AS SELECT * FROM audit.event; GRANT SELECT ON held TO plain".into(), "warning", "materialized view public.held".into(), "holds events"),
        // Roles.
        ("CREATE ROLE maker CREATEROLE".into(), "warning", "role maker".into(), "CREATEROLE"),
        ("GRANT audit_writer TO plain WITH ADMIN OPTION".into(), "warning", "role plain".into(), "ADMIN OPTION"),
        ("GRANT SET ON PARAMETER audit.actor_id TO \"odd \"\"role\"".into(), "warning", "role \"odd \"\"role\"".into(), "SET on parameter audit.actor_id"),
        ("GRANT SET ON PARAMETER session_replication_role TO plain".into(), "warning", "role plain".into(), "keep the triggers of tracked tables from firing"),
        ("ALTER ROLE plain SET session_replication_role = replica".into(), "error", "setting session_replication_role of role plain".into(), "do not fire"),
        ("GRANT audit_reader TO audit_writer".into(), "warning", "role audit_writer".into(), "implies audit_reader"),
        ("ALTER ROLE audit_admin LOGIN".into(), "error", "role audit_admin".into(), "can log in"),
        // Who may read.
        (
            "SELECT audit.grant_admin(db_role => '\"odd \"\"role\"', organisation_id => 'o');
             DROP ROLE \"odd \"\"role\"; CREATE ROLE \"odd \"\"role\"".into(),
            "warning", "role \"odd \"\"role\"".into(), "made again",
        ),
        ("SELECT audit.grant_admin(db_role => 'plain', instance_owner => true); ALTER ROLE plain RENAME TO simple".into(), "warning", "role plain".into(), "renamed to simple"),
        ("ALTER ROLE simple RENAME TO plain; CREATE ROLE gone; SELECT audit.grant_admin(db_role => 'gone', project_id => 'p'); DROP ROLE gone".into(), "warning", "role gone".into(), "dropped since"),
        (
            "CREATE VIEW admins AS SELECT 'x' AS actor_id, 'o' AS organisation_id, NULL::text AS project_id, false AS instance_owner;
             SELECT audit.use_admins_from('admins'); ALTER VIEW admins OWNER TO plain".into(),
            "error", "view public.admins".into(), "belongs to plain now",
        ),
        ("DROP VIEW admins".into(), "error", "view public.admins".into(), "gone"),
        // Settings.
        ("ALTER DATABASE postgres SET session_preload_libraries = 'auto_explain'".into(), "warning", "setting session_preload_libraries of database postgres".into(), "not preloaded"),
        // Tables beside tracked ones.
        ("CREATE TABLE \"App\".other (id int PRIMARY KEY)".into(), "info", "table \"App\".other".into(), "not tracked"),
    ];
    for (cause, severity, object, problem) in cases {
        if object == "nothing" {
            dba.batch_execute(&cause).unwrap();
            assert!(told(&cluster).iter().all(|row| row[0] == "info"), "{cause}");
            dba.batch_execute("DROP VIEW shown_2").unwrap();
            continue;
        }
        let also = match &*object.clone() {
            "materialized view public.held" => "DROP MATERIALIZED VIEW held",
            "view public.shown" => "DROP VIEW shown",
            _ if cause.contains("SUBSCRIPTION") => {
                r#"ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s;
                   SELECT audit.track('"App"."thi''ng"', 'thing', mask => '{name}', actions => '{"update": "thing.renamed"}')"#
            }
            _ => "",
        };
        cause_and_cure(&cluster, &(cause, severity, object, problem), also);
    }
}

#[test]
fn months_to_come_and_actions_that_nobody_sees() {
    let cluster = Cluster::temporary_with("unseen", "session_preload_libraries = 'audit'");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute(
        "CREATE EXTENSION audit; CREATE TABLE thing (id int PRIMARY KEY);
         SELECT audit.track('thing', 'thing', actions => '{\"delete\": null, \"update\": \"thing.renamed\"}')",
    )
    .unwrap();
    let problems = |dba: &mut Client, period: &str| {
        let query = format!(
            "SELECT concat(severity, ' ', split_part(problem, ';', 1)) FROM audit.health('{period}')"
        );
        texts(dba, &query)
    };
    assert_eq!(
        problems(&mut dba, "1 hour"),
        [
            "error this month is not made: its events go to the catch-all",
            "warning next month is not made: its events will go to the catch-all",
            "warning the catch-all holds events whose month was not made in time: they are found less quickly",
        ]
    );
    dba.batch_execute("CALL audit.maintain()").unwrap();
    // Long enough for a busy machine to ask within it.
    std::thread::sleep(std::time::Duration::from_millis(4100));
    assert_eq!(problems(&mut dba, "4 seconds"), ["info not seen for 00:00:04: thing.created, thing.renamed"]);
    dba.batch_execute("INSERT INTO thing VALUES (1)").unwrap();
    assert_eq!(problems(&mut dba, "4 seconds"), ["info not seen for 00:00:04: thing.renamed"]);
    // What was tracked within the period has had no time to be seen.
    assert!(texts(&mut dba, "SELECT problem FROM audit.health()").is_empty());
    assert!(texts(&mut dba, "SELECT problem FROM audit.health(NULL)").is_empty());
}

#[test]
fn who_may_ask_and_whatever_the_search_path() {
    let (cluster, mut dba) = healthy("asking");
    for call in ["SELECT FROM audit.health()", "SELECT audit.check_health()"] {
        let (code, ..) = refused(cluster.connect("postgres", "plain").batch_execute(call));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{call}");
    }
    dba.batch_execute(
        "GRANT CREATE ON SCHEMA public TO monitor;
         ALTER TABLE copied DISABLE TRIGGER \"!audit_row\"",
    )
    .unwrap();
    let mut monitor = cluster.connect("postgres", "monitor");
    monitor
        .batch_execute(
            "CREATE FUNCTION public.format(text, name, text) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$;
             CREATE TEMPORARY TABLE pg_trigger (tgname name);
             CREATE TEMPORARY TABLE pg_class (oid oid);
             SET search_path = pg_temp, public, pg_catalog;",
        )
        .unwrap();
    let objects = texts(&mut monitor, "SELECT object FROM audit.health()");
    assert_eq!(objects, ["trigger \"!audit_row\" on public.copied"]);
    let error = monitor.batch_execute("SELECT audit.check_health('error')").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(error.message(), "the audit system has 1 problem");
    assert!(error.detail().unwrap().starts_with("error: trigger \"!audit_row\" on public.copied: disabled"));
    for severity in ["'none'", "NULL"] {
        let (code, ..) = refused(monitor.batch_execute(&format!("SELECT audit.check_health({severity})")));
        assert_eq!(code, SqlState::INVALID_PARAMETER_VALUE);
    }
}

#[test]
fn what_is_told_follows_no_setting_of_whoever_asks() {
    let (cluster, mut dba) = healthy("health_settings");
    dba.batch_execute(
        "ALTER TABLE copied DISABLE TRIGGER \"!audit_row\"; CREATE VIEW events AS SELECT * FROM audit.event;
         CREATE TABLE \"New\" (id int); ALTER TABLE audit.event_default DISABLE TRIGGER \"!audit_row_guard\"",
    )
    .unwrap();
    let all = "SELECT concat_ws(' | ', severity, object, problem, remedy) FROM audit.health('1 second')";
    // By then the actions of every table count as not seen, and go on doing so.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let expected = texts(&mut dba, all);
    assert!(expected.iter().any(|row| row.contains("not seen for 00:00:01")));
    for setting in [
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "transform_null_equals = on",
        "array_nulls = off",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Kathmandu'",
        "row_security = off",
        "default_transaction_isolation = 'serializable'",
        "extra_float_digits = -15",
    ] {
        let mut monitor = cluster.connect("postgres", "monitor");
        monitor.batch_execute(&format!("SET {setting}")).unwrap();
        assert_eq!(texts(&mut monitor, all), expected, "{setting}");
    }
}

#[test]
fn the_recipes_of_the_monitoring_page_work() {
    let (cluster, mut dba) = healthy("recipes");
    let blocks = blocks("docs/monitoring.md");
    let block = |language: &str| &blocks.iter().find(|block| block.language == language).unwrap().text;
    // Cron: the exit code.
    let run = || {
        let psql = cluster.command("psql", &[]);
        let bin = std::path::Path::new(psql.get_program()).parent().unwrap().display().to_string();
        Command::new("bash")
            .args(["-c", block("sh")])
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .env("PGHOST", cluster.socket())
            .env("PGUSER", "monitor")
            .env("PGDATABASE", "postgres")
            .output()
            .unwrap()
    };
    assert_eq!((run().status.code(), run().stdout), (Some(0), b"ok\n".to_vec()));
    dba.batch_execute("ALTER TABLE copied DISABLE TRIGGER \"!audit_row\"").unwrap();
    let failed = run();
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("trigger \"!audit_row\" on public.copied: disabled")
    );
    // Prometheus: the collector's query.
    let query = block("yaml").split_once("query: |\n").expect("the collector has a query").1;
    let rows = cluster.connect("postgres", "monitor").query(query, &[]).unwrap();
    let counts: Vec<(String, i64)> =
        rows.iter().map(|row| (row.get("severity"), row.get("problems"))).collect();
    assert_eq!(counts, [("error".into(), 1), ("warning".into(), 0), ("info".into(), 0)]);
    // The page explains every kind of problem that the function tells.
    let page = std::fs::read_to_string(root().join("docs/monitoring.md")).unwrap();
    assert!(page.matches("\n| ").count() > 15);
}
