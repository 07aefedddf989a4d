//! Maintenance beside readers and writers who leave no pause: nobody fails, and no event is lost or doubled.

use std::sync::atomic::{AtomicBool, Ordering};

use audit_client_tests::Database;

#[test]
fn the_first_maintenance_beside_constant_readers_and_writers() {
    let database = Database::create("busy");
    let mut dba = database.connect();
    dba.batch_execute(
        "CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
         INSERT INTO counter SELECT i, 0 FROM generate_series(1, 4) i;
         SELECT audit.track('counter', 'counter');
         UPDATE counter SET n = 1;",
    )
    .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for id in 1..=4 {
            let (stop, database) = (&stop, &database);
            scope.spawn(move || {
                let mut client = database.connect();
                while !stop.load(Ordering::Relaxed) {
                    client.execute("UPDATE counter SET n = n + 1 WHERE id = $1", &[&id]).unwrap();
                }
            });
        }
        for query in [
            "SELECT count(*) FROM audit.log(pattern => 'counter.*', max_rows => NULL)",
            "SELECT count(*) FROM audit.event WHERE action = 'counter.updated'",
        ] {
            let (stop, database) = (&stop, &database);
            scope.spawn(move || {
                let mut client = database.connect();
                let mut before = 0;
                while !stop.load(Ordering::Relaxed) {
                    let now: i64 = client.query_one(query, &[]).unwrap().get(0);
                    assert!(now >= before, "{query}: {now} after {before}");
                    before = now;
                }
            });
        }
        let written = "SELECT count(*) FROM audit.event_default";
        while dba.query_one(written, &[]).unwrap().get::<_, i64>(0) < 100 {
            std::thread::yield_now();
        }
        let result = dba.batch_execute("CALL audit.maintain()");
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
    let row = dba
        .query_one(
            "SELECT (SELECT sum(n) FROM counter), count(*) FILTER (WHERE action = 'counter.updated'),
                    count(*) - count(DISTINCT event_id), (SELECT count(*) FROM audit.event_default)
             FROM audit.event",
            &[],
        )
        .unwrap();
    let [updates, events, doubled, left] = [0, 1, 2, 3].map(|at| row.get::<_, i64>(at));
    assert!(updates >= 90);
    assert_eq!((events, doubled, left), (updates, 0, 0));
}
