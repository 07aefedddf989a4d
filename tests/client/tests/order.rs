//! The order of events: replayed into empty tables they give the live ones, whatever triggers did in between.

use std::collections::HashMap;

use audit_client_tests::{Database, Random};
use postgres::Client;
use serde_json::{Map, Value};

const TABLES: &str = r#"
    CREATE TABLE item (id int PRIMARY KEY, v text);
    CREATE TABLE part (id int, k int, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
    CREATE TABLE part_2 (v int, k int NOT NULL, id int NOT NULL);
    ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
    CREATE TABLE part_default PARTITION OF part DEFAULT;
    SELECT audit.track('item', 'item'), audit.track('part', 'part');
    -- Each writes to rows that its own statement wrote, will write or makes room for.
    CREATE FUNCTION before_item() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE item SET v = v || 'b' WHERE id = new.id - 1; DELETE FROM item WHERE id = new.id; RETURN new; END $$;
    CREATE TRIGGER b BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION before_item();
    CREATE FUNCTION after_item() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 3 THEN UPDATE item SET v = v || 'a' WHERE id IN (new.id, new.id + 1); END IF; RETURN NULL; END $$;
    CREATE TRIGGER " a" AFTER INSERT OR UPDATE ON item FOR EACH ROW WHEN (new.id % 3 = 0) EXECUTE FUNCTION after_item();
    CREATE FUNCTION after_part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 3 THEN
            UPDATE part SET v = v + 1 WHERE id = new.id + 1; DELETE FROM part WHERE id = new.id + 2 AND k = new.k;
        END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER z AFTER UPDATE ON part FOR EACH ROW WHEN (new.id % 4 = 0) EXECUTE FUNCTION after_part();
    CREATE FUNCTION before_part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 2 THEN UPDATE part SET v = v + 10 WHERE id = new.id AND k <> new.k; END IF; RETURN new; END $$;
    CREATE TRIGGER b BEFORE INSERT ON part_1 FOR EACH ROW EXECUTE FUNCTION before_part();"#;

fn statement(random: &mut Random) -> String {
    let mut n = |limit: u64| random.below(limit);
    match n(9) {
        0 => format!("INSERT INTO item SELECT x, 'new' FROM generate_series({0}, {0} + {1}) x ON CONFLICT (id) DO UPDATE SET v = 'conflict'", n(20), n(6)),
        1 => format!("UPDATE item SET v = v || 'u' WHERE id % {} = 0", n(4) + 1),
        2 => format!("UPDATE item SET id = id + 100 WHERE id = {}", n(20)),
        3 => format!("DELETE FROM item WHERE id % 7 = {}", n(7)),
        4 => format!("INSERT INTO part SELECT x, y, 0 FROM generate_series({0}, {0} + {1}) x, generate_series(1, {2}) y ON CONFLICT DO NOTHING", n(20), n(6), n(4) + 1),
        5 => format!("UPDATE part SET k = {}, v = v + 1 WHERE id % {} = 0 AND k <> {}", n(4) + 1, n(4) + 1, n(4)),
        6 => format!("UPDATE part SET v = v + 1 WHERE id < {}", n(20)),
        7 => format!("DELETE FROM part WHERE id % 5 = {}", n(5)),
        _ => format!(
            "MERGE INTO part USING generate_series({0}, {0} + 8) s ON part.id = s AND part.k = {1} WHEN MATCHED AND s % 3 = 0 THEN DELETE
             WHEN MATCHED THEN UPDATE SET k = {2} WHEN NOT MATCHED THEN INSERT VALUES (s, {1}, 7)",
            n(20), n(4) + 1, n(4) + 1
        ),
    }
}

/// The rows of `table` by key, as the events say they are.
fn replayed(client: &mut Client, table: &str, key: &[&str]) -> HashMap<Vec<Value>, Map<String, Value>> {
    let object = |value: Option<Value>| match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let key_of = |row: &Map<String, Value>| key.iter().map(|column| row[*column].clone()).collect::<Vec<_>>();
    let mut rows = HashMap::new();
    let events = "SELECT action, resource_id, before_state, after_state FROM audit.event WHERE resource_type = $1 ORDER BY event_id";
    for event in client.query(events, &[&table]).unwrap() {
        let (action, id): (String, String) = (event.get(0), event.get(1));
        let (before, after) = (object(event.get(2)), object(event.get(3)));
        match action.rsplit_once('.').unwrap().1 {
            "created" => assert!(rows.insert(key_of(&after), after).is_none(), "{table} {id} was there"),
            "deleted" => assert_eq!(rows.remove(&key_of(&before)), Some(before), "{table} {id}"),
            _ => {
                let mut old: Map<String, Value> = key
                    .iter()
                    .map(|c| (*c).to_owned())
                    .zip(id.split(':').map(|v| v.parse().unwrap()))
                    .collect();
                old.extend(before.clone());
                let mut row =
                    rows.remove(&key_of(&old)).unwrap_or_else(|| panic!("{table} {id} was not there"));
                assert!(
                    before.iter().all(|(column, value)| row[column] == *value),
                    "{table} {id} was another"
                );
                row.extend(after);
                assert!(rows.insert(key_of(&row), row).is_none(), "{table} {id} was there");
            }
        }
    }
    rows
}

#[test]
fn replayed_events_give_the_tables_whatever_triggers_do() {
    let database = Database::create("replay");
    let mut client = database.connect();
    client.batch_execute(TABLES).unwrap();
    let mut random = Random::new(7);
    let mut log = Vec::new();
    for _ in 0..400 {
        let statement = statement(&mut random);
        let savepoint = random.below(4);
        let whole = match savepoint {
            0 => format!("BEGIN; SAVEPOINT a; {statement}; ROLLBACK TO a; {statement}; COMMIT"),
            _ => statement,
        };
        // What a trigger changed under the statement's feet is an error of the application's, and leaves no event.
        if client.batch_execute(&whole).is_err() {
            client.batch_execute("ROLLBACK").unwrap();
        }
        log.push(whole);
    }
    for (table, key) in [("item", &["id"][..]), ("part", &["id", "k"])] {
        let mut live = HashMap::new();
        for row in client.query(&format!("SELECT to_jsonb(t) FROM {table} t"), &[]).unwrap() {
            let Value::Object(row) = row.get(0) else { panic!("a row is an object") };
            live.insert(key.iter().map(|column| row[*column].clone()).collect::<Vec<_>>(), row);
        }
        assert!(replayed(&mut client, table, key) == live, "{table}, after {log:#?}");
    }
    let events: i64 = client.query_one("SELECT count(*) FROM audit.event", &[]).unwrap().get(0);
    assert!(events > 1000, "{events} events");
}
