//! DDL beside auditing: who may do it, what it changes, what it must not break.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};

#[test]
fn a_role_without_any_audit_right_does_its_ddl() {
    let database = Database::create("plain_ddl");
    let plain = database.role("plain", &[]);
    database.connect().batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {plain}")).unwrap();
    database
        .connect_as(&plain)
        .batch_execute(
            "CREATE TABLE j (id int PRIMARY KEY); ALTER TABLE j ADD COLUMN w text; ALTER TABLE j RENAME w TO v;
             CREATE TYPE y AS (a int); ALTER TYPE y ADD ATTRIBUTE b int; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RETURN NULL; END'; CREATE TRIGGER t AFTER INSERT ON j FOR EACH ROW EXECUTE FUNCTION f(); DROP TABLE j",
        )
        .unwrap();
}

#[test]
fn an_owner_makes_partitions_and_no_triggers_of_audits() {
    let database = Database::create("owner_ddl");
    let admin = database.role("admin", &["audit_admin"]);
    let plain = database.role("plain", &[]);
    database.connect().batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {admin}, {plain}")).unwrap();
    let mut client = database.connect_as(&admin);
    client
        .batch_execute(
            "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); SELECT audit.track('p', 'p');
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
             CREATE TABLE p2 (id int PRIMARY KEY); ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
             INSERT INTO p VALUES (1), (11); TRUNCATE p2;",
        )
        .unwrap();
    let forged = r#"CREATE TRIGGER "!audit_row" AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION
                    audit.capture('{"resource_type": "forged", "actions": {"insert": "audit.forged"}}')"#;
    client.batch_execute("CREATE TABLE own (id int PRIMARY KEY)").unwrap();
    let (code, message, _) = refused(client.batch_execute(forged));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{message}");
    // A partition whose owner is somebody else.
    let mut owner = database.connect();
    owner.batch_execute(&format!("ALTER TABLE p OWNER TO {plain}")).unwrap();
    database
        .connect_as(&plain)
        .batch_execute(
            "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (21)",
        )
        .unwrap();
    assert_eq!(
        texts(
            &mut owner,
            "SELECT action || ' ' || table_name FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id"
        ),
        ["p.created public.p1", "p.created public.p2", "p.truncated public.p2", "p.created public.p3"]
    );
}

#[test]
fn a_mask_survives_dump_restore_and_rename() {
    let database = Database::create("mask_dump");
    database
        .connect()
        .batch_execute(
            "CREATE TABLE t (a int, b int, id int PRIMARY KEY, api_key text, note text);
             ALTER TABLE t DROP a, DROP b; SELECT audit.track('t', 't', mask => '{api_key}')",
        )
        .unwrap();
    let script = Cluster::shared().run("pg_dump", &["-d", &database.name], None);
    let copy = Database::create_empty("mask_copy");
    Cluster::shared().run("psql", &["-Xq", "-d", &copy.name, "-v", "ON_ERROR_STOP=1"], Some(&script));
    let mut client = copy.connect();
    client
        .batch_execute("ALTER TABLE t RENAME api_key TO secret; INSERT INTO t VALUES (2, 'sk-2', 'n')")
        .unwrap();
    assert_eq!(
        texts(&mut client, "SELECT after_state::text FROM audit.event WHERE action NOT LIKE 'audit.%'"),
        [r#"{"id": 2, "note": "n", "secret": "[masked]"}"#]
    );
}

#[test]
fn no_ddl_takes_a_mask_away() {
    let database = Database::create("mask_ddl");
    let mut client = database.connect();
    let mut check = |setup: &str, table: &str| {
        client.batch_execute(setup).unwrap_or_else(|error| panic!("{setup}: {error}"));
        let stored = texts(
            &mut client,
            &format!("SELECT e::text FROM audit.event e WHERE table_name = 'public.{table}'"),
        );
        assert!(!stored.is_empty() && !stored.iter().any(|event| event.contains("hush")), "{stored:?}");
    };
    check(
        "CREATE TABLE a (id int PRIMARY KEY, api_key text); SELECT audit.track('a', 'a', mask => '{api_key}');
         ALTER TABLE a DROP api_key; ALTER TABLE a ADD api_key text; INSERT INTO a VALUES (1, 'hush')",
        "a",
    );
    check(
        "CREATE TABLE b (id int PRIMARY KEY, api_key text); SELECT audit.track('b', 'b', mask => '{api_key}');
         ALTER VIEW b RENAME COLUMN api_key TO secret; ALTER TABLE b ADD api_key text; INSERT INTO b VALUES (1, 'hush', 'open')",
        "b",
    );
    check(
        "CREATE TABLE c (id int PRIMARY KEY, s text) PARTITION BY LIST (id); SELECT audit.track('c', 'c', mask => '{s}');
         CREATE TABLE c1 PARTITION OF c DEFAULT; ALTER TABLE c RENAME s TO x; INSERT INTO c VALUES (1, 'hush');
         ALTER TABLE c DROP x; ALTER TABLE c ADD x text; INSERT INTO c VALUES (2, 'hush')",
        "c1",
    );
    // A masked column cannot become the key of its events.
    client
        .batch_execute("CREATE TABLE d (id int PRIMARY KEY, ssn text NOT NULL); SELECT audit.track('d', 'd', mask => '{ssn}')")
        .unwrap();
    let (code, message, hint) =
        refused(client.batch_execute("ALTER TABLE d DROP CONSTRAINT d_pkey, ADD PRIMARY KEY (ssn)"));
    assert_eq!(code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "{message}");
    assert!(hint.contains("audit.track"));
    // A partition's own mask is not overruled by tracking its table.
    client
        .batch_execute(
            "CREATE TABLE e (id int PRIMARY KEY, s text) PARTITION BY LIST (id); CREATE TABLE e1 PARTITION OF e DEFAULT;
             SELECT audit.track('e1', 'e1', mask => '{s}')",
        )
        .unwrap();
    let (_, message, hint) = refused(client.batch_execute("SELECT audit.track('e', 'e')"));
    assert!(message.contains("public.e1") && hint.contains("untrack"), "{message}");
}

#[test]
fn the_key_stays_while_events_need_it() {
    let database = Database::create("keyed");
    let mut client = database.connect();
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL); SELECT audit.track('t', 't')")
        .unwrap();
    for statement in ["ALTER TABLE t DROP COLUMN id", "ALTER TABLE t DROP CONSTRAINT t_pkey"] {
        let (code, message, _) = refused(client.batch_execute(statement));
        assert_eq!(code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "{message}");
    }
    client
        .batch_execute(
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n); INSERT INTO t VALUES (1, 2)",
        )
        .unwrap();
    assert_eq!(
        texts(&mut client, "SELECT resource_id FROM audit.event WHERE action NOT LIKE 'audit.%'"),
        ["2"]
    );
}

#[test]
fn what_breaks_a_setting_is_refused_however_it_is_done() {
    let database = Database::create("breaking");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE DOMAIN orgid AS text; CREATE TABLE t (id int PRIMARY KEY, org orgid);
             SELECT audit.track('t', 't', organisation_id => 'org');
             CREATE TABLE parent (id int PRIMARY KEY, org text); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
             SELECT audit.track('child', 'child', organisation_id => 'p.org')",
        )
        .unwrap();
    for statement in [
        "DROP DOMAIN orgid CASCADE",
        "ALTER TABLE parent DROP org",
        "DROP TABLE parent CASCADE",
        "ALTER TABLE t SET UNLOGGED",
        "ALTER TRIGGER \"!audit_row\" ON t RENAME TO zzz",
        "ALTER TRIGGER \"!audit_truncate\" ON t RENAME TO zzz",
    ] {
        let (_, message, hint) = refused(client.batch_execute(statement));
        assert!(!hint.is_empty(), "{statement}: {message}");
    }
    client.batch_execute("ALTER TABLE parent RENAME org TO tenant; INSERT INTO parent VALUES (1, 'o'); INSERT INTO child VALUES (1, 1)").unwrap();
    assert_eq!(
        texts(&mut client, "SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%'"),
        ["o"]
    );
    client.batch_execute("DROP TABLE t, child, parent; DROP DOMAIN orgid").unwrap();
}

#[test]
fn ddl_waits_for_no_other_tables_ddl() {
    let database = Database::create("locks");
    let mut busy = database.connect();
    busy.batch_execute(
        "CREATE TABLE a (id int PRIMARY KEY, s text); CREATE TABLE b (id int PRIMARY KEY, s text); CREATE TABLE c (id int);
         SELECT audit.track('a', 'a', mask => '{s}'), audit.track('b', 'b', mask => '{s}')",
    )
    .unwrap();
    busy.batch_execute("BEGIN; ALTER TABLE a RENAME s TO x; REINDEX INDEX a_pkey").unwrap();
    let mut other = database.connect();
    other
        .batch_execute(
            "SET lock_timeout = '2s'; ALTER TABLE c ADD x int; ALTER TABLE b RENAME s TO y; INSERT INTO b VALUES (1, 'hush');
             CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION f()",
        )
        .unwrap();
    busy.batch_execute("INSERT INTO a VALUES (1, 'hush'); COMMIT").unwrap();
    let locks: i64 = {
        other.batch_execute("BEGIN; ALTER TABLE c ADD z int").unwrap();
        other
            .query_one(
                "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('a'::regclass, 'b'::regclass)",
                &[],
            )
            .unwrap()
            .get(0)
    };
    assert_eq!(locks, 0);
    let stored = texts(
        &mut busy,
        "SELECT after_state::text FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
    );
    assert_eq!(stored, [r#"{"y": "[masked]", "id": 1}"#, r#"{"x": "[masked]", "id": 1}"#]);
}

#[test]
fn a_table_that_went_meanwhile_harms_nobodys_ddl() {
    let database = Database::create("went");
    let mut dba = database.connect();
    let mut old = database.connect();
    dba.batch_execute("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 't')").unwrap();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    dba.batch_execute("DROP TABLE t").unwrap();
    old.batch_execute("CREATE TEMP TABLE harmless (x int); COMMIT").unwrap();
    // Named by what it was.
    let admin = database.role("admin", &["audit_admin"]);
    let mut admin = database.connect_as(&admin);
    dba.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    let oid: u32 = dba.query_one("SELECT 't'::regclass::oid", &[]).unwrap().get(0);
    admin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    dba.batch_execute("DROP TABLE t").unwrap();
    let (code, message, _) =
        refused(admin.batch_execute(&format!("SELECT audit.track({oid}::regclass, 't')")));
    assert_eq!((code, message), (SqlState::INSUFFICIENT_PRIVILEGE, format!("must be owner of table {oid}")));
    // And under way.
    std::thread::scope(|scope| {
        let makes = scope.spawn(|| {
            let mut client = database.connect();
            for _ in 0..20 {
                client
                    .batch_execute(
                        "CREATE TABLE u (id int PRIMARY KEY); SELECT audit.track('u', 'u'); DROP TABLE u",
                    )
                    .unwrap();
            }
        });
        while !makes.is_finished() {
            dba.batch_execute("CREATE TEMP TABLE v (x int); DROP TABLE v").unwrap();
        }
    });
}

#[test]
fn what_fitted_once_is_looked_at_again_when_it_changes() {
    let database = Database::create("fits");
    let mut owner = database.connect();
    owner
        .batch_execute(
            "CREATE TABLE org (id int PRIMARY KEY, code text); CREATE TABLE project (id int PRIMARY KEY, org_id int REFERENCES org);
             CREATE TABLE thing (id int PRIMARY KEY, project_id int REFERENCES project); CREATE TABLE other ();
             CREATE FUNCTION holds(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
             SELECT audit.track('thing', 'thing', organisation_id => 'project_id.org_id.code',
                 actions => '{\"rules\": [{\"on\": \"insert\", \"if\": \"public.holds(new.id)\", \"action\": \"thing.made\"}]}');
             INSERT INTO org VALUES (1, 'one'); INSERT INTO project VALUES (2, 1); ALTER TABLE other ADD a int",
        )
        .unwrap();
    let path = |client: &mut _| texts(client, "SELECT organisation_id FROM audit.tracked_table").join("");
    owner
        .batch_execute(
            "BEGIN; ALTER TABLE org RENAME code TO x; SAVEPOINT s; ALTER TABLE project RENAME org_id TO y; ROLLBACK TO s;
             ALTER TABLE other ADD b int; COMMIT; BEGIN; ALTER TABLE org RENAME x TO z; ROLLBACK; ALTER TABLE other ADD c int",
        )
        .unwrap();
    assert_eq!(path(&mut owner), "project_id.org_id.x");
    // Another session's change is this one's starting point.
    database.connect().batch_execute("ALTER TABLE project RENAME org_id TO y").unwrap();
    owner.batch_execute("ALTER TABLE other ADD d int; ALTER TABLE org RENAME x TO w").unwrap();
    assert_eq!(path(&mut owner), "project_id.y.w");
    for (command, state) in [
        ("ALTER TABLE org DROP COLUMN w", SqlState::DEPENDENT_OBJECTS_STILL_EXIST),
        ("ALTER TABLE project DROP CONSTRAINT project_org_id_fkey", SqlState::DEPENDENT_OBJECTS_STILL_EXIST),
        ("DROP FUNCTION holds(int)", SqlState::DEPENDENT_OBJECTS_STILL_EXIST),
        ("ALTER FUNCTION holds(int) RENAME TO held", SqlState::DEPENDENT_OBJECTS_STILL_EXIST),
    ] {
        owner.batch_execute("ALTER TABLE other ADD e int; ALTER TABLE other DROP e").unwrap();
        assert_eq!(refused(owner.batch_execute(command)).0, state, "{command}");
    }
    owner.batch_execute("INSERT INTO thing VALUES (3, 2)").unwrap();
    let events = "SELECT concat(action, ' ', organisation_id) FROM audit.event WHERE action LIKE 'thing%'";
    assert_eq!(texts(&mut owner, events), ["thing.made one"]);
}

#[test]
fn a_name_of_ours_is_not_taken_over() {
    let database = Database::create("foreign_trigger");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER \"!audit_row\" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        )
        .unwrap();
    let (code, ..) = refused(client.batch_execute("SELECT audit.track('t', 't')"));
    assert_eq!(code, SqlState::DUPLICATE_OBJECT);
    // A superuser's statement trigger with the wrong events does nothing, and harms nothing.
    client
        .batch_execute(
            "CREATE TABLE s (id int); CREATE TRIGGER st AFTER INSERT ON s FOR EACH STATEMENT EXECUTE FUNCTION
             audit.capture('{\"resource_type\": \"a\"}')",
        )
        .unwrap_err();
    client.batch_execute("SELECT 1").unwrap();
}

#[test]
fn a_partition_says_whose_settings_it_has() {
    let database = Database::create("partition_messages");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT;
             SELECT audit.track('p', 'p')",
        )
        .unwrap();
    for call in ["audit.track('p1', 'x')", "audit.untrack('p1')"] {
        let (code, message, hint) = refused(client.batch_execute(&format!("SELECT {call}")));
        assert_eq!(code, SqlState::WRONG_OBJECT_TYPE);
        assert!(message.contains("partition of public.p") && hint.contains("public.p"), "{message}");
    }
}

#[test]
fn a_parallel_restore_of_many_tables_does_not_deadlock() {
    let database = Database::create("parallel");
    let mut client = database.connect();
    for n in 0..40 {
        client
            .batch_execute(&format!(
                "CREATE TABLE t{n} (gone int, id int PRIMARY KEY, s text); ALTER TABLE t{n} DROP gone;
                 ALTER TABLE t{n} ENABLE ROW LEVEL SECURITY; SELECT audit.track('t{n}', 't', mask => '{{s}}')"
            ))
            .unwrap();
    }
    let folder = std::env::temp_dir().join(&database.name);
    let path = folder.to_str().unwrap();
    Cluster::shared().run("pg_dump", &["-Fd", "-f", path, "-d", &database.name], None);
    let copy = Database::create_empty("parallel_copy");
    let output = Cluster::shared().program("pg_restore", &["-j", "4", "-d", &copy.name, path], None);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = copy.connect();
    assert_eq!(
        texts(
            &mut client,
            "SELECT count(*)::text FROM audit.tracked_table t JOIN pg_class c ON c.oid = t.target WHERE alive AND mask = '{s}' AND relrowsecurity"
        ),
        ["40"]
    );
}
