//! Who may do what, over connections of real roles.

use audit_client_tests::{Cluster, Database, SqlState, refused};

fn tracked(label: &str) -> Database {
    let database = Database::create(label);
    database
        .connect()
        .batch_execute(
            "CREATE TABLE datasource (id int PRIMARY KEY, name text);
             SELECT audit.track('datasource', 'datasource');
             GRANT ALL ON datasource TO PUBLIC;",
        )
        .unwrap();
    database
}

#[test]
fn a_plain_role_writes_and_its_events_say_who() {
    let database = tracked("plain");
    let app = database.role("app", &[]);
    let other = database.role("other", &[]);
    database.connect().batch_execute(&format!("GRANT {other} TO {app}")).unwrap();
    let mut client = database.connect_as(&app);
    client.batch_execute("INSERT INTO datasource VALUES (1, 'a')").unwrap();
    client.batch_execute(&format!("SET ROLE {other}; UPDATE datasource SET name = 'b'")).unwrap();
    let events: Vec<(String, String, Option<String>)> = database
        .connect()
        .query("SELECT session_role, db_role, actor_id FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(events, [(app.clone(), app.clone(), None), (app, other, None)]);
}

#[test]
fn a_renamed_role_is_called_by_its_new_name() {
    let database = tracked("renamed");
    let app = database.role("app", &[]);
    let mut client = database.connect_as(&app);
    client.batch_execute("INSERT INTO datasource VALUES (1, 'a')").unwrap();
    database.connect().batch_execute(&format!("ALTER ROLE {app} RENAME TO {app}_2")).unwrap();
    client.batch_execute("INSERT INTO datasource VALUES (2, 'b')").unwrap();
    let roles: Vec<String> = database
        .connect()
        .query("SELECT session_role FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(roles, [app.clone(), format!("{app}_2")]);
}

#[test]
fn a_definer_function_does_not_hide_the_caller() {
    let database = tracked("definer");
    let app = database.role("app", &[]);
    database
        .connect()
        .batch_execute(
            "CREATE FUNCTION add() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS 'INSERT INTO public.datasource VALUES (1)'",
        )
        .unwrap();
    database.connect_as(&app).batch_execute("SELECT add()").unwrap();
    let row = database
        .connect()
        .query_one("SELECT session_role, db_role FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, String>(1)), (app.clone(), app));
}

#[test]
fn only_audit_writer_names_an_actor() {
    let database = tracked("actor");
    let writer = database.role("writer", &["audit_writer"]);
    let plain = database.role("plain", &["audit_admin", "audit_reader"]);
    let set =
        "SELECT set_config('audit.actor_id', 'u-1', true), set_config('audit.actor_type', 'user', true),
                      set_config('audit.metadata', '{\"request_id\": 7}', true)";
    let mut client = database.connect_as(&writer);
    client.batch_execute(&format!("BEGIN; {set}; INSERT INTO datasource VALUES (1); COMMIT")).unwrap();
    client.batch_execute("INSERT INTO datasource VALUES (2)").unwrap();
    let rows = database
        .connect()
        .query("SELECT actor_id, actor_type, metadata FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id", &[])
        .unwrap();
    assert_eq!(rows[0].get::<_, Option<String>>(0).as_deref(), Some("u-1"));
    assert_eq!(rows[0].get::<_, Option<String>>(1).as_deref(), Some("user"));
    assert_eq!(rows[0].get::<_, serde_json::Value>(2), serde_json::json!({"request_id": 7}));
    assert_eq!(rows[1].get::<_, Option<String>>(0), None, "SET LOCAL ends with its transaction");

    // Before the library is loaded, after it, through connection options and through the role's settings.
    let attempts = [
        "SET audit.actor_id = 'u-2'",
        "SET LOCAL audit.actor_id = 'u-2'",
        "SELECT set_config('audit.actor_id', 'u-2', false)",
    ];
    for attempt in attempts {
        for load in ["", "LOAD 'audit';", "SELECT audit_match('a.b', '*');"] {
            let mut client = database.connect_as(&plain);
            let _ = client.batch_execute(load);
            let _ = client.batch_execute(attempt);
            client.batch_execute("DELETE FROM datasource; INSERT INTO datasource VALUES (3)").unwrap();
        }
    }
    if let Ok(mut client) = Cluster::shared().try_connect(&database.name, &plain, "-c audit.actor_id=u-2") {
        client.batch_execute("DELETE FROM datasource; INSERT INTO datasource VALUES (3)").unwrap();
    }
    let mut client = database.connect_as(&plain);
    let _ = client.batch_execute(&format!("ALTER ROLE {plain} SET audit.actor_id = 'u-2'"));
    if let Ok(mut client) = Cluster::shared().try_connect(&database.name, &plain, "") {
        client.batch_execute("DELETE FROM datasource; INSERT INTO datasource VALUES (3)").unwrap();
    }
    let forged: i64 = database
        .connect()
        .query_one("SELECT count(*) FROM audit.event WHERE actor_id = 'u-2'", &[])
        .unwrap()
        .get(0);
    assert_eq!(forged, 0);
}

#[test]
fn settings_refuse_what_is_malformed() {
    let database = tracked("malformed");
    let mut client = database.connect();
    client.batch_execute("LOAD 'audit'").unwrap();
    for (set, hint) in [
        ("SET audit.actor_type = 'robot'", "'system'"),
        ("SET audit.metadata = 'request 7'", "JSON object"),
        (r#"SET audit.metadata = '{"a": "\u0000"}'"#, "JSON object"),
        (r#"SET audit.metadata = '{"a": 1e-99999}'"#, "JSON object"),
        ("SET audit.metadata = '5'", "JSON object"),
        ("SET audit.actor_identity = 'x'", ""),
    ] {
        let (_, _, given) = refused(client.batch_execute(set));
        assert!(given.contains(hint), "{set}: {given}");
    }
}

#[test]
fn require_actor_refuses_a_write_without_one() {
    let database = tracked("require");
    let mut client = database.connect();
    client.batch_execute("LOAD 'audit'; SET audit.require_actor = on").unwrap();
    let (code, _, hint) = refused(client.batch_execute("INSERT INTO datasource VALUES (1)"));
    assert_eq!(code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(hint.contains("set_config('audit.actor_id'"));
    client.batch_execute("SET audit.actor_id = 'u-1'; INSERT INTO datasource VALUES (1)").unwrap();
    let rows: i64 = client.query_one("SELECT count(*) FROM datasource", &[]).unwrap().get(0);
    assert_eq!(rows, 1);
}

#[test]
fn nobody_reads_or_edits_the_log_by_the_side_door() {
    let database = tracked("side");
    let mut owner = database.connect();
    owner
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA audit GRANT ALL ON TABLES TO PUBLIC;
             INSERT INTO datasource VALUES (1); CALL audit.maintain(); INSERT INTO datasource VALUES (2);",
        )
        .unwrap();
    let reader = database.role("reader", &["audit_reader", "pg_read_all_data"]);
    let mut client = database.connect_as(&reader);
    let partitions: Vec<String> = owner
        .query(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit.event'::regclass",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(partitions.len() >= 5);
    for table in partitions.iter().map(String::as_str).chain(["audit.event"]) {
        let seen: i64 = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0);
        assert_eq!(seen, 0, "{table}");
    }

    let hostile =
        database.role("hostile", &["audit_admin", "audit_writer", "audit_reader", "pg_write_all_data"]);
    let mut client = database.connect_as(&hostile);
    for table in partitions.iter().map(String::as_str).chain(["audit.event"]) {
        for statement in [
            format!(
                "INSERT INTO {table} (event_id, occurred_at, transaction_id, action)
                     VALUES (gen_random_uuid(), now(), '1', 'a.b')"
            ),
            format!("TRUNCATE {table}"),
            format!("CREATE INDEX ON {table} (action)"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
        ] {
            let (code, message, _) = refused(client.batch_execute(&statement));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {message}");
        }
        for statement in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET action = 'a.b'")] {
            // Row-level security shows such a role no row to change.
            if let Err(error) = client.batch_execute(&statement) {
                assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
            }
        }
        for statement in [
            format!("DELETE FROM {table} WHERE true"),
            format!("UPDATE {table} SET action = 'a.b'"),
            format!("TRUNCATE {table}"),
        ] {
            for role in ["origin", "replica"] {
                owner.batch_execute(&format!("SET session_replication_role = {role}")).unwrap();
                let (code, ..) = refused(owner.execute(&statement, &[]));
                assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
            }
            owner.batch_execute("RESET session_replication_role").unwrap();
        }
    }
    let kept: i64 = owner.query_one("SELECT count(*) FROM audit.event", &[]).unwrap().get(0);
    assert_eq!(kept, 3, "two rows, and that they are tracked");
}

#[test]
fn configuring_needs_audit_admin_and_the_table() {
    let database = tracked("configure");
    let admin = database.role("admin", &["audit_admin"]);
    let plain = database.role("plain", &["audit_writer", "audit_reader"]);
    let mut owner = database.connect();
    owner
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {admin}, {plain};
             GRANT USAGE ON SCHEMA audit TO {plain};"
        ))
        .unwrap();
    let mut client = database.connect_as(&admin);
    let (code, message, hint) =
        refused(client.batch_execute("SELECT audit.track('datasource', 'datasource')"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(message.contains("owner of table public.datasource") && !hint.is_empty(), "{message}");
    let (code, ..) = refused(client.batch_execute("SELECT audit.untrack('datasource')"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    client
        .batch_execute("CREATE TABLE mine (id int PRIMARY KEY); SELECT audit.track('mine', 'thing'); INSERT INTO mine VALUES (1)")
        .unwrap();

    let mut client = database.connect_as(&plain);
    client.batch_execute("CREATE TABLE own (id int PRIMARY KEY)").unwrap();
    for statement in [
        "SELECT audit.track('own', 'thing')",
        "SELECT audit.untrack('own')",
        "CALL audit.maintain()",
        "CREATE TRIGGER t AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION audit.capture('{\"resource_type\": \"x\"}')",
    ] {
        let (code, message, _) = refused(client.batch_execute(statement));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {message}");
    }
    // Writing is not reading or configuring, and neither of them is writing.
    let mut client = database.connect_as(&admin);
    let (code, ..) = refused(client.batch_execute("SELECT audit.record('a.b', NULL, NULL)"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    let (code, ..) = refused(client.batch_execute("SELECT * FROM audit.event"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    // What an owner does to a renamed column goes on working without rights of its own on the trigger.
    client.batch_execute("ALTER TABLE mine RENAME id TO key; INSERT INTO mine VALUES (2)").unwrap();
    let events: i64 = owner
        .query_one("SELECT count(*) FROM audit.event WHERE action = 'thing.created'", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, 2);
}

#[test]
fn record_is_for_the_writer() {
    let database = Database::create("record");
    let writer = database.role("writer", &["audit_writer"]);
    let mut client = database.connect_as(&writer);
    client.batch_execute("SET audit.metadata = '{\"request_id\": 1, \"ip\": \"::1\"}'").unwrap();
    let id: uuid::Uuid = client
        .query_one(
            "SELECT audit.record('organisation.user.logged-in', 'user', 'u-1', 'o-1', metadata => '{\"ip\": \"::2\"}')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(id.get_version_num(), 7);
    let row = database
        .connect()
        .query_one("SELECT event_id, resource_id, organisation_id, project_id, metadata, table_name FROM audit.event", &[])
        .unwrap();
    assert_eq!(row.get::<_, uuid::Uuid>(0), id);
    assert_eq!(row.get::<_, String>(1), "u-1");
    assert_eq!(row.get::<_, String>(2), "o-1");
    assert_eq!(row.get::<_, Option<String>>(3), None);
    assert_eq!(row.get::<_, serde_json::Value>(4), serde_json::json!({"request_id": 1, "ip": "::2"}));
    assert_eq!(row.get::<_, Option<String>>(5), None);
    for (action, code) in [
        ("'audit.tracking.disabled'", SqlState::RESERVED_NAME),
        ("'Login'", SqlState::INVALID_NAME),
        ("'login'", SqlState::INVALID_NAME),
        ("NULL", SqlState::NULL_VALUE_NOT_ALLOWED),
    ] {
        let (given, _, hint) =
            refused(client.batch_execute(&format!("SELECT audit.record({action}, 'user', 'u-1')")));
        assert_eq!(given, code);
        assert!(!hint.is_empty());
    }
}

#[test]
fn a_client_cannot_switch_require_actor_off() {
    let database = tracked("require_off");
    let plain = database.role("plain", &[]);
    let mut owner = database.connect();
    owner
        .batch_execute(&format!(
            "ALTER DATABASE {0} SET session_preload_libraries = 'audit'; ALTER DATABASE {0} SET audit.require_actor = on",
            database.name
        ))
        .unwrap();
    for options in ["-c audit.require_actor=off", "-c audit.require_actor=on", "-c AUDIT.Require_Actor=off"] {
        let refused = match Cluster::shared().try_connect(&database.name, &plain, options) {
            Ok(mut client) => client.batch_execute("INSERT INTO datasource VALUES (1)").is_err(),
            Err(_) => true,
        };
        assert!(refused, "{options}");
    }
    let mut client = database.connect_as(&plain);
    assert!(client.batch_execute("SET audit.require_actor = off").is_err());
    let (code, ..) = refused(client.batch_execute("INSERT INTO datasource VALUES (1)"));
    assert_eq!(code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    owner.batch_execute(&format!("ALTER DATABASE {} RESET ALL", database.name)).unwrap();
}

#[test]
fn nothing_in_the_schema_is_anybodys_by_default() {
    let database = Database::create_empty("defaults");
    let other = database.role("other", &[]);
    let all = database.role("all", &["pg_write_all_data", "audit_reader"]);
    let mut owner = database.connect();
    owner
        .batch_execute(&format!(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {other}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {other};
             ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {other}; CREATE EXTENSION audit; CALL audit.maintain()"
        ))
        .unwrap();
    let mut client = database.connect_as(&other);
    for statement in [
        "CREATE TABLE audit.event_2099_01 (x int)",
        "SELECT * FROM audit.event",
        "SELECT audit.record('a.b', NULL, NULL)",
    ] {
        let (code, ..) = refused(client.batch_execute(statement));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    let granted: i64 = owner
        .query_one(
            "SELECT (SELECT count(*) FROM pg_class c, aclexplode(relacl) a WHERE relnamespace = 'audit'::regnamespace AND a.grantee = $1::text::regrole)
                  + (SELECT count(*) FROM pg_proc p, aclexplode(proacl) a WHERE pronamespace = 'audit'::regnamespace AND a.grantee = $1::text::regrole)",
            &[&other],
        )
        .unwrap()
        .get(0);
    assert_eq!(granted, 0);
    let mut client = database.connect_as(&all);
    let (code, ..) = refused(client.batch_execute("INSERT INTO audit.catalogue VALUES ('a.b', 'x')"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    let rows: i64 = client.query_one("SELECT count(*) FROM audit.catalogue", &[]).unwrap().get(0);
    assert_eq!(rows, 67);
    owner.batch_execute(&format!("DROP OWNED BY {other}")).unwrap();
}

#[test]
fn record_is_a_write() {
    let database = Database::create("read_only");
    let mut client = database.connect();
    let (code, ..) = refused(client.batch_execute("BEGIN READ ONLY; SELECT audit.record('a.b', NULL, NULL)"));
    assert_eq!(code, SqlState::READ_ONLY_SQL_TRANSACTION);
}
