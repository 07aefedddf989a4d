//! Logical replication: what the subscriber's tables leave, by setting.

use audit_client_tests::Cluster;

#[test]
fn applied_rows_leave_events_where_the_table_says_so() {
    let cluster = Cluster::temporary_with("replication", "wal_level = logical");
    let mut postgres = cluster.connect("postgres", "postgres");
    postgres.batch_execute("CREATE DATABASE publisher").unwrap();
    postgres.batch_execute("CREATE DATABASE subscriber").unwrap();
    let tables =
        "CREATE TABLE seen (id int PRIMARY KEY, v text); CREATE TABLE unseen (id int PRIMARY KEY, v text)";
    let mut publisher = cluster.connect("publisher", "postgres");
    publisher.batch_execute(tables).unwrap();
    publisher.batch_execute("CREATE PUBLICATION p FOR TABLE seen, unseen").unwrap();
    publisher.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").unwrap();
    let mut subscriber = cluster.connect("subscriber", "postgres");
    subscriber
        .batch_execute(&format!(
            "CREATE EXTENSION audit; {tables};
             SELECT audit.track('seen', 'seen', on_replica => true), audit.track('unseen', 'unseen')"
        ))
        .unwrap();
    subscriber
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={} dbname=publisher user=postgres' PUBLICATION p
             WITH (create_slot = false, slot_name = 's', copy_data = false)",
            cluster.socket()
        ))
        .unwrap();
    publisher
        .batch_execute(
            "INSERT INTO seen VALUES (1, 'a'), (2, 'b'); INSERT INTO unseen VALUES (1, 'a');
             UPDATE seen SET v = 'c' WHERE id = 1; DELETE FROM seen WHERE id = 2; TRUNCATE seen; INSERT INTO unseen VALUES (2, 'end')",
        )
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while subscriber.query_one("SELECT count(*) FROM unseen", &[]).unwrap().get::<_, i64>(0) < 2 {
        assert!(std::time::Instant::now() < deadline, "nothing is applied");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let events: Vec<String> = subscriber
        .query("SELECT concat_ws(' ', action, resource_id, before_state, after_state) FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        events,
        [
            r#"seen.created 1 {"v": "a", "id": 1}"#,
            r#"seen.created 2 {"v": "b", "id": 2}"#,
            r#"seen.updated 1 {"v": "a"} {"v": "c"}"#,
            r#"seen.deleted 2 {"v": "b", "id": 2}"#,
            "seen.truncated",
        ]
    );
    // The subscriber's own writes are recorded in any case.
    subscriber.batch_execute("INSERT INTO unseen VALUES (3, 'own')").unwrap();
    let own: i64 = subscriber
        .query_one("SELECT count(*) FROM audit.event WHERE action = 'unseen.created'", &[])
        .unwrap()
        .get(0);
    assert_eq!(own, 1);
    subscriber
        .batch_execute("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE)")
        .unwrap();
    subscriber.batch_execute("DROP SUBSCRIPTION s").unwrap();
}
