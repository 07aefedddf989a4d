//! Partitions that come and go beside other people's tables: nobody waits for them, and nobody's triggers but theirs change.

use audit_client_tests::{Database, SqlState, refused, texts};
use postgres::Client;

/// A tracked table `a` with a partition; and for `owner`, who has no right of the audit system's, a tracked table `b` and one
/// that is not, `u`. Returns connections of a superuser and of the owner.
fn tables(label: &str) -> (Database, Client, Client) {
    let database = Database::create(label);
    let owner = database.role("owner", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY LIST (id);
         CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1);
         CREATE TABLE b (i int, j int, k int) PARTITION BY LIST (i); CREATE TABLE u (LIKE b) PARTITION BY LIST (i);
         SELECT audit.track('a', 'a'), audit.track('b', 'b', resource_id => '{{i,j,k}}');
         ALTER TABLE b OWNER TO {owner}; ALTER TABLE u OWNER TO {owner};
         GRANT CREATE ON SCHEMA public TO {owner}; GRANT CREATE ON DATABASE {} TO {owner}",
        database.name
    ))
    .unwrap();
    let mut owner = database.connect_as(&owner);
    owner.batch_execute("SET lock_timeout = '2s'").unwrap();
    (database, dba, owner)
}

/// Runs a command in a transaction, and asserts that it locks none of the tables `like`.
fn locks_none(client: &mut Client, command: &str, like: &str) {
    client
        .batch_execute(&format!("BEGIN; {command}"))
        .unwrap_or_else(|error| panic!("{command}: {}", error.as_db_error().unwrap()));
    let locked = texts(
        client,
        &format!(
            "SELECT concat_ws(' ', relation::regclass, mode) FROM pg_locks
             WHERE pid = pg_backend_pid() AND relation::regclass::text ~ '{like}'"
        ),
    );
    assert!(locked.is_empty(), "{command}: {locked:?}");
    client.batch_execute("COMMIT").unwrap();
}

/// Leaves DETACH ... CONCURRENTLY where a lock timeout ends it: it waits for a reader once it has committed its first half.
fn detach_half_way(database: &Database, owner: &mut Client, table: &str, partition: &str) {
    let mut reader = database.connect();
    reader.batch_execute(&format!("BEGIN; SELECT FROM {table}")).unwrap();
    owner.batch_execute("SET lock_timeout = '10ms'").unwrap();
    let detach = format!("ALTER TABLE {table} DETACH PARTITION {partition} CONCURRENTLY");
    assert_eq!(refused(owner.batch_execute(&detach)).0, SqlState::LOCK_NOT_AVAILABLE);
    reader.batch_execute("COMMIT").unwrap();
    owner.batch_execute("SET lock_timeout = '2s'").unwrap();
}

/// The triggers of the extension's on the tables `like`.
fn triggers(client: &mut Client, like: &str) -> Vec<String> {
    texts(
        client,
        &format!(
            "SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
             WHERE tgfoid = 'audit.capture()'::regprocedure AND tgrelid::regclass::text ~ '{like}' ORDER BY 1"
        ),
    )
}

#[test]
fn partitions_come_beside_anothers_migration() {
    let (database, mut dba, mut owner) = tables("come");
    let mut busy = database.connect();
    busy.batch_execute("BEGIN; ALTER TABLE a ADD x int").unwrap();
    for table in ["u", "b"] {
        for (command, new) in [
            ("CREATE TABLE @1 PARTITION OF @ FOR VALUES IN (1)", vec!["@1"]),
            ("CREATE TABLE @2 PARTITION OF @ FOR VALUES IN (2) PARTITION BY LIST (j)", vec!["@2"]),
            ("CREATE TABLE @21 PARTITION OF @2 FOR VALUES IN (1) PARTITION BY LIST (k)", vec!["@21"]),
            ("CREATE TABLE @211 PARTITION OF @21 FOR VALUES IN (1)", vec!["@211"]),
            ("CREATE TABLE @3 (LIKE @); ALTER TABLE @ ATTACH PARTITION @3 FOR VALUES IN (3)", vec!["@3"]),
            (
                "CREATE TABLE @4 (LIKE @) PARTITION BY LIST (j);
                 CREATE TABLE @41 PARTITION OF @4 FOR VALUES IN (1) PARTITION BY LIST (k);
                 CREATE TABLE @411 PARTITION OF @41 FOR VALUES IN (1); CREATE TABLE @412 PARTITION OF @41 DEFAULT;
                 ALTER TABLE @ ATTACH PARTITION @4 FOR VALUES IN (4)",
                vec!["@4", "@41", "@411", "@412"],
            ),
            ("CREATE TABLE @42 (LIKE @); ALTER TABLE @4 ATTACH PARTITION @42 FOR VALUES IN (2)", vec!["@42"]),
            (
                "CREATE SCHEMA of_@ CREATE TABLE @5 PARTITION OF public.@ FOR VALUES IN (5) PARTITION BY LIST (j)
                                    CREATE TABLE @51 PARTITION OF of_@.@5 DEFAULT CREATE TABLE other (id int)",
                vec!["of_@.@5", "of_@.@51"],
            ),
        ] {
            let command = command.replace('@', table);
            locks_none(&mut owner, &command, "^a1?(_pkey)?$");
            let is_alive = "SELECT alive::text FROM audit.tracked_table WHERE target = 'b'::regclass";
            assert_eq!(texts(&mut dba, is_alive), ["true"], "{command}");
            for new in new.iter().map(|new| new.replace('@', table)) {
                owner.batch_execute(&format!("TRUNCATE {new}")).unwrap();
                let events = format!(
                    "SELECT action FROM audit.event WHERE to_regclass(table_name) = '{new}'::regclass"
                );
                let expected = if table == "b" { vec!["b.truncated"] } else { vec![] };
                assert_eq!(texts(&mut dba, &events), expected, "{new}");
            }
        }
    }
}

#[test]
fn partitions_go_beside_anothers_migration() {
    let (database, mut dba, mut owner) = tables("go");
    let mut busy = database.connect();
    busy.batch_execute("BEGIN; ALTER TABLE a ADD x int").unwrap();
    for table in ["u", "b"] {
        let make = "CREATE TABLE @1 PARTITION OF @ FOR VALUES IN (1);
            CREATE TABLE @2 PARTITION OF @ FOR VALUES IN (2) PARTITION BY LIST (j);
            CREATE TABLE @21 PARTITION OF @2 FOR VALUES IN (1) PARTITION BY LIST (k);
            CREATE TABLE @211 PARTITION OF @21 FOR VALUES IN (1); CREATE TABLE @3 PARTITION OF @ FOR VALUES IN (3);
            CREATE TABLE @4 PARTITION OF @ FOR VALUES IN (4) PARTITION BY LIST (j); CREATE TABLE @41 PARTITION OF @4 DEFAULT";
        owner.batch_execute(&make.replace('@', table)).unwrap();
        let statement = |text: &str| text.replace('@', table);
        locks_none(&mut owner, &statement("ALTER TABLE @ DETACH PARTITION @1"), "^a1?(_pkey)?$");
        // What is below stays below.
        locks_none(&mut owner, &statement("ALTER TABLE @ DETACH PARTITION @2"), "^a1?(_pkey)?$");
        owner.batch_execute(&statement("ALTER TABLE @ DETACH PARTITION @3 CONCURRENTLY")).unwrap();
        detach_half_way(&database, &mut owner, table, &statement("@4"));
        locks_none(&mut owner, &statement("ALTER TABLE @ DETACH PARTITION @4 FINALIZE"), "^a1?(_pkey)?$");
        owner
            .batch_execute(&statement("TRUNCATE @1; TRUNCATE @211; TRUNCATE @2; TRUNCATE @3; TRUNCATE @41"))
            .unwrap();
    }
    assert_eq!(triggers(&mut dba, "^[ub]\\d"), Vec::<String>::new());
    assert_eq!(
        texts(&mut dba, "SELECT table_name FROM audit.event WHERE action NOT LIKE 'audit.%'"),
        Vec::<String>::new()
    );
    let alive = "SELECT concat_ws(' ', target, alive) FROM audit.tracked_table ORDER BY 1";
    assert_eq!(texts(&mut dba, alive), ["a t", "b t"]);
}

#[test]
fn nobodys_partition_changes_others_triggers() {
    let (database, mut dba, mut owner) = tables("others");
    // Some triggers were taken away. Partitions of `u` have settings of their own.
    dba.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 't'); DROP TRIGGER \"!audit_row\" ON t;
         DROP TRIGGER \"!audit_truncate\" ON a1;
         CREATE TABLE u1 PARTITION OF u FOR VALUES IN (1); SELECT audit.track('u1', 'u1', resource_id => '{i}');
         CREATE TABLE u2 PARTITION OF u FOR VALUES IN (2) PARTITION BY LIST (j); CREATE TABLE u21 PARTITION OF u2 DEFAULT;
         SELECT audit.track('u21', 'u21', resource_id => '{i}'); CREATE TABLE u3 PARTITION OF u FOR VALUES IN (3);
         SELECT audit.track('u3', 'u3', resource_id => '{i}'); DROP TRIGGER \"!audit_row\" ON u3;
         CREATE TABLE b1 PARTITION OF b FOR VALUES IN (1); DROP TRIGGER \"!audit_truncate\" ON b1;
         CREATE INDEX b_i ON ONLY b (i); CREATE INDEX b1_i ON b1 (i)",
    )
    .unwrap();
    for table in ["u1", "u2", "u3", "b1"] {
        dba.batch_execute(&format!("ALTER TABLE {table} OWNER TO {}_owner", database.name)).unwrap();
    }
    let like = "^(t|a1?|u.*|b1?)$";
    let before = triggers(&mut dba, like);
    let events = texts(&mut dba, "SELECT count(*)::text FROM audit.event").join("");
    dba.batch_execute("BEGIN; SELECT FROM t; SELECT FROM a").unwrap();
    for command in [
        "CREATE TABLE u4 PARTITION OF u FOR VALUES IN (4)",
        "CREATE TABLE b4 PARTITION OF b FOR VALUES IN (4)",
        "CREATE SCHEMA of_b CREATE TABLE b5 PARTITION OF public.b FOR VALUES IN (5)",
        "CREATE TABLE IF NOT EXISTS b1 PARTITION OF b DEFAULT",
        // A parallel restore does so while it makes triggers.
        "ALTER INDEX b_i ATTACH PARTITION b1_i",
        "ALTER TABLE u DETACH PARTITION u4; ALTER TABLE u ATTACH PARTITION u4 FOR VALUES IN (4)",
        "ALTER TABLE b DETACH PARTITION b4; ALTER TABLE b ATTACH PARTITION b4 FOR VALUES IN (4)",
        // Partitions with settings of their own, at or below what goes, keep them; and what is left of them.
        "ALTER TABLE u DETACH PARTITION u1; ALTER TABLE u DETACH PARTITION u2; ALTER TABLE u DETACH PARTITION u3",
        "ALTER TABLE u ATTACH PARTITION u1 FOR VALUES IN (1); ALTER TABLE u ATTACH PARTITION u2 FOR VALUES IN (2);
         ALTER TABLE u ATTACH PARTITION u3 FOR VALUES IN (3)",
        "LOCK TABLE b1 IN ACCESS EXCLUSIVE MODE; ALTER TABLE IF EXISTS nowhere ATTACH PARTITION b1 DEFAULT;
         ALTER TABLE IF EXISTS nowhere DETACH PARTITION b1",
        "LOCK TABLE u3 IN ACCESS EXCLUSIVE MODE; ALTER TABLE IF EXISTS nowhere DETACH PARTITION u3",
    ] {
        locks_none(&mut owner, command, "^(t|a1?)(_pkey)?$");
        assert_eq!(triggers(&mut dba, like), before, "{command}");
    }
    // What went from `b` and came back was told; nothing else.
    let told = texts(
        &mut dba,
        &format!(
            "SELECT concat_ws(' ', action, resource_id) FROM audit.event ORDER BY event_id OFFSET {events}"
        ),
    );
    assert_eq!(told, ["audit.tracking.disabled public.b4", "audit.tracking.enabled public.b4"]);
    dba.batch_execute("COMMIT; SELECT audit.untrack('a')").unwrap();
    let others = triggers(&mut dba, "^(t|u.*|b1?)$");
    assert_eq!(
        others,
        before.iter().filter(|trigger| !trigger.starts_with('a')).cloned().collect::<Vec<_>>()
    );
}

#[test]
fn an_old_snapshot_hides_no_tracking() {
    let database = Database::create("old_snapshot");
    let (mut dba, mut owner) = (database.connect(), database.connect());
    dba.batch_execute(
        "CREATE TABLE c (id int) PARTITION BY LIST (id); CREATE TABLE c1 PARTITION OF c FOR VALUES IN (1)",
    )
    .unwrap();
    owner.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT").unwrap();
    dba.batch_execute("SELECT audit.track('c', 'c', resource_id => '{id}')").unwrap();
    owner
        .batch_execute(
            "CREATE TABLE c2 PARTITION OF c FOR VALUES IN (2); CREATE TABLE c3 (id int);
             ALTER TABLE c ATTACH PARTITION c3 FOR VALUES IN (3); ALTER TABLE c DETACH PARTITION c1; COMMIT",
        )
        .unwrap();
    assert_eq!(
        triggers(&mut dba, "^c\\d$"),
        ["c2 !audit_row O", "c2 !audit_truncate O", "c3 !audit_row O", "c3 !audit_truncate O"]
    );
}

#[test]
fn a_partition_half_detached_is_untracked_with_its_table() {
    let database = Database::create("half_detached");
    let mut owner = database.connect();
    owner
        .batch_execute(
            "CREATE TABLE c (id int) PARTITION BY LIST (id); CREATE TABLE c1 PARTITION OF c FOR VALUES IN (1);
             SELECT audit.track('c', 'c', resource_id => '{id}')",
        )
        .unwrap();
    detach_half_way(&database, &mut owner, "c", "c1");
    owner.batch_execute("SELECT audit.untrack('c')").unwrap();
    owner.batch_execute("ALTER TABLE c DETACH PARTITION c1 FINALIZE").unwrap();
    assert_eq!(triggers(&mut owner, "^c1?$"), Vec::<String>::new());
}
