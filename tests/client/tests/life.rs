//! Dump and restore, installation and maintenance.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};

const CHECKSUM: &str =
    "SELECT count(*), coalesce(md5(string_agg(e::text, '|' ORDER BY event_id)), '') FROM audit.event e";
const TRACKING: &str = "SELECT string_agg(t::text, '|' ORDER BY target::text) FROM audit.tracked_table t";

/// A database with events in two months and in the catch-all.
fn with_events(label: &str) -> Database {
    let database = Database::create(label);
    database
        .connect()
        .batch_execute(
            r#"CREATE TABLE gone (id int);
               CREATE TABLE datasource (dropped text, id int PRIMARY KEY, name text, secret text, organisation_id text);
               ALTER TABLE datasource DROP dropped;
               SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id', mask => '{secret}',
                                  actions => '{"update": "datasource.edited"}');
               CREATE TABLE part (id int PRIMARY KEY, "Odd ""name""" text) PARTITION BY RANGE (id);
               CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
               SELECT audit.track('part', 'part', on_replica => true);
               -- A dump makes triggers before foreign keys, and of these first the one that does not lead on.
               CREATE TABLE area (id int PRIMARY KEY, organisation_id text);
               CREATE TABLE project (id int PRIMARY KEY, area_id int REFERENCES area);
               CREATE TABLE other (id int PRIMARY KEY);
               CREATE TABLE doc (id int PRIMARY KEY, project_id int CONSTRAINT a REFERENCES other CONSTRAINT b REFERENCES project);
               SELECT audit.track('doc', 'doc', organisation_id => 'project_id.area_id.organisation_id');
               INSERT INTO datasource SELECT n, 'name ' || n, 'pw', 'o1' FROM generate_series(1, 50) n;
               -- An old month, by way of the catch-all.
               INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, before_state)
               VALUES ('00000000-0000-7000-8000-000000000001', '2025-01-31 23:59:59.999999Z', '5', 'old.event', '{"a": "\"é\\n"}');
               CALL audit.maintain();
               UPDATE datasource SET name = 'other' WHERE id % 2 = 0;
               INSERT INTO part VALUES (1, 'x');
               INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
               VALUES ('00000000-0000-7000-8000-000000000002', '1999-12-31', '5', 'older.event'),
                      ('00000000-0000-7000-8000-000000000003', 'infinity', '5', 'odd.event');"#,
        )
        .unwrap();
    database
}

fn check_restored(target: &Cluster, name: &str, source: &Database) {
    let mut old = source.connect();
    let mut new = target.connect(name, "postgres");
    let row = |client: &mut postgres::Client| {
        let row = client.query_one(CHECKSUM, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, String>(1))
    };
    let (before, after) = (row(&mut old), row(&mut new));
    // Three tables tracked, the rows, and what was inserted into the log, twice, with an event of each.
    assert_eq!(before.0, 3 + 50 + 25 + 1 + (1 + 2) + 2);
    assert_eq!(before, after, "the same events, and none that the restore added");
    let text =
        |client: &mut postgres::Client, query| client.query_one(query, &[]).unwrap().get::<_, String>(0);
    assert_eq!(text(&mut old, TRACKING), text(&mut new, TRACKING));
    let layout = "SELECT string_agg(format('%s %s %s %s', c.oid::regclass, pg_get_expr(relpartbound, c.oid), relrowsecurity,
                                           (SELECT count(*) FROM pg_index WHERE indrelid = c.oid)), '|' ORDER BY c.oid::regclass::text)
                  FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'audit.event'::regclass";
    assert_eq!(text(&mut old, layout), text(&mut new, layout));
    let catalogue =
        "SELECT count(*) || md5(string_agg(c::text, '|' ORDER BY pattern)) FROM audit.catalogue c";
    assert_eq!(text(&mut old, catalogue), text(&mut new, catalogue));

    // Recording goes on, masked as before, and so do maintenance and the guards.
    new.batch_execute(
        "INSERT INTO area VALUES (1, 'o2'); INSERT INTO project VALUES (1, 1); INSERT INTO other VALUES (1); INSERT INTO doc VALUES (1, 1);
         UPDATE datasource SET secret = 'other' WHERE id = 1; DELETE FROM part; CALL audit.maintain();",
    )
    .unwrap();
    let organisation = "SELECT organisation_id FROM audit.event WHERE action = 'doc.created'";
    assert_eq!(text(&mut new, organisation), "o2");
    let events: Vec<(String, Option<String>)> = new
        .query("SELECT action, after_state ->> 'secret' FROM audit.event ORDER BY event_id DESC LIMIT 2", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(
        events,
        [("part.deleted".to_owned(), None), ("datasource.edited".to_owned(), Some("[masked]".to_owned()))]
    );
    for partition in ["event_2025_01", "event_default"] {
        for statement in [format!("TRUNCATE audit.{partition}"), format!("DELETE FROM audit.{partition}")] {
            let (code, ..) = refused(new.batch_execute(&statement));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
        }
    }
}

#[test]
fn a_plain_dump_restores_into_an_empty_cluster() {
    let source = with_events("dump");
    let script = Cluster::shared().run("pg_dump", &["-d", &source.name], None);
    let target = Cluster::temporary("restore");
    target.run(
        "psql",
        &["-Xq", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", "CREATE DATABASE copy"],
        None,
    );
    target.run("psql", &["-Xq", "-d", "copy", "-v", "ON_ERROR_STOP=1"], Some(&script));
    check_restored(&target, "copy", &source);
}

#[test]
fn an_archive_restores_in_parallel() {
    let source = with_events("archive");
    let file = std::env::temp_dir().join(format!("{}.dump", source.name));
    let path = file.to_str().unwrap();
    Cluster::shared().run("pg_dump", &["-Fc", "-f", path, "-d", &source.name], None);
    let copy = Database::create_empty("archive_copy");
    Cluster::shared().run("pg_restore", &["-j", "2", "--exit-on-error", "-d", &copy.name, path], None);
    std::fs::remove_file(&file).unwrap();
    check_restored(Cluster::shared(), &copy.name, &source);
}

#[test]
fn what_is_cluster_wide_is_in_the_globals() {
    let database = Database::create("globals");
    let app = database.role("app", &["audit_writer"]);
    let globals = Cluster::shared().run("pg_dumpall", &["-g"], None);
    for line in [
        "CREATE ROLE audit_admin;",
        "CREATE ROLE audit_writer;",
        "CREATE ROLE audit_reader;",
        "GRANT SET ON PARAMETER \"audit.actor_id\" TO audit_writer;",
        &format!("GRANT audit_writer TO {app}"),
    ] {
        assert!(globals.contains(line), "{line}\n{globals}");
    }
}

#[test]
fn installing_refuses_what_it_cannot_trust() {
    let database = Database::create_empty("install");
    let mut client = database.connect();
    client.batch_execute("CREATE SCHEMA audit").unwrap();
    let (code, message, hint) = refused(client.batch_execute("CREATE EXTENSION audit"));
    assert_eq!(code, SqlState::DUPLICATE_SCHEMA);
    assert_eq!(message, "schema \"audit\" already exists");
    assert!(hint.contains("RENAME"), "{hint}");
    client.batch_execute("DROP SCHEMA audit; CREATE EXTENSION audit").unwrap();
    let (code, ..) = refused(client.batch_execute("DROP SCHEMA audit CASCADE"));
    assert_eq!(code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 'thing'); INSERT INTO t VALUES (1);")
        .unwrap();
    let (code, _, hint) = refused(client.batch_execute("DROP EXTENSION audit CASCADE"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(hint.contains("audit.allow_destruction"), "{hint}");
    client.batch_execute("SET audit.allow_destruction = on").unwrap();
    let (code, ..) = refused(client.batch_execute("DROP EXTENSION audit"));
    assert_eq!(code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "tracked tables hold it");
    client.batch_execute("SELECT audit.untrack('t'); DROP EXTENSION audit; CREATE EXTENSION audit").unwrap();
}

#[test]
fn a_role_that_has_more_rights_than_its_purpose_takes_is_refused() {
    // Roles are the cluster's, so this needs a cluster of its own.
    let cluster = Cluster::temporary("roles");
    let mut client = cluster.connect("postgres", "postgres");
    client
        .batch_execute("CREATE ROLE audit_admin; CREATE ROLE audit_writer; CREATE ROLE audit_reader")
        .unwrap();
    client.batch_execute("CREATE ROLE \"its Parent\"; CREATE ROLE member IN ROLE audit_reader").unwrap();
    for role in ["audit_admin", "audit_writer", "audit_reader"] {
        for attribute in ["LOGIN", "SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"] {
            client.batch_execute(&format!("ALTER ROLE {role} {attribute}")).unwrap();
            let (code, message, hint) = refused(client.batch_execute("CREATE EXTENSION audit"));
            assert_eq!(code, SqlState::DUPLICATE_OBJECT);
            assert!(message.contains(role) && message.ends_with(attribute), "{message}");
            let remedy = format!("ALTER ROLE {role} NO{attribute}");
            assert_eq!(hint, format!("{remedy}; or rename it."));
            client.batch_execute(&remedy).unwrap();
        }
        for parent in ["audit_admin", "audit_writer", "audit_reader", "pg_read_all_data", "\"its Parent\""] {
            if parent == role {
                continue;
            }
            client.batch_execute(&format!("GRANT {parent} TO {role}")).unwrap();
            let (code, message, hint) = refused(client.batch_execute("CREATE EXTENSION audit"));
            assert_eq!(code, SqlState::DUPLICATE_OBJECT);
            assert!(message.contains(role) && message.ends_with(&format!("member of {parent}")), "{message}");
            let remedy = format!("REVOKE {parent} FROM {role}");
            assert_eq!(hint, format!("{remedy}; or rename it."));
            client.batch_execute(&remedy).unwrap();
        }
    }
    client
        .batch_execute(
            "ALTER ROLE audit_reader LOGIN CREATEDB; GRANT audit_admin, audit_writer TO audit_reader",
        )
        .unwrap();
    let (_, message, hint) = refused(client.batch_execute("CREATE EXTENSION audit"));
    assert!(message.ends_with("CREATEDB, LOGIN, member of audit_admin, member of audit_writer"), "{message}");
    client.batch_execute(hint.strip_suffix("; or rename it.").unwrap()).unwrap();
    client.batch_execute("CREATE EXTENSION audit").expect("members of the roles do no harm");
}

#[test]
fn every_object_has_a_comment() {
    let database = Database::create("comments");
    let bare: Vec<String> = database
        .connect()
        .query(
            "WITH member AS (
                 SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'audit'
             )
             SELECT pg_describe_object(classid, objid, 0) FROM member
             WHERE classid <> 'pg_type'::regclass AND obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) IS NULL
             UNION ALL
             SELECT pg_describe_object(classid, objid, attnum) FROM member JOIN pg_attribute ON attrelid = objid
             WHERE classid = 'pg_class'::regclass AND attnum > 0 AND NOT attisdropped
               AND objid <> 'audit.event_default'::regclass AND col_description(objid, attnum) IS NULL
             UNION ALL
             SELECT 'role ' || rolname FROM pg_roles
             WHERE rolname IN ('audit_admin', 'audit_writer', 'audit_reader') AND shobj_description(oid, 'pg_authid') IS NULL",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(bare.is_empty(), "without a comment: {bare:?}");
}

#[test]
fn maintenance_waits_for_no_lock_for_long() {
    let database = Database::create("waiting");
    let mut writer = database.connect();
    writer
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 'thing');
             BEGIN; INSERT INTO t VALUES (1)",
        )
        .unwrap();
    let mut dba = database.connect();
    dba.batch_execute("SET lock_timeout = '200ms'").unwrap();
    let (code, ..) = refused(dba.batch_execute("CALL audit.maintain()"));
    assert_eq!(code, SqlState::LOCK_NOT_AVAILABLE);
    // Whoever writes meanwhile waits no longer than that, and nothing is lost.
    writer.batch_execute("COMMIT").unwrap();
    dba.batch_execute("CALL audit.maintain()").unwrap();
    let mut reader = database.connect();
    let row = reader
        .query_one("SELECT count(*), count(*) FILTER (WHERE tableoid = 'audit.event_default'::regclass) FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 0));
    let timeout: String = dba.query_one("SHOW lock_timeout", &[]).unwrap().get(0);
    assert_eq!(timeout, "200ms");
}

#[test]
fn maintenance_beside_a_reader_and_a_writer_of_other_months() {
    let database = Database::create("beside");
    let mut dba = database.connect();
    dba.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 'thing'); CALL audit.maintain()",
    )
    .unwrap();
    dba.batch_execute(
        "INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
                       VALUES (gen_random_uuid(), '2025-03-01', '5', 'old.event')",
    )
    .unwrap();
    let mut writer = database.connect();
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    // The writer holds this month, not the catch-all.
    dba.batch_execute("SET lock_timeout = '5s'; CALL audit.maintain()").unwrap();
    writer.batch_execute("INSERT INTO t VALUES (2); COMMIT").unwrap();
    let moved: i64 = dba.query_one("SELECT count(*) FROM audit.event_2025_03", &[]).unwrap().get(0);
    assert_eq!(moved, 1);
    let events: i64 = dba
        .query_one("SELECT count(*) FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, 3);
}

#[test]
fn a_writer_that_waits_for_a_new_month_writes_into_it() {
    let database = Database::create("racing");
    let mut dba = database.connect();
    dba.batch_execute("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 'thing')").unwrap();
    let mut writer = database.connect();
    writer.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    // Inside a block, maintenance keeps the catch-all locked until it commits.
    dba.batch_execute("BEGIN; CALL audit.maintain()").unwrap();
    let waiting = std::thread::spawn(move || {
        writer.batch_execute("INSERT INTO t VALUES (2)").unwrap();
    });
    let mut watcher = database.connect();
    while watcher
        .query_one(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit.event_default'::regclass",
            &[],
        )
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        assert!(!waiting.is_finished(), "the writer did not wait");
        std::thread::yield_now();
    }
    dba.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap();
    let row = dba
        .query_one("SELECT count(*), count(*) FILTER (WHERE tableoid = 'audit.event_default'::regclass) FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 0));
}

#[test]
fn a_maintenance_admin_needs_no_superuser() {
    let database = Database::create("scheduler");
    let admin = database.role("admin", &["audit_admin"]);
    database.connect_as(&admin).batch_execute("CALL audit.maintain()").unwrap();
    let owners: Vec<String> = database
        .connect()
        .query(
            "SELECT DISTINCT relowner::regrole::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
             WHERE inhparent = 'audit.event'::regclass",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(owners, ["postgres"]);
}

#[test]
fn concurrent_maintenance_runs_wait_for_one_another() {
    let database = Database::create("concurrent");
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let mut client = database.connect();
            std::thread::spawn(move || client.batch_execute("CALL audit.maintain()"))
        })
        .collect();
    for run in runs {
        run.join().unwrap().unwrap();
    }
    let months: i64 = database
        .connect()
        .query_one("SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit.event'::regclass", &[])
        .unwrap()
        .get(0);
    assert_eq!(months, 1 + 4);
}

#[test]
fn maintenance_copes_with_what_it_finds() {
    let database = Database::create("odd");
    let mut client = database.connect();
    client
        .batch_execute(
            "CALL audit.maintain();
             INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
             VALUES (gen_random_uuid(), '294276-12-15', '1', 'far.future'), (gen_random_uuid(), '0044-03-15 BC', '1', 'far.past'),
                    (gen_random_uuid(), '2020-02-02', '1', 'past.month'), (gen_random_uuid(), now(), '1', 'this.month')",
        )
        .unwrap();
    let month: String =
        client.query_one("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')", &[]).unwrap().get(0);
    let detach = format!("ALTER TABLE audit.event DETACH PARTITION audit.event_{month}");
    assert_eq!(refused(client.batch_execute(&detach)).0, SqlState::INSUFFICIENT_PRIVILEGE);
    client.batch_execute("SET audit.allow_destruction = on").unwrap();
    client.batch_execute(&detach).unwrap();
    // It says so, and does the rest.
    let output = database.psql("CALL audit.maintain();");
    assert!(
        output.contains(&format!("WARNING:  audit.event_{month} is there, but is no partition")),
        "{output}"
    );
    let moved: i64 = client.query_one("SELECT count(*) FROM audit.event_2020_02", &[]).unwrap().get(0);
    assert_eq!(moved, 1);
    let first: String = client
        .query_one(&format!("SELECT min(occurred_at)::text FROM audit.event_{month}"), &[])
        .unwrap()
        .get(0);
    assert!(!first.is_empty());
}

#[test]
fn a_partition_that_is_no_table_is_an_error() {
    let database = Database::create("sub");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 't');
             -- Its event is this month's, and would be in the way.
             ALTER TABLE audit.event_default DISABLE TRIGGER \"!audit_statement_guard\"; TRUNCATE audit.event_default;
             CREATE TABLE audit.event_sub PARTITION OF audit.event FOR VALUES FROM ('2020-01-01') TO ('2100-01-01')
                 PARTITION BY LIST (organisation_id);
             CREATE TABLE audit.event_sub_sub PARTITION OF audit.event_sub DEFAULT",
        )
        .unwrap();
    let (code, message, hint) = refused(client.batch_execute("INSERT INTO t VALUES (1)"));
    assert_eq!(code, SqlState::WRONG_OBJECT_TYPE);
    assert!(message.contains("audit.event_sub") && !hint.is_empty());
}

#[test]
fn other_encodings() {
    for (encoding, name, value) in [
        ("EUC_JP", "\u{65e5}\u{672c}", "\u{8a9e}"),
        ("LATIN1", "pr\u{e9}nom", "\u{fc}"),
        ("UTF8", "\u{1f600}", "\u{1f600}"),
    ] {
        let database = Database::create_in_encoding(encoding);
        let mut client = database.connect();
        client
                .batch_execute(&format!(
                    r#"CREATE EXTENSION audit;
                       CREATE TABLE "{name}" (id int PRIMARY KEY, "{name}" text, open text, org text);
                       SELECT audit.track('"{name}"', 'thing', mask => '{{{name}}}', organisation_id => 'org');
                       INSERT INTO "{name}" VALUES (1, 'secret', '{value}', '{value}');
                       ALTER TABLE "{name}" RENAME org TO "o{name}";
                       ALTER TABLE "{name}" RENAME "{name}" TO "x{name}";
                       SELECT set_config('audit.actor_id', '{value}', false), set_config('audit.metadata', '{{"k": "{value}"}}', false);
                       UPDATE "{name}" SET open = 'other', "x{name}" = 'other secret';
                       SELECT audit.untrack('"{name}"');"#
                ))
                .unwrap_or_else(|error| panic!("{encoding}: {error}"));
        let rows = client
                .query("SELECT concat_ws(' ', table_name, organisation_id, actor_id, metadata, before_state, after_state) FROM audit.event
                        ORDER BY action LIKE 'audit.%', event_id", &[])
                .unwrap();
        let events: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let quoted = if name.is_ascii() { name.to_owned() } else { format!("\"{name}\"") };
        assert!(
            events[0].contains(&quoted) && events[0].contains(&format!("\"open\": \"{value}\"")),
            "{encoding}: {events:?}"
        );
        assert!(
            events[1].contains(&format!("{{\"k\": \"{value}\"}}")) && events[1].contains("[masked]"),
            "{encoding}: {events:?}"
        );
        assert!(!events.iter().any(|event| event.contains("secret")), "{events:?}");
        let (_, message, _) = refused(client.batch_execute(&format!(r#"SELECT audit.untrack('"{name}"')"#)));
        assert!(message.contains("is not tracked"), "{message}");
        let (_, message, _) =
            refused(client.batch_execute(&format!("SELECT audit.record('{value}.x', NULL, NULL)")));
        assert!(message.contains("is malformed"), "{message}");
        client
            .batch_execute(&format!(
                "SELECT audit.default_pattern('{value}'), audit.check_pattern('{value}')"
            ))
            .unwrap();
    }
}

#[test]
fn what_is_no_utf_8_is_told_of_where_the_database_does_not_say_what_it_is() {
    let database = Database::create_in_encoding("SQL_ASCII");
    let mut client = database.connect();
    client
        .batch_execute(
            r#"CREATE EXTENSION audit;
               CREATE TABLE plain (id int PRIMARY KEY, v text);
               SELECT audit.track('plain', 'plain');
               DO $$ BEGIN EXECUTE format('CREATE TABLE odd (id int PRIMARY KEY, %I text)', E'caf\351'); END $$"#,
        )
        .unwrap();
    for (call, shown) in [
        ("audit.track('odd', 'odd')", r"caf\xe9"),
        (r"audit.track('plain', E'caf\351')", r"caf\xe9"),
        (r"audit.record(E'a\351.b', 'thing', '1')", r"a\xe9.b"),
        (r"audit.check_health(E'\351')", r"\xe9"),
    ] {
        let (code, message, hint) = refused(client.batch_execute(&format!("SELECT {call}")));
        assert_eq!(code, SqlState::CHARACTER_NOT_IN_REPERTOIRE, "{call}: {message}");
        assert!(message.contains(shown) && hint.contains("UTF-8"), "{call}: {message} {hint}");
    }
    // Rows may hold anything.
    client.batch_execute(r"INSERT INTO plain VALUES (1, E'caf\351')").unwrap();
    assert_eq!(
        texts(&mut client, "SELECT action FROM audit.event WHERE resource_id = '1'"),
        ["plain.created"]
    );
}
