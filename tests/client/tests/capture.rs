//! What a write leaves, over real transactions.

use audit_client_tests::{Cluster, Database, SqlState, refused};

/// Scans of a set of tables so far, as the statistics collector counts them.
fn scans(client: &mut postgres::Client, view: &str, condition: &str) -> i64 {
    client.batch_execute("SELECT pg_stat_force_next_flush()").unwrap();
    client
        .query_one(
            &format!("SELECT sum(seq_scan + coalesce(idx_scan, 0))::bigint FROM {view} WHERE {condition}"),
            &[],
        )
        .unwrap()
        .get(0)
}

#[test]
fn ten_thousand_writes_scan_no_settings_and_no_catalogue() {
    // Of its own: roles that other tests make have plans made anew, which reads catalogues.
    let cluster = Cluster::temporary("scans");
    let mut client = cluster.connect("postgres", "postgres");
    client
        .batch_execute(
            "CREATE EXTENSION audit;
             CALL audit.maintain();
             CREATE TABLE datasource (id int PRIMARY KEY, name text, organisation_id text, tags text[], at timestamptz);
             SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id');
             INSERT INTO datasource VALUES (0, 'a', 'o', '{x}', now());
             UPDATE datasource SET name = 'b';
             DELETE FROM datasource;",
        )
        .unwrap();
    let settings = "schemaname = 'audit' AND relname !~ '^event'";
    let insert = client.prepare("INSERT INTO datasource VALUES ($1, 'a', 'o', '{x,y}', now())").unwrap();
    let update = client.prepare("UPDATE datasource SET name = 'b' WHERE id = $1").unwrap();
    let delete = client.prepare("DELETE FROM datasource WHERE id = $1").unwrap();
    for id in [-1, -2] {
        for statement in [&insert, &update, &delete] {
            client.execute(statement, &[&id]).unwrap();
        }
    }
    let before = (
        scans(&mut client, "pg_stat_user_tables", settings),
        scans(&mut client, "pg_stat_sys_tables", "schemaname = 'pg_catalog'"),
    );
    for id in 0..3334 {
        for statement in [&insert, &update, &delete] {
            assert_eq!(client.execute(statement, &[&id]).unwrap(), 1);
        }
    }
    let after = (
        scans(&mut client, "pg_stat_user_tables", settings),
        scans(&mut client, "pg_stat_sys_tables", "schemaname = 'pg_catalog'"),
    );
    assert_eq!(after.0, before.0, "a settings table was scanned");
    // Planning, statistics and autovacuum read some; one scan a row would be ten thousand.
    assert!(after.1 - before.1 < 500, "catalogues were scanned {} times", after.1 - before.1);
    let events: i64 = client
        .query_one("SELECT count(*) FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, 3 + 6 + 10_002);
}

#[test]
fn events_live_and_die_with_the_change() {
    let database = Database::create("transactions");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE datasource (id int PRIMARY KEY, name text);
             SELECT audit.track('datasource', 'datasource');
             BEGIN;
             INSERT INTO datasource VALUES (1, 'kept');
             SAVEPOINT s;
             INSERT INTO datasource VALUES (2, 'rolled back');
             ROLLBACK TO s;
             UPDATE datasource SET name = 'kept too';
             COMMIT;
             BEGIN; DELETE FROM datasource; ROLLBACK;",
        )
        .unwrap();
    let rows = client
        .query("SELECT action, resource_id, transaction_id::text FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id", &[])
        .unwrap();
    let events: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        events,
        [
            ("datasource.created".to_owned(), "1".to_owned()),
            ("datasource.updated".to_owned(), "1".to_owned())
        ]
    );
    assert_eq!(rows[0].get::<_, String>(2), rows[1].get::<_, String>(2));
}

#[test]
fn a_write_whose_event_cannot_be_stored_fails() {
    let database = Database::create("refusing");
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE TABLE datasource (id int PRIMARY KEY, name text);
             SELECT audit.track('datasource', 'datasource');
             ALTER TABLE audit.event ADD CONSTRAINT no_secrets CHECK (after_state ->> 'name' <> 'secret');",
        )
        .unwrap();
    let (code, message, _) = refused(client.batch_execute("INSERT INTO datasource VALUES (1, 'secret')"));
    assert_eq!(code, SqlState::CHECK_VIOLATION, "{message}");
    client.batch_execute("INSERT INTO datasource VALUES (2, 'open')").unwrap();
    let rows: Vec<i32> =
        client.query("SELECT id FROM datasource", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, [2]);
}

#[test]
fn indexes_that_a_dba_adds_are_kept() {
    let database = Database::create("indexes");
    let mut client = database.connect();
    client
        .batch_execute(
            "CALL audit.maintain();
             CREATE TABLE datasource (id int PRIMARY KEY, name text);
             SELECT audit.track('datasource', 'datasource');
             INSERT INTO datasource VALUES (1, 'before');
             DO $$
             DECLARE month regclass := to_char(now() AT TIME ZONE 'UTC', '\"audit.event_\"YYYY_MM');
             BEGIN
                 EXECUTE format('CREATE INDEX e ON %s (lower(action))', month);
                 EXECUTE format('CREATE INDEX p ON %s (resource_id) WHERE action = ''datasource.created''', month);
                 EXECUTE format('CREATE INDEX g ON %s USING gin (after_state)', month);
                 EXECUTE format('CREATE INDEX b ON %s USING brin (occurred_at)', month);
                 EXECUTE format('CREATE INDEX h ON %s USING hash (resource_id)', month);
             END $$;
             INSERT INTO datasource SELECT n, 'after' FROM generate_series(2, 500) n;
             SET enable_seqscan = off;",
        )
        .unwrap();
    for (condition, count) in [
        ("lower(action) = 'datasource.created'", 500),
        ("resource_id = '77' AND action = 'datasource.created'", 1),
        ("after_state @> '{\"name\": \"after\"}'", 499),
        ("resource_id = '78'", 1),
        ("occurred_at > now() - interval '1 hour' AND action NOT LIKE 'audit.%'", 500),
    ] {
        let query = format!("SELECT count(*) FROM audit.event WHERE {condition}");
        assert_eq!(client.query_one(&query, &[]).unwrap().get::<_, i64>(0), count, "{condition}");
    }
}

#[test]
fn a_new_session_and_a_changed_setting_meet() {
    let database = Database::create("stale");
    let mut admin = database.connect();
    admin
        .batch_execute(
            "CREATE TABLE datasource (id int PRIMARY KEY, name text, secret text);
             SELECT audit.track('datasource', 'datasource');",
        )
        .unwrap();
    let mut writer = database.connect();
    writer.batch_execute("SET search_path = public, shop").unwrap();
    let insert = writer.prepare("INSERT INTO datasource VALUES ($1, 'a', 'pw')").unwrap();
    writer.execute(&insert, &[&1]).unwrap();
    admin.batch_execute("SELECT audit.track('datasource', 'data', mask => '{secret}')").unwrap();
    writer.execute(&insert, &[&2]).unwrap();
    admin.batch_execute("ALTER TABLE datasource RENAME secret TO hush").unwrap();
    writer.execute(&insert, &[&3]).unwrap();
    admin.batch_execute("ALTER SCHEMA public RENAME TO shop").unwrap();
    writer.execute(&insert, &[&4]).unwrap();
    admin.batch_execute("SELECT audit.untrack('shop.datasource')").unwrap();
    writer.execute(&insert, &[&5]).unwrap();
    let events: Vec<(String, String, String)> = admin
        .query(
            "SELECT action, table_name, coalesce(after_state ->> 'secret', after_state ->> 'hush')
             FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let event =
        |action: &str, table: &str, secret: &str| (action.to_owned(), table.to_owned(), secret.to_owned());
    assert_eq!(
        events,
        [
            event("datasource.created", "public.datasource", "pw"),
            event("data.created", "public.datasource", "[masked]"),
            event("data.created", "public.datasource", "[masked]"),
            event("data.created", "shop.datasource", "[masked]"),
        ]
    );
}

#[test]
fn a_repeatable_read_transaction_sees_a_later_setting() {
    let database = Database::create("repeatable");
    let mut admin = database.connect();
    admin.batch_execute("CREATE TABLE datasource (id int PRIMARY KEY)").unwrap();
    let mut writer = database.connect();
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").unwrap();
    admin.batch_execute("SELECT audit.track('datasource', 'datasource'); CALL audit.maintain()").unwrap();
    writer.batch_execute("INSERT INTO datasource VALUES (1); COMMIT").unwrap();
    let events: i64 = admin
        .query_one("SELECT count(*) FROM audit.event WHERE action NOT LIKE 'audit.%'", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, 1);
}
