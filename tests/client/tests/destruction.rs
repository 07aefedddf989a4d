//! The log is append-only and stays where it is, for superusers, too, until they say otherwise; and that is recorded.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};

const HINT: &str = "audit.allow_destruction";

/// A database with an event in the catch-all and one in a month.
fn with_events(label: &str) -> (Database, postgres::Client, String) {
    let database = Database::create(label);
    let mut dba = database.connect();
    dba.batch_execute("SELECT audit.record('thing.seen', 'thing', '1'); CALL audit.maintain()").unwrap();
    dba.batch_execute(
        "INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
         VALUES ('00000000-0000-7000-8000-000000000000', 'epoch', '1', 'thing.restored')",
    )
    .unwrap();
    let month =
        dba.query_one("SELECT min(relname)::text FROM pg_class WHERE relname ~ '^event_[0-9]+_[0-9]+$'", &[]);
    let month = format!("audit.{}", month.unwrap().get::<_, String>(0));
    (database, dba, month)
}

#[test]
fn events_are_not_changed_whoever_tries_and_whether_there_are_any() {
    let (database, mut dba, month) = with_events("append");
    let tables = ["audit.event", "audit.event_default", &month];
    let role = database.role("strong", &["pg_write_all_data", "pg_read_all_data", "pg_read_server_files"]);
    dba.batch_execute(&format!("ALTER ROLE {role} BYPASSRLS")).unwrap();
    for table in tables {
        dba.batch_execute(&format!("GRANT ALL ON {table} TO {role}")).unwrap();
    }
    dba.batch_execute(&format!("GRANT USAGE ON SCHEMA audit TO {role}")).unwrap();
    let mut strong = database.connect_as(&role);
    for table in tables {
        for statement in [
            format!("UPDATE {table} SET action = 'a.b'"),
            format!("UPDATE {table} SET action = 'a.b' WHERE false"),
            format!("UPDATE ONLY {table} SET action = 'a.b' WHERE action = 'none.such'"),
            format!("DELETE FROM {table}"),
            format!("DELETE FROM {table} WHERE false"),
            format!("TRUNCATE {table}"),
            format!("MERGE INTO {table} e USING (VALUES (1)) v (x) ON true WHEN MATCHED THEN DELETE"),
            format!(
                "INSERT INTO {table} SELECT * FROM audit.event LIMIT 1
                 ON CONFLICT (event_id) DO UPDATE SET action = 'a.b'"
            ),
        ] {
            for mode in ["origin", "replica"] {
                dba.batch_execute(&format!("SET session_replication_role = {mode}")).unwrap();
                // The partitioned table has no key that ON CONFLICT could name.
                let (code, message, hint) = refused(dba.batch_execute(&statement));
                if code != SqlState::INVALID_COLUMN_REFERENCE {
                    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {message}");
                    assert_eq!(message, "the audit log is append-only", "{statement}");
                    assert!(!hint.is_empty());
                }
            }
            let (code, ..) = refused(strong.batch_execute(&statement));
            assert!(
                code == SqlState::INSUFFICIENT_PRIVILEGE || code == SqlState::INVALID_COLUMN_REFERENCE,
                "{statement}"
            );
        }
        dba.batch_execute("RESET session_replication_role").unwrap();
        let inserted = |insert: &str, result: Result<u64, postgres::Error>| {
            let (code, message, hint) = refused(result);
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{insert}: {message}");
            assert!(
                message == "events are not inserted" && hint.contains("audit.record"),
                "{insert}: {message}"
            );
        };
        for limit in [0, 1] {
            let insert = format!("INSERT INTO {table} SELECT * FROM audit.event LIMIT {limit}");
            inserted(&insert, strong.execute(&insert, &[]));
        }
        let copy = format!("COPY {table} FROM '/dev/null'");
        inserted(&copy, strong.execute(&copy, &[]));
    }
    let kept =
        texts(&mut dba, "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id");
    assert_eq!(kept, ["thing.restored", "thing.seen"]);
}

#[test]
fn nothing_of_the_trail_is_dropped_detached_or_rewritten() {
    let (database, mut dba, month) = with_events("keep");
    let other = database.role("other", &[]);
    dba.batch_execute(&format!("ALTER ROLE {other} SUPERUSER; ALTER EXTENSION audit UPDATE")).unwrap();
    for statement in [
        "DROP EXTENSION audit".to_owned(),
        "DROP EXTENSION IF EXISTS plpgsql, audit CASCADE".into(),
        "DROP SCHEMA audit CASCADE".into(),
        "DROP OWNED BY postgres CASCADE".into(),
        "DROP OWNED BY CURRENT_USER".into(),
        "DROP TABLE audit.event CASCADE".into(),
        "DROP TABLE audit.event_default".into(),
        format!("DROP TABLE {month}"),
        format!("SET search_path = audit; DROP TABLE {}", month.trim_start_matches("audit.")),
        format!("ALTER TABLE audit.event DETACH PARTITION {month}"),
        "ALTER TABLE audit.event DETACH PARTITION audit.event_default".into(),
        format!("ALTER TABLE audit.event DETACH PARTITION {month} CONCURRENTLY"),
        format!("ALTER TABLE audit.event DETACH PARTITION {month} FINALIZE"),
        "ALTER TABLE audit.event DROP COLUMN metadata CASCADE".into(),
        "ALTER TABLE audit.event RENAME COLUMN metadata TO other".into(),
        "ALTER TABLE audit.event_default DROP CONSTRAINT event_default_pkey".into(),
        format!("ALTER TABLE {month} SET UNLOGGED"),
        format!("ALTER TABLE {month} SET ACCESS METHOD heap, ALTER application_name TYPE varchar(3)"),
        "ALTER EXTENSION audit DROP TABLE audit.event_default".into(),
        "ALTER EXTENSION audit DROP EVENT TRIGGER audit_follow_ddl".into(),
        "DROP EVENT TRIGGER audit_before_ddl".into(),
        "DROP FUNCTION audit.guard() CASCADE".into(),
        "DROP VIEW audit.tracked_table".into(),
        "DO $$ BEGIN EXECUTE 'DROP EXTENSION audit'; END $$".into(),
        "SET session_replication_role = replica; DROP EXTENSION audit".into(),
    ] {
        let (code, message, hint) = refused(dba.batch_execute(&statement));
        // Some PostgreSQL refuses itself: a member of the extension, a column that others use, a default partition.
        let ours = code == SqlState::INSUFFICIENT_PRIVILEGE && hint.contains(HINT);
        let postgres = [
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            SqlState::INVALID_TABLE_DEFINITION,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ];
        assert!(ours || postgres.contains(&code), "{statement}: {code:?} {message} {hint}");
    }
    dba.batch_execute("RESET ALL").unwrap();
    let names =
        texts(&mut dba, "SELECT action FROM audit.event WHERE action LIKE 'thing.%' ORDER BY event_id");
    assert_eq!(names, ["thing.restored", "thing.seen"]);
    let told = texts(
        &mut dba,
        "SELECT action FROM audit.event WHERE action = 'audit.guard.disabled' AND resource_type = 'setting'",
    );
    assert!(told.is_empty(), "what is refused leaves no event");
}

#[test]
fn the_extension_of_another_superuser_is_kept_too() {
    let database = Database::create_empty("owned");
    let other = database.role("other", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!("ALTER ROLE {other} SUPERUSER")).unwrap();
    database.connect_as(&other).batch_execute("CREATE EXTENSION audit").unwrap();
    for statement in [format!("DROP OWNED BY {other} CASCADE"), format!("DROP OWNED BY postgres, {other}")] {
        let (code, message, hint) = refused(dba.batch_execute(&statement));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {message}");
        assert!(hint.contains(HINT));
    }
    dba.batch_execute(&format!("SET audit.allow_destruction = on; DROP OWNED BY {other} CASCADE")).unwrap();
    let left: i64 =
        dba.query_one("SELECT count(*) FROM pg_extension WHERE extname = 'audit'", &[]).unwrap().get(0);
    assert_eq!(left, 0);
}

#[test]
fn only_a_superusers_session_allows_destruction() {
    let (database, mut dba, month) = with_events("allow");
    let role = database.role("granted", &[]);
    for statement in [
        format!("ALTER DATABASE {} SET audit.allow_destruction = on", database.name),
        format!("ALTER ROLE {role} SET audit.allow_destruction = on"),
        "ALTER SYSTEM SET audit.allow_destruction = on".into(),
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SET audit.allow_destruction = on RETURN 1"
            .into(),
    ] {
        let (code, message, _) = refused(dba.batch_execute(&statement));
        let expected = [SqlState::INVALID_PARAMETER_VALUE, SqlState::CANT_CHANGE_RUNTIME_PARAM];
        assert!(expected.contains(&code), "{statement}: {code:?} {message}");
    }
    // Who is no superuser gains nothing by the right to set it.
    dba.batch_execute(&format!("GRANT SET ON PARAMETER audit.allow_destruction TO {role}")).unwrap();
    dba.batch_execute(&format!(
        "CREATE TABLE public.mine (LIKE audit.event_default); ALTER TABLE public.mine OWNER TO {role};
         ALTER TABLE audit.event ATTACH PARTITION public.mine FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')"
    ))
    .unwrap();
    let mut client = database.connect_as(&role);
    client.batch_execute("SET audit.allow_destruction = on").unwrap();
    let (code, _, hint) = refused(client.batch_execute("DROP TABLE public.mine"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(hint.contains(HINT), "{hint}");
    dba.batch_execute(&format!("REVOKE SET ON PARAMETER audit.allow_destruction FROM {role}")).unwrap();

    dba.batch_execute(&format!(
        "SET audit.allow_destruction = on;
         ALTER TABLE audit.event DETACH PARTITION {month};
         DROP TABLE public.mine;
         ALTER TABLE {month} ALTER application_name TYPE varchar(64);
         SET audit.allow_destruction = off;"
    ))
    .unwrap();
    let told = texts(
        &mut dba,
        "SELECT concat_ws(' ', resource_id, metadata ->> 'reason', db_role) FROM audit.event
         WHERE action = 'audit.guard.disabled' AND resource_type = 'setting' ORDER BY event_id",
    );
    assert_eq!(
        told,
        [
            format!("audit.allow_destruction {month} was dropped, detached or rewritten postgres"),
            "audit.allow_destruction public.mine was dropped, detached or rewritten postgres".into(),
        ]
    );
    // What was detached is a table like others.
    dba.batch_execute(&format!("DROP TABLE {month}")).unwrap();
}

#[test]
fn the_servers_log_keeps_what_the_audit_log_cannot() {
    let cluster = Cluster::temporary("destroyed");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute("CREATE EXTENSION audit").unwrap();
    // Whoever switches a guard off can take the event of it away; not that of switching it on again.
    for command in [
        "ALTER TABLE audit.event_default DISABLE TRIGGER \"!audit_statement_guard\"",
        "TRUNCATE audit.event_default",
        "ALTER TABLE audit.event_default ENABLE ALWAYS TRIGGER \"!audit_statement_guard\"",
    ] {
        dba.batch_execute(command).unwrap();
    }
    assert_eq!(texts(&mut dba, "SELECT action FROM audit.event"), ["audit.guard.enabled"]);
    dba.batch_execute("SET audit.allow_destruction = on").unwrap();
    dba.batch_execute("DROP EXTENSION audit").unwrap();
    let log = std::fs::read_to_string(format!("{}/server.log", cluster.socket())).unwrap();
    assert!(
        log.contains("audit.guard.disabled: table audit.event_default: trigger !audit_statement_guard"),
        "{log}"
    );
    assert!(log.contains("extension audit is dropped or detached: audit.allow_destruction is on"), "{log}");
    // The session goes on with another extension of that name.
    dba.batch_execute("CREATE EXTENSION audit; CREATE TABLE t (); DROP TABLE t").unwrap();
    dba.batch_execute("DROP EXTENSION audit; CREATE EXTENSION audit; CREATE TABLE t (); DROP TABLE t")
        .unwrap();
}

#[test]
fn what_a_function_catches_does_not_hide_the_command_around_it() {
    let (_database, mut dba, _) = with_events("caught");
    dba.batch_execute(
        "CREATE TABLE public.other (a int);
         CREATE FUNCTION public.catches() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             BEGIN
                 ALTER TABLE public.other RENAME a TO b;
             EXCEPTION WHEN OTHERS THEN NULL; END;
             RETURN true;
         END $$",
    )
    .unwrap();
    let (code, message, hint) = refused(dba.batch_execute(
        "ALTER TABLE audit.event_default DROP CONSTRAINT event_default_pkey, ADD CONSTRAINT c CHECK (public.catches())",
    ));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{message}");
    assert!(hint.contains(HINT), "{hint}");
}

/// What a superuser may hang on the log, for `audit.maintain` to run while it moves events, and how to take it down; whether the
/// move fails for it.
const RIDERS: [(&str, &str, bool); 7] = [
    (
        "CREATE TRIGGER z AFTER DELETE ON audit.event_default FOR EACH STATEMENT EXECUTE FUNCTION public.fires()",
        "DROP TRIGGER z ON audit.event_default",
        false,
    ),
    // It comes before the guard.
    (
        r#"CREATE TRIGGER "!a" BEFORE DELETE ON audit.event_default EXECUTE FUNCTION public.fires()"#,
        r#"DROP TRIGGER "!a" ON audit.event_default"#,
        false,
    ),
    (
        r#"CREATE TRIGGER "!a" BEFORE DELETE ON audit.event_default FOR EACH ROW EXECUTE FUNCTION public.fires();
           ALTER TABLE audit.event_default ENABLE ALWAYS TRIGGER "!a""#,
        r#"DROP TRIGGER "!a" ON audit.event_default"#,
        false,
    ),
    (
        "CREATE EVENT TRIGGER rider ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.comes_along()",
        "DROP EVENT TRIGGER rider",
        false,
    ),
    (
        "CREATE RULE r AS ON DELETE TO audit.event_default DO ALSO SELECT public.holds()",
        "DROP RULE r ON audit.event_default",
        false,
    ),
    (
        "ALTER TABLE audit.event_default ADD CONSTRAINT c CHECK (public.tries()) NOT VALID",
        "ALTER TABLE audit.event_default DROP CONSTRAINT c",
        false,
    ),
    (
        "ALTER TABLE audit.event_default ADD CONSTRAINT c CHECK (public.holds()) NOT VALID",
        "ALTER TABLE audit.event_default DROP CONSTRAINT c",
        true,
    ),
];

#[test]
fn nothing_rides_along_when_maintenance_moves_events() {
    let (_database, mut dba, _) = with_events("riders");
    dba.batch_execute(
        "CREATE TABLE public.tried (code text);
         CREATE FUNCTION public.holds() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             DELETE FROM audit.event_default; UPDATE audit.event SET actor_id = 'framed'; DELETE FROM audit.event; RETURN true;
         END $$;
         CREATE FUNCTION public.tries() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM public.holds();
             RETURN true;
         EXCEPTION WHEN OTHERS THEN
             INSERT INTO public.tried VALUES (SQLSTATE || ': ' || SQLERRM);
             RETURN true;
         END $$;
         CREATE FUNCTION public.fires() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF pg_trigger_depth() = 1 THEN PERFORM public.holds(); END IF; RETURN NULL; END $$;
         CREATE FUNCTION public.frames() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.actor_id := 'framed'; RETURN NEW; END $$;
         CREATE FUNCTION public.comes_along() RETURNS event_trigger LANGUAGE plpgsql AS $$
         DECLARE
             month text;
         BEGIN
             FOR month IN SELECT object_identity FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' LOOP
                 EXECUTE format('CREATE TRIGGER a BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.frames()', month);
             END LOOP;
         END $$",
    )
    .unwrap();
    let all = "SELECT e::text FROM audit.event e WHERE action LIKE 'thing.%' ORDER BY event_id";
    for (year, (rider, end, fails)) in (1971..).zip(RIDERS) {
        dba.execute(
            "INSERT INTO audit.event_default (event_id, occurred_at, transaction_id, action, after_state)
             VALUES (gen_random_uuid(), make_date($1, 1, 1), '1', 'thing.restored',
                     jsonb_build_object('long', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n)))",
            &[&year],
        )
        .unwrap();
        let before = texts(&mut dba, all);
        dba.batch_execute(rider).unwrap_or_else(|error| panic!("{rider}: {error}"));
        let maintained = dba.batch_execute("CALL audit.maintain()");
        dba.batch_execute(end).unwrap_or_else(|error| panic!("{end}: {error}"));
        assert_eq!(texts(&mut dba, all), before, "{rider}");
        if fails {
            let (code, message, hint) = refused(maintained);
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{message}");
            assert!(message == "the audit log is append-only" && !hint.is_empty(), "{message}");
        } else {
            maintained.unwrap_or_else(|error| panic!("{rider}: {error:?}"));
            let left = "SELECT action FROM audit.event_default";
            assert!(texts(&mut dba, left).is_empty(), "{rider}");
        }
    }
    assert_eq!(texts(&mut dba, "SELECT code FROM public.tried"), ["42501: the audit log is append-only"]);
    // The key would not find what moved.
    dba.batch_execute("CREATE TABLE public.refers (event uuid REFERENCES audit.event_default)").unwrap();
    let (code, _, hint) = refused(dba.batch_execute("CALL audit.maintain()"));
    assert_eq!(code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    assert!(hint.contains("foreign key"), "{hint}");
    dba.batch_execute("DROP TABLE public.refers").unwrap();
    dba.batch_execute("CALL audit.maintain()").unwrap();
    assert!(texts(&mut dba, "SELECT action FROM audit.event_default").is_empty());
}

#[test]
fn event_triggers_of_others_do_nothing_in_the_shadow_of_the_extensions_own_commands() {
    let database = Database::create("shadow");
    let mut dba = database.connect();
    dba.batch_execute(
        r#"CREATE FUNCTION public.edits() RETURNS event_trigger LANGUAGE plpgsql AS $$
           BEGIN
               ALTER TABLE audit.event_default DISABLE TRIGGER ALL;
               DELETE FROM audit.event_default WHERE action = 'thing.seen';
               ALTER TABLE audit.event_default ENABLE TRIGGER ALL;
           END $$;
           SELECT audit.record('thing.seen', 'thing', '1');
           CREATE TABLE public.t (id int PRIMARY KEY);
           CREATE EVENT TRIGGER rider ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TRIGGER', 'CREATE FUNCTION')
               EXECUTE FUNCTION public.edits()"#,
    )
    .unwrap();
    // What the extension does for its callers fires nobody's event triggers.
    dba.batch_execute("SELECT audit.track('public.t', 't'); CALL audit.maintain()").unwrap();
    let seen = "SELECT action FROM audit.event WHERE action IN ('thing.seen', 'audit.guard.disabled')";
    assert_eq!(texts(&mut dba, seen), ["thing.seen"]);
    dba.batch_execute(
        "INSERT INTO public.t VALUES (1); ALTER TABLE public.t RENAME id TO key; DELETE FROM public.t",
    )
    .unwrap();
    assert_eq!(texts(&mut dba, "SELECT resource_id FROM audit.event WHERE action = 't.deleted'"), ["1"]);
    // Another extension's script is no excuse.
    dba.batch_execute("CREATE EXTENSION hstore").unwrap();
    assert!(texts(&mut dba, seen).iter().any(|action| action == "audit.guard.disabled"));
}
