//! audit.health() tells what a superuser makes of the trail, also while its event triggers are off, and how to undo it.

use audit_client_tests::health::{cause_and_cure, healthy, told};
use audit_client_tests::{Cluster, texts};

/// Commands that leave no event, for those who know how.
fn unseen(commands: &str) -> String {
    let all = ["audit_before_ddl", "audit_follow_ddl", "audit_before_rewrite"];
    let each = |how: &str| all.map(|name| format!("ALTER EVENT TRIGGER {name} {how};")).concat();
    format!("{} {commands}; {}", each("DISABLE"), each("ENABLE ALWAYS"))
}

#[test]
fn tracked_tables_are_told() {
    let (cluster, _dba) = healthy("health_tables");
    let thing = r#""App"."thi'ng""#;
    let row = format!("trigger \"!audit_row\" on {thing}");
    let table = format!("table {thing}");
    let trigger = |when: &str, settings: &str| {
        format!(
            "CREATE OR REPLACE TRIGGER \"!audit_row\" AFTER INSERT OR UPDATE OR DELETE ON {thing} FOR EACH ROW {when}
             EXECUTE FUNCTION audit.capture('{settings}')"
        )
    };
    let settings = r#"{"resource_type": "thing", "mask": ["name"]}"#;
    for (cause, severity, object, problem, also) in [
        (unseen(&trigger("WHEN (pg_trigger_depth() = 7)", settings)), "error", &row, "under a condition", ""),
        (
            unseen(&trigger(
                "",
                r#"{"resource_type": "thing", "mask": ["name"], "actions": {"delete": null}}"#,
            )),
            "error",
            &row,
            "other settings than the log told last: actions",
            "",
        ),
        (
            unseen(&format!(
                "CREATE OR REPLACE TRIGGER \"!audit_truncate\" AFTER TRUNCATE ON parted_1
                 EXECUTE FUNCTION audit.capture('{}')",
                r#"{"resource_type": "parted", "actions": {"truncate": null}}"#
            )),
            "error",
            &"trigger \"!audit_truncate\" on public.parted_1".to_owned(),
            "other settings than the log told last: actions",
            "",
        ),
        (
            unseen(
                "CREATE OR REPLACE TRIGGER \"!audit_truncate\" AFTER TRUNCATE ON parted EXECUTE FUNCTION audit.capture('oops')",
            ),
            "error",
            &"trigger \"!audit_truncate\" on public.parted".to_owned(),
            "damaged",
            "",
        ),
        (unseen(&trigger("", "oops")), "error", &table, "damaged", ""),
        (unseen(&trigger("", r#"{"resource_type": 7}"#)), "error", &table, "damaged", ""),
        (
            unseen(&format!(
                "DROP TRIGGER \"!audit_row\" ON {thing}; DROP TRIGGER \"!audit_truncate\" ON {thing}"
            )),
            "error",
            &table,
            "no event that ended it",
            "",
        ),
        (
            format!("CREATE TABLE child () INHERITS ({thing})"),
            "warning",
            &"table public.child".to_owned(),
            "it inherits from",
            "SELECT audit.untrack('child'); DROP TABLE child",
        ),
    ] {
        cause_and_cure(&cluster, &(cause, severity, object.clone(), problem), also);
    }
}

/// Commands that give tables other settings, columns or names, each of which the log tells.
#[test]
fn what_the_log_tells_is_no_problem() {
    let (cluster, mut dba) = healthy("health_told");
    let all = "AFTER INSERT OR UPDATE OR DELETE ON thing FOR EACH ROW EXECUTE FUNCTION audit.capture";
    for command in [
        "ALTER TABLE \"App\".\"thi'ng\" RENAME TO thing; ALTER TABLE \"App\".thing SET SCHEMA public",
        "ALTER TABLE thing RENAME name TO label",
        "ALTER TABLE thing ADD secret text DEFAULT 'x', ADD hidden text DEFAULT 'x'",
        "SELECT audit.track('thing', 'thing', mask => '{label}', exclude => '{secret,hidden}', actions => '{\"update\": \"thing.renamed\"}')",
        "ALTER TABLE thing RENAME secret TO api_key; ALTER TABLE thing ALTER label TYPE varchar(9)",
        "ALTER TABLE thing RENAME id TO number; ALTER TABLE thing DROP hidden",
        &format!("CREATE OR REPLACE TRIGGER \"!audit_row\" {all}('{{\"resource_type\": \"thing\", \"mask\": [\"api_key\"]}}');
                  CREATE OR REPLACE TRIGGER \"!audit_truncate\" AFTER TRUNCATE ON thing
                  EXECUTE FUNCTION audit.capture('{{\"resource_type\": \"thing\", \"mask\": [\"api_key\"]}}')"),
        "ALTER TABLE thing RENAME api_key TO key; ALTER TABLE thing DISABLE TRIGGER ALL; ALTER TABLE thing ENABLE TRIGGER ALL",
        "SELECT audit.untrack('thing'); SELECT audit.track('thing', 'it', actions => '{\"insert\": null}')",
        "ALTER TABLE copied RENAME TO \"Copied\"; SELECT audit.track('\"Copied\"', 'copied', resource_id => '{id}', on_replica => true)",
        "CREATE SCHEMA other; ALTER TABLE parted SET SCHEMA other; ALTER SCHEMA other RENAME TO another",
        "ALTER TABLE another.parted ADD note text; SELECT audit.track('another.parted', 'parted', exclude => '{note}'); ALTER TABLE another.parted RENAME note TO hint",
        "ALTER TABLE another.parted DETACH PARTITION parted_1; SELECT audit.track('parted_1', 'part'); ALTER TABLE parted_1 RENAME hint TO note",
        "DROP TABLE thing; CREATE TABLE thing (id int PRIMARY KEY); SELECT audit.track('thing', 'another')",
    ] {
        dba.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        let problems = told(&cluster);
        assert!(problems.is_empty(), "{command}: {problems:#?}");
    }
}

#[test]
fn the_log_is_told() {
    let (cluster, mut dba) = healthy("health_log");
    let month = texts(&mut dba, "SELECT to_char(now(), '\"audit.event_\"YYYY_MM')").remove(0);
    dba.batch_execute(
        "CREATE FUNCTION public.quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    .unwrap();
    // A DBA's own indexes are no problem.
    dba.batch_execute(
        "CREATE INDEX ON audit.event (occurred_at) WHERE action = 'x'; CREATE INDEX ON audit.event (lower(actor_id));
         CREATE INDEX ON audit.event (table_name)",
    )
    .unwrap();
    assert!(told(&cluster).is_empty(), "{:#?}", told(&cluster));
    let guard = "\"!audit_statement_guard\" BEFORE";
    for (cause, severity, object, problem, also) in [
        (
            unseen(&format!(
                "CREATE OR REPLACE TRIGGER {guard} INSERT ON {month} FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
                 ALTER TABLE {month} ENABLE ALWAYS TRIGGER \"!audit_statement_guard\""
            )),
            "error", format!("trigger \"!audit_statement_guard\" on {month}"), "guards less", "",
        ),
        (
            unseen(&format!(
                "CREATE OR REPLACE TRIGGER {guard} INSERT OR UPDATE OR DELETE OR TRUNCATE ON {month}
                 FOR EACH STATEMENT EXECUTE FUNCTION quiet(); ALTER TABLE {month} ENABLE ALWAYS TRIGGER \"!audit_statement_guard\""
            )),
            "error", format!("trigger \"!audit_statement_guard\" on {month}"), "guards less", "",
        ),
        (
            unseen(&format!("CREATE TRIGGER more BEFORE INSERT ON {month} FOR EACH ROW EXECUTE FUNCTION quiet()")),
            "error", format!("trigger more on {month}"), "added", "",
        ),
        (
            unseen("CREATE RULE away AS ON INSERT TO audit.event DO INSTEAD NOTHING"),
            "error", "rule away on audit.event".into(), "added", "",
        ),
        (
            unseen("ALTER TABLE audit.event_default ADD CONSTRAINT narrow CHECK (action <> 'thing.created')"),
            "error", "constraint narrow on audit.event_default".into(), "added", "",
        ),
        (
            unseen("ALTER TABLE audit.event ADD CONSTRAINT once UNIQUE (occurred_at)"),
            "error", "constraint once on audit.event".into(), "added", "",
        ),
        (
            "CREATE UNIQUE INDEX \"Once\" ON audit.event (occurred_at) WHERE action = 'x'".into(),
            "error", "index audit.\"Once\"".into(), "unique", "",
        ),
        (
            unseen(&format!("CREATE TABLE above (LIKE audit.event); ALTER TABLE {month} SET (fillfactor = 100);
                             CREATE POLICY open ON {month} USING (true)")),
            "error", format!("policy open on {month}"), "added", "DROP TABLE above",
        ),
        (
            format!("DO $$ BEGIN EXECUTE (SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index
                     WHERE indrelid = '{month}'::regclass AND NOT indisprimary LIMIT 1); END $$"),
            "warning", format!("table {month}"), "lacks indexes", "",
        ),
        (
            unseen(&format!("ALTER TABLE {month} DROP CONSTRAINT {}_pkey", month.trim_start_matches("audit."))),
            "warning", format!("table {month}"), "no primary key", "",
        ),
        (
            "CREATE FUNCTION shows() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM audit.event; END".into(),
            "warning", "function public.shows()".into(), "SECURITY DEFINER", "DROP FUNCTION shows()",
        ),
    ] {
        cause_and_cure(&cluster, &(cause, severity, object, problem), also);
    }
}

#[test]
fn the_extensions_own_objects_are_told() {
    let (cluster, mut dba) = healthy("health_extension");
    let month = texts(&mut dba, "SELECT to_char(now(), '\"audit.event_\"YYYY_MM')").remove(0);
    let history = "audit.history(text,text,uuid,integer)";
    for (cause, severity, object, problem) in [
        (
            "CREATE OR REPLACE FUNCTION audit.guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'".to_owned(),
            "error", "function audit.guard()".to_owned(), "altered",
        ),
        (unseen(&format!("ALTER FUNCTION {history} SECURITY DEFINER")), "error", format!("function {history}"), "altered"),
        (
            unseen("CREATE OR REPLACE FUNCTION audit.health_of_tables(not_seen_for interval) RETURNS TABLE (severity text, object text, problem text, remedy text)
                    LANGUAGE sql AS $$ SELECT '', '', '', '' LIMIT 0 $$"),
            "error", "function audit.health_of_tables(interval)".into(), "altered",
        ),
        (
            unseen("CREATE OR REPLACE VIEW audit.tracked_table AS SELECT t.* FROM audit.tracked_table t WHERE false"),
            "error", "view audit.tracked_table".into(), "altered",
        ),
        (unseen("ALTER VIEW audit.project_log RESET (security_invoker)"), "error", "view audit.project_log".into(), "altered"),
        (unseen("ALTER POLICY configured ON audit.admin TO PUBLIC"), "error", "policy configured on audit.admin".into(), "altered"),
        (unseen("CREATE POLICY open ON audit.admin USING (true)"), "error", "policy open on audit.admin".into(), "added"),
        (
            unseen("CREATE OR REPLACE TRIGGER \"!audit_row\" AFTER INSERT ON audit.admin FOR EACH ROW EXECUTE FUNCTION audit.capture('{\"resource_type\": \"admin\"}')"),
            "error", "trigger \"!audit_row\" on audit.admin".into(), "altered",
        ),
        (unseen("DROP TRIGGER \"!audit_truncate\" ON audit.admin"), "error", "trigger \"!audit_truncate\" on audit.admin".into(), "missing"),
        (unseen("CREATE RULE away AS ON DELETE TO audit.admin DO INSTEAD NOTHING"), "error", "rule away on audit.admin".into(), "added"),
        (
            "SET audit.allow_destruction = on; ALTER EXTENSION audit DROP FUNCTION audit.history".into(),
            "error", format!("function {history}"), "missing",
        ),
        (
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1; ALTER EXTENSION audit ADD FUNCTION mine()".into(),
            "warning", "function public.mine()".into(), "added",
        ),
        (
            unseen("ALTER FUNCTION audit.guard() RENAME TO keeper"),
            "error",
            "function audit.guard()".into(),
            "is audit.keeper() now",
        ),
        ("ALTER EVENT TRIGGER audit_follow_ddl RENAME TO other".into(), "error", "event trigger audit_follow_ddl".into(), "has the name other"),
        (
            "SET audit.allow_destruction = on; ALTER EXTENSION audit DROP EVENT TRIGGER audit_before_rewrite; DROP EVENT TRIGGER audit_before_rewrite".into(),
            "error", "event trigger audit_before_rewrite".into(), "missing",
        ),
        // Owners.
        ("ALTER TABLE audit.admin OWNER TO plain".into(), "error", "table audit.admin".into(), "belongs to plain"),
        (format!("ALTER TABLE {month} OWNER TO plain"), "error", format!("table {month}"), "belongs to plain"),
        (format!("ALTER FUNCTION {history} OWNER TO plain"), "error", format!("function {history}"), "belongs to plain"),
        ("CREATE ROLE boss SUPERUSER; ALTER EVENT TRIGGER audit_follow_ddl OWNER TO boss".into(), "error", "event trigger audit_follow_ddl".into(), "belongs to boss"),
        // Grants.
        ("GRANT INSERT ON audit.event TO plain".into(), "warning", "table audit.event".into(), "INSERT granted to plain"),
        ("GRANT SELECT ON audit.event TO plain".into(), "info", "table audit.event".into(), "SELECT granted to plain"),
        (format!("GRANT SELECT ON {month} TO PUBLIC"), "warning", format!("table {month}"), "SELECT granted to PUBLIC"),
        ("GRANT SELECT (actor_id) ON audit.admin TO PUBLIC".into(), "warning", "table audit.admin".into(), "SELECT (actor_id) granted to PUBLIC"),
        ("GRANT CREATE ON SCHEMA audit TO \"odd \"\"role\"".into(), "warning", "schema audit".into(), "CREATE granted to \"odd \"\"role\""),
        (
            "GRANT EXECUTE ON FUNCTION audit.track TO plain".into(),
            "warning", "function audit.track(regclass,text,text[],text,text,jsonb,text[],text[],text[],boolean)".into(), "EXECUTE granted to plain",
        ),
        ("REVOKE EXECUTE ON FUNCTION audit.capture() FROM PUBLIC".into(), "warning", "function audit.capture()".into(), "EXECUTE revoked from PUBLIC"),
    ] {
        cause_and_cure(&cluster, &(cause, severity, object, problem), "");
    }
}

#[test]
fn roles_and_settings_are_told() {
    let (cluster, _dba) = healthy("health_roles");
    for (cause, severity, object, problem) in [
        (
            "REVOKE SET ON PARAMETER audit.actor_id FROM audit_writer",
            "warning",
            "role audit_writer",
            "may not set audit.actor_id",
        ),
        ("GRANT pg_execute_server_program TO plain", "warning", "role plain", "runs programs"),
        ("GRANT postgres TO plain", "info", "role plain", "member of superuser postgres"),
        (
            "CREATE ROLE app IN ROLE audit_writer; GRANT app TO plain WITH ADMIN OPTION",
            "warning",
            "role plain",
            "and so of audit_writer",
        ),
        ("ALTER ROLE audit_reader REPLICATION", "error", "role audit_reader", "can replicate"),
        (
            "ALTER DATABASE postgres SET row_security = off",
            "warning",
            "setting row_security of database postgres",
            "as in restores",
        ),
        (
            "ALTER ROLE plain SET audit.actor_id = 'u-1'",
            "warning",
            "setting audit.actor_id of role plain",
            "set for all sessions",
        ),
    ] {
        cause_and_cure(&cluster, &(cause.into(), severity, object.into(), problem), "");
    }
}

#[test]
fn an_owner_who_is_no_superuser_any_more_is_told() {
    let cluster = Cluster::temporary_with("health_owner", "session_preload_libraries = 'audit'");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute(
        "CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE \"Boss\" SUPERUSER;
         SET ROLE \"Boss\"; CREATE EXTENSION audit; RESET ROLE; CALL audit.maintain()",
    )
    .unwrap();
    let case = |how: &str| format!("ALTER ROLE \"Boss\" {how}");
    let problem = "owns the extension, but is no superuser";
    cause_and_cure(&cluster, &(case("NOSUPERUSER"), "error", "role \"Boss\"".into(), problem), "");
}

#[test]
fn months_are_told_by_their_bounds() {
    let cluster = Cluster::temporary_with(
        "health_months",
        "session_preload_libraries = 'audit'\ndatestyle = 'German'\ntimezone = 'Asia/Kolkata'",
    );
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute(
        "CREATE EXTENSION audit; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
         DO $$ BEGIN EXECUTE format('CREATE TABLE public.mine PARTITION OF audit.event FOR VALUES FROM (%L) TO (MAXVALUE)',
                                    date_trunc('month', now() - interval '2 months')); END $$;",
    )
    .unwrap();
    let rows = told(&cluster);
    assert!(rows.iter().all(|row| !row[2].contains("is not made")), "{rows:#?}");
    assert!(
        rows.iter().any(|row| row[1] == "table public.mine" && row[2].contains("no primary key")),
        "{rows:#?}"
    );
}

#[test]
fn settings_that_fit_no_more_are_told() {
    let (cluster, mut dba) = healthy("misfits");
    let function =
        "CREATE FUNCTION public.is_odd(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 1'";
    dba.batch_execute(&format!(
        "CREATE TABLE project (id int PRIMARY KEY, org text); {function};
         CREATE TABLE task (id int PRIMARY KEY, project_id int REFERENCES project);
         SELECT audit.track('project', 'project'), audit.track('task', 'task', organisation_id => 'project_id.org',
             actions => '{{\"rules\": [{{\"on\": \"insert\", \"if\": \"public.is_odd(new.id)\", \"action\": \"task.odd\"}}]}}')"
    ))
    .unwrap();
    assert!(told(&cluster).is_empty());
    for (cause, problem, cure) in [
        (
            "ALTER TABLE project DROP COLUMN org",
            "organisation_id: table public.project has no column \"org\"",
            "ALTER TABLE project ADD COLUMN org text",
        ),
        (
            "ALTER TABLE task DROP CONSTRAINT task_project_id_fkey",
            "organisation_id: column \"project_id\" of table public.task is in no foreign key",
            "ALTER TABLE task ADD FOREIGN KEY (project_id) REFERENCES project",
        ),
        (
            "ALTER TABLE task DROP CONSTRAINT task_pkey",
            "resource_id: table public.task has no primary key any more",
            "ALTER TABLE task ADD PRIMARY KEY (id)",
        ),
        (
            "DROP FUNCTION public.is_odd(int)",
            "actions.rules[0].if: function public.is_odd(integer) does not exist",
            function,
        ),
    ] {
        dba.batch_execute(&unseen(cause)).unwrap();
        let rows = told(&cluster);
        let [severity, object, said, _] = &rows[0];
        assert_eq!(
            (rows.len(), &**severity, &**object),
            (1, "error", "table public.task"),
            "{cause}: {rows:#?}"
        );
        assert_eq!(*said, format!("its settings fit it no more, and writes fail: {problem}"));
        cluster
            .connect("postgres", "postgres")
            .batch_execute("INSERT INTO task VALUES (1)")
            .expect_err(cause);
        dba.batch_execute(cure).unwrap();
        assert!(told(&cluster).is_empty(), "{cause}");
    }
}
