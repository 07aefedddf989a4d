//! What broke in earlier audit systems and has no better place; tests/LESSONS.md lists all of them.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};

const EVENTS: &str = "SELECT concat_ws(' ', action, resource_id, before_state, after_state) FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id";

#[test]
fn two_updates_in_one_function_stay_two_events() {
    let database = Database::create("two_updates");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); SELECT audit.track('t', 't'); INSERT INTO t VALUES (1, 0);
             CREATE FUNCTION twice() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE t SET v = 1; UPDATE t SET v = 0; UPDATE t SET v = 2;
             END $$; SELECT twice()",
        )
        .unwrap();
    assert_eq!(
        texts(&mut client, EVENTS),
        [
            r#"t.created 1 {"v": 0, "id": 1}"#,
            r#"t.updated 1 {"v": 0} {"v": 1}"#,
            r#"t.updated 1 {"v": 1} {"v": 0}"#,
            r#"t.updated 1 {"v": 0} {"v": 2}"#,
        ]
    );
}

#[test]
fn changes_of_functions_in_a_statement_come_in_the_order_they_were_made() {
    let database = Database::create("nested");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE ver (id int PRIMARY KEY, cur bool); SELECT audit.track('ver', 'ver');
             CREATE FUNCTION retire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE ver SET cur = false WHERE cur AND id <> new.id; RETURN new; END $$;
             CREATE TRIGGER retire BEFORE INSERT ON ver FOR EACH ROW EXECUTE FUNCTION retire();

             CREATE TABLE pair (id int PRIMARY KEY, v int); INSERT INTO pair VALUES (1, 0), (2, 0); SELECT audit.track('pair', 'pair');
             CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE pair SET v = 99 WHERE id = 2; RETURN NULL; END $$;
             CREATE TRIGGER other AFTER UPDATE ON pair FOR EACH ROW WHEN (new.id = 1) EXECUTE FUNCTION other();

             CREATE TABLE doc (id int PRIMARY KEY, state text); SELECT audit.track('doc', 'doc');
             CREATE FUNCTION publish(int) RETURNS void LANGUAGE sql AS 'UPDATE doc SET state = ''published'' WHERE id = $1';

             CREATE TABLE first (id int PRIMARY KEY, n int); SELECT audit.track('first', 'first');
             CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE first SET n = 1 WHERE id = new.id; RETURN NULL; END $$;
             CREATE TRIGGER \" before the exclamation mark\" AFTER INSERT ON first FOR EACH ROW EXECUTE FUNCTION again();",
        )
        .unwrap();
    client.batch_execute("INSERT INTO ver VALUES (1, true), (2, true)").unwrap();
    client.batch_execute("UPDATE pair SET v = 1").unwrap();
    client
        .batch_execute(
            "WITH n AS (INSERT INTO doc VALUES (1, 'draft') RETURNING id) SELECT publish(id) FROM n",
        )
        .unwrap();
    client.batch_execute("INSERT INTO first VALUES (1, 0)").unwrap();
    // What makes room for a row comes before it.
    client
        .batch_execute(
            "CREATE TABLE sole (id int PRIMARY KEY, v int); SELECT audit.track('sole', 'sole');
             CREATE FUNCTION replace() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 DELETE FROM sole WHERE id = new.id; RETURN new; END $$;
             CREATE TRIGGER replace BEFORE INSERT ON sole FOR EACH ROW EXECUTE FUNCTION replace();",
        )
        .unwrap();
    client.batch_execute("INSERT INTO sole VALUES (1, 1), (2, 2); INSERT INTO sole VALUES (1, 3)").unwrap();
    assert_eq!(
        texts(&mut client, EVENTS),
        [
            r#"ver.created 1 {"id": 1, "cur": true}"#,
            r#"ver.updated 1 {"cur": true} {"cur": false}"#,
            r#"ver.created 2 {"id": 2, "cur": true}"#,
            r#"pair.updated 1 {"v": 0} {"v": 1}"#,
            r#"pair.updated 2 {"v": 0} {"v": 1}"#,
            r#"pair.updated 2 {"v": 1} {"v": 99}"#,
            r#"doc.created 1 {"id": 1, "state": "draft"}"#,
            r#"doc.updated 1 {"state": "draft"} {"state": "published"}"#,
            r#"first.created 1 {"n": 0, "id": 1}"#,
            r#"first.updated 1 {"n": 0} {"n": 1}"#,
            r#"sole.created 1 {"v": 1, "id": 1}"#,
            r#"sole.created 2 {"v": 2, "id": 2}"#,
            r#"sole.deleted 1 {"v": 1, "id": 1}"#,
            r#"sole.created 1 {"v": 3, "id": 1}"#,
        ]
    );
    let in_order: bool = client
        .query_one("SELECT bool_and(occurred_at >= earlier) FROM (SELECT occurred_at, lag(occurred_at) OVER (ORDER BY event_id) earlier FROM audit.event) e", &[])
        .unwrap()
        .get(0);
    assert!(in_order);
}

#[test]
fn an_open_transaction_elsewhere_hides_nothing() {
    let database = Database::create("open");
    let mut first = database.connect();
    first
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); SELECT audit.track('t', 't'); INSERT INTO t VALUES (1, 0), (2, 0)")
        .unwrap();
    first.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let mut second = database.connect();
    second.batch_execute("UPDATE t SET v = 2 WHERE id = 2").unwrap();
    first.batch_execute("UPDATE t SET v = 3 WHERE id = 1; COMMIT").unwrap();
    assert_eq!(
        texts(
            &mut second,
            &EVENTS
                .replace("FROM", "FROM (SELECT * FROM")
                .replace(" ORDER", ") e WHERE action = 't.updated' ORDER")
        ),
        [
            r#"t.updated 1 {"v": 0} {"v": 1}"#,
            r#"t.updated 2 {"v": 0} {"v": 2}"#,
            r#"t.updated 1 {"v": 1} {"v": 3}"#,
        ]
    );
}

#[test]
fn truncate_cascade_and_inheritance() {
    let database = Database::create("cascade");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
             CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE derived (PRIMARY KEY (id)) INHERITS (base);
             SELECT audit.track('parent', 'parent'), audit.track('child', 'child'), audit.track('base', 'base');
             TRUNCATE parent CASCADE; INSERT INTO derived VALUES (1); INSERT INTO base VALUES (2);
             SELECT audit.track('derived', 'derived'); UPDATE base SET id = id + 10",
        )
        .unwrap();
    // A child of INHERITS is tracked on its own.
    let mut events = texts(&mut client, EVENTS);
    events.sort();
    assert_eq!(
        events,
        [
            r#"base.created 2 {"id": 2}"#,
            r#"base.updated 12 {"id": 2} {"id": 12}"#,
            "child.truncated",
            r#"derived.updated 11 {"id": 1} {"id": 11}"#,
            "parent.truncated",
        ]
    );
}

#[test]
fn a_foreign_table_is_refused() {
    let database = Database::create("foreign");
    let mut client = database.connect();
    client
        .batch_execute("CREATE FOREIGN DATA WRAPPER f; CREATE SERVER s FOREIGN DATA WRAPPER f; CREATE FOREIGN TABLE far (id int) SERVER s")
        .unwrap();
    let (code, message, hint) = refused(client.batch_execute("SELECT audit.track('far', 'far')"));
    assert_eq!(code, SqlState::WRONG_OBJECT_TYPE);
    assert!(message.contains("a foreign table") && !hint.is_empty());
}

#[test]
fn there_is_no_switch_that_anybody_can_flip() {
    let database = Database::create("switches");
    let mut client = database.connect();
    client.batch_execute("LOAD 'audit'").unwrap();
    assert_eq!(
        texts(
            &mut client,
            "SELECT name || ' ' || context FROM pg_settings WHERE name LIKE 'audit.%' ORDER BY name"
        ),
        [
            "audit.actor_id superuser",
            "audit.actor_type superuser",
            "audit.allow_destruction superuser",
            "audit.enterprise superuser",
            "audit.metadata superuser",
            "audit.require_actor superuser",
        ]
    );
}

#[test]
fn replica_mode_skips_only_tables_without_on_replica() {
    let database = Database::create("replica_mode");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
             SELECT audit.track('a', 'a', on_replica => true), audit.track('b', 'b');
             SET session_replication_role = replica; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)",
        )
        .unwrap();
    assert_eq!(texts(&mut client, EVENTS), [r#"a.created 1 {"id": 1}"#]);
}

#[test]
fn a_canary_is_nowhere() {
    const CANARY: &str = "canary-7f3e9b";
    // A cluster of its own, for its log.
    let cluster = Cluster::temporary("canary");
    let mut client = cluster.connect("postgres", "postgres");
    client
        .batch_execute(
            "CREATE EXTENSION audit;
             CREATE TABLE t (id int PRIMARY KEY, secret text, copy text GENERATED ALWAYS AS (secret || '!') STORED, v int);
             SELECT audit.track('t', 't', mask => '{secret}');
             ALTER TABLE audit.event ADD CONSTRAINT small CHECK ((after_state ->> 'v')::int < 10)",
        )
        .unwrap();
    client.execute("INSERT INTO t VALUES (1, $1, DEFAULT, 1)", &[&CANARY]).unwrap();
    client.execute("UPDATE t SET secret = $1", &[&format!("{CANARY}-2")]).unwrap();
    // An event that cannot be stored: the error is in the client's hands and in the server's log.
    let error = client.execute("UPDATE t SET v = 10, secret = $1", &[&format!("{CANARY}-3")]).unwrap_err();
    assert!(!format!("{error:?}").contains(CANARY), "{error:?}");
    client.batch_execute("DELETE FROM t").unwrap();
    let objects = texts(
        &mut client,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')",
    );
    assert!(objects.len() >= 4);
    for object in objects {
        let found: i64 = client
            .query_one(&format!("SELECT count(*) FROM audit.{object} x WHERE x::text LIKE '%{CANARY}%'"), &[])
            .unwrap()
            .get(0);
        assert_eq!(found, 0, "audit.{object}");
    }
    let log = std::fs::read_to_string(std::path::Path::new(cluster.socket()).join("server.log")).unwrap();
    assert!(log.contains("violates check constraint"), "the error is in the log");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
    // The superuser's own look for it, above, is no leak.
    assert!(lines.iter().all(|line| line.contains("LIKE")), "{lines:?}");
}
