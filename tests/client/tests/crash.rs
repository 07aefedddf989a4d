//! Killed with -9 at random moments: after recovery the events and the tables still tell the same story.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use audit_client_tests::{Cluster, Random};
use postgres::Client;
use serde_json::{Map, Value};

const WRITERS: u32 = 4;

/// Writes until the server is gone: single rows, bulk statements, savepoints, prepared transactions.
fn write(client: &mut Client, writer: u32, round: u32, in_bulk: &AtomicBool) -> Result<(), postgres::Error> {
    let mut random = Random::new(u64::from(round * WRITERS + writer));
    loop {
        let id = random.below(500);
        match random.below(6) {
            0 => {
                client.execute("INSERT INTO account VALUES ($1, 0, 'new') ON CONFLICT (id) DO UPDATE SET balance = account.balance + 1", &[&(id as i32)])?;
            }
            1 => {
                client.execute("DELETE FROM account WHERE id = $1", &[&(id as i32)])?;
            }
            2 => {
                // Each writer has rows of its own for bulk statements, so that they do not deadlock.
                let (low, high) = (1_000_000 * (writer as i32 + 1), 1_000_000 * (writer as i32 + 1) + 5000);
                in_bulk.store(true, Ordering::Relaxed);
                client.execute(
                    "INSERT INTO account SELECT n, 0, 'bulk' FROM generate_series($1::int, $2::int) n ON CONFLICT (id) DO UPDATE SET balance = account.balance + 1",
                    &[&low, &high],
                )?;
                client.execute(
                    "DELETE FROM account WHERE id BETWEEN $1 AND $2 AND id % 3 = 0",
                    &[&low, &high],
                )?;
                in_bulk.store(false, Ordering::Relaxed);
            }
            3 => client.batch_execute(&format!(
                "BEGIN; INSERT INTO account VALUES ({id}, 1, 'outer') ON CONFLICT DO NOTHING;
                 SAVEPOINT a; UPDATE account SET note = 'rolled back' WHERE id = {id}; ROLLBACK TO a;
                 SAVEPOINT b; UPDATE account SET note = 'kept {writer}' WHERE id = {id}; RELEASE b; COMMIT"
            ))?,
            4 => {
                let name = format!("p_{round}_{writer}_{}", random.below(1 << 40));
                client.batch_execute(&format!(
                    "BEGIN; UPDATE account SET balance = balance + 10 WHERE id = {id};
                     INSERT INTO account VALUES ({}, 5, 'prepared') ON CONFLICT DO NOTHING; PREPARE TRANSACTION '{name}'",
                    2_000_000_000 - i64::from(writer)
                ))?;
                std::thread::sleep(Duration::from_millis(random.below(20)));
                let end = if random.below(3) == 0 { "ROLLBACK" } else { "COMMIT" };
                client.batch_execute(&format!("{end} PREPARED '{name}'"))?;
            }
            _ => {
                client.execute(
                    "UPDATE account SET balance = balance - 1, note = $2 WHERE id = $1",
                    &[&(id as i32), &format!("n{id}")],
                )?;
            }
        }
    }
}

type Rows = BTreeMap<String, Map<String, Value>>;

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The events, replayed into empty tables, give the live rows; undone from the live rows, they give empty tables.
fn check(client: &mut Client, round: u32) -> usize {
    let live: Rows = client
        .query("SELECT id::text, to_jsonb(a) FROM account a", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), object(row.get(1))))
        .collect();
    let events: Vec<(String, String, Option<Value>, Option<Value>)> = client
        .query(
            "SELECT action, resource_id, before_state, after_state FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let mut rows = Rows::new();
    for (action, id, _, after) in &events {
        match action.as_str() {
            "account.created" => {
                assert!(rows.insert(id.clone(), object(after.clone())).is_none(), "round {round}: {id} twice")
            }
            "account.updated" => {
                rows.get_mut(id).expect("an update of a row that is there").extend(object(after.clone()))
            }
            _ => assert!(rows.remove(id).is_some(), "round {round}: {id} was not there"),
        }
    }
    assert!(rows == live, "round {round}: the events do not give the tables");
    let mut rows = live;
    for (action, id, before, _) in events.iter().rev() {
        match action.as_str() {
            "account.created" => assert!(rows.remove(id).is_some()),
            "account.updated" => rows.get_mut(id).expect("it was there").extend(object(before.clone())),
            _ => assert!(rows.insert(id.clone(), object(before.clone())).is_none()),
        }
    }
    assert!(rows.is_empty(), "round {round}: the tables do not give the events");
    events.len()
}

#[test]
fn after_ten_kills_events_and_tables_agree() {
    let rounds: u32 = std::env::var("AUDIT_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let cluster = Cluster::temporary("crash");
    cluster
        .connect("postgres", "postgres")
        .batch_execute(
            "CREATE EXTENSION audit; CREATE TABLE account (id int PRIMARY KEY, balance int, note text);
             SELECT audit.track('account', 'account'); CALL audit.maintain()",
        )
        .unwrap();
    let (inside, between) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let mut random = Random::new(99);
    let mut recorded = 0;
    // More rounds where the machine is too busy to write enough for the assertion at the end in these.
    for round in 0..10 * rounds {
        if round >= rounds && recorded > 1000 {
            break;
        }
        let in_bulk: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let writers: Vec<_> = in_bulk
            .iter()
            .cloned()
            .zip(0..)
            .map(|(in_bulk, writer)| {
                let mut client = cluster.connect("postgres", "postgres");
                std::thread::spawn(move || {
                    write(&mut client, writer, round, &in_bulk).expect_err("the server was killed")
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        cluster
            .connect("postgres", "postgres")
            .batch_execute(&format!(
                "BEGIN; INSERT INTO account VALUES ({0}, 0, 'pending'); UPDATE account SET balance = 1 WHERE id = {0};
                 PREPARE TRANSACTION 'pending {round}'",
                1_900_000_000 + round
            ))
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.below(200)));
        cluster.crash();
        if in_bulk.iter().any(|busy| busy.load(Ordering::Relaxed)) {
            inside.fetch_add(1, Ordering::Relaxed);
        }
        for writer in writers {
            let error = writer.join().unwrap();
            // Class 57 is an operator's intervention; everything else would be a failure of its own.
            assert!(
                error.code().is_none_or(|code| code.code().starts_with("57")),
                "round {round}: {error:?}"
            );
        }
        cluster.restart();
        let mut client = cluster.connect("postgres", "postgres");
        let prepared = client.query("SELECT gid FROM pg_prepared_xacts", &[]).unwrap();
        between.fetch_add(u32::from(!prepared.is_empty()), Ordering::Relaxed);
        for row in prepared {
            let end = if random.below(2) == 0 { "ROLLBACK" } else { "COMMIT" };
            client.batch_execute(&format!("{end} PREPARED '{}'", row.get::<_, String>(0))).unwrap();
        }
        recorded = check(&mut client, round);
    }
    assert!(recorded > 1000, "{recorded} events");
    assert!(inside.load(Ordering::Relaxed) > 0, "no kill came inside a bulk statement");
    assert!(between.load(Ordering::Relaxed) > 0, "no kill came between PREPARE and COMMIT PREPARED");
}
