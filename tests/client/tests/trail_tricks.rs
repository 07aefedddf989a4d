//! Roundabout ways to stop or edit the trail: each is refused or leaves an event of whoever does it.

use audit_client_tests::{Database, SqlState, refused, texts};
use postgres::Client;

/// A database with a tracked table and a tracked partitioned one, owned by an ordinary role, which is connected.
fn tracked(label: &str) -> (Database, Client, Client) {
    let database = Database::create(label);
    let owner = database.role("owner", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "CREATE SCHEMA app AUTHORIZATION {owner}; SET ROLE {owner};
         CREATE TABLE app.thing (id int PRIMARY KEY, secret text);
         CREATE TABLE app.part (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10);
         RESET ROLE;
         SELECT audit.track('app.thing', 'thing', mask => '{{secret}}'), audit.track('app.part', 'part');
         CALL audit.maintain();",
    ))
    .unwrap();
    let client = database.connect_as(&owner);
    (database, dba, client)
}

/// Action, resource and session role of the trail's own events since `seen` of them.
fn told(dba: &mut Client, seen: &mut usize) -> Vec<String> {
    let mut all = texts(
        dba,
        "SELECT concat_ws(' ', action, resource_id, session_role, metadata ->> 'reason') FROM audit.event
         WHERE action LIKE 'audit.%' ORDER BY event_id",
    );
    let new = all.split_off(*seen);
    *seen += new.len();
    new
}

#[test]
fn columns_of_the_trail_are_neither_replaced_nor_swapped() {
    let (_database, mut dba, _) = tracked("columns");
    for command in [
        "ALTER TABLE audit.event DROP COLUMN db_role, ADD COLUMN db_role text COLLATE \"C\" DEFAULT 'innocent'",
        "ALTER TABLE audit.event ADD COLUMN \"session_role db_role x\" text; ALTER TABLE audit.event RENAME session_role TO x",
        "ALTER TABLE audit.admin DROP COLUMN organisation_id CASCADE, ADD COLUMN organisation_id text DEFAULT 'evil'",
        "ALTER TABLE audit.event_default DROP CONSTRAINT event_default_pkey, ADD PRIMARY KEY (event_id, occurred_at)",
        "ALTER TABLE audit.organisation DROP COLUMN enterprise CASCADE, ADD COLUMN enterprise boolean DEFAULT true",
    ] {
        let (code, message, hint) = refused(dba.batch_execute(command));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{command}: {message}");
        assert!(hint.contains("audit.allow_destruction"), "{command}: {hint}");
    }
}

#[test]
fn what_a_superuser_adds_to_the_trail_or_alters_is_told() {
    let (database, mut dba, _) = tracked("added");
    let role = database.role("other", &[]);
    let mut seen = 0;
    told(&mut dba, &mut seen);
    dba.batch_execute(
        "CREATE SCHEMA aside;
         CREATE FUNCTION aside.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE FUNCTION aside.t(anyelement) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
         CREATE TABLE aside.someone (id text PRIMARY KEY);
         CREATE TABLE aside.root (LIKE audit.event) PARTITION BY RANGE (occurred_at);
         CREATE TABLE aside.old (LIKE audit.event_default INCLUDING ALL)",
    )
    .unwrap();
    let attached = "ALTER TABLE audit.event ATTACH PARTITION aside.old FOR VALUES FROM ('2001-01-01 UTC') TO ('2001-02-01 UTC')";
    for (command, name) in [
        ("CREATE TRIGGER z AFTER DELETE ON audit.event_default FOR EACH STATEMENT EXECUTE FUNCTION aside.f()", "audit.event_default"),
        ("ALTER TABLE audit.event_default DISABLE TRIGGER z", "audit.event_default"),
        ("DROP TRIGGER z ON audit.event_default", "audit.event_default"),
        ("ALTER TABLE audit.event_default ADD CONSTRAINT c CHECK (aside.t(action)) NOT VALID", "audit.event_default"),
        ("ALTER TABLE audit.event_default ADD FOREIGN KEY (actor_id) REFERENCES aside.someone ON DELETE SET NULL", "audit.event_default"),
        ("ALTER TABLE audit.event_default ADD CONSTRAINT once UNIQUE (transaction_id)", "audit.event_default"),
        ("ALTER TABLE audit.event_default DROP CONSTRAINT once, DROP CONSTRAINT event_default_actor_id_fkey", "audit.event_default"),
        ("CREATE TRIGGER z BEFORE DELETE ON audit.admin FOR EACH ROW EXECUTE FUNCTION aside.f()", "audit.admin"),
        ("CREATE RULE r AS ON DELETE TO audit.admin DO INSTEAD NOTHING", "audit.admin"),
        ("ALTER TABLE aside.root ATTACH PARTITION audit.event FOR VALUES FROM (MINVALUE) TO (MAXVALUE)", "audit.event"),
        (attached, "aside.old"),
        ("ALTER TABLE aside.old ADD CHECK (aside.t(action)) NOT VALID", "aside.old"),
        (
            "DO $$BEGIN EXECUTE format('CREATE OR REPLACE VIEW audit.organisation_log AS SELECT * FROM (%s) v WHERE false',
                                    rtrim(pg_get_viewdef('audit.organisation_log'::regclass), ';')); END$$",
            "audit.organisation_log",
        ),
        ("ALTER FUNCTION audit.record STRICT", "audit.record("),
        ("ALTER FUNCTION audit.revoke_admin IMMUTABLE", "audit.revoke_admin("),
        (
            "CREATE OR REPLACE FUNCTION audit.to_json(event audit.event) RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE
             RETURN '{}'::jsonb",
            "audit.to_json(",
        ),
        ("ALTER FUNCTION audit.guard() RENAME TO guarded", "audit.guard"),
        ("ALTER TABLE audit.event DISABLE TRIGGER \"!audit_row_guard\"", "audit.event"),
        ("ALTER FUNCTION audit.capture() RENAME TO captured", "audit.capture"),
        ("ALTER SCHEMA audit OWNER TO other", "audit"),
        ("ALTER EXTENSION audit ADD TABLE aside.old", "table aside.old"),
    ] {
        let command = command.replace("other", &role);
        dba.batch_execute(&command).unwrap_or_else(|error| panic!("{command}: {error}"));
        // What befalls the log's triggers befalls those of its partitions.
        let events = told(&mut dba, &mut seen);
        let expected = format!("audit.guard.disabled {name}");
        assert!(events.iter().any(|event| event.starts_with(&expected)), "{command}: {events:?}");
    }
    // Renamed, the function still tells what tracked tables lose.
    dba.batch_execute("ALTER TABLE app.thing DISABLE TRIGGER USER").unwrap();
    let events = told(&mut dba, &mut seen);
    assert!(events.iter().any(|event| event.starts_with("audit.tracking.disabled app.thing")), "{events:?}");
}

#[test]
fn the_log_keeps_its_name_whatever_is_allowed() {
    let (_database, mut dba, _) = tracked("renamed");
    dba.batch_execute("SET audit.allow_destruction = on").unwrap();
    for command in [
        "ALTER TABLE audit.event RENAME TO event_2",
        "ALTER TABLE audit.event SET SCHEMA public",
        "ALTER SCHEMA audit RENAME TO audited",
    ] {
        let (code, message, _) = refused(dba.batch_execute(command));
        assert_eq!(
            (code, message.as_str()),
            (SqlState::INSUFFICIENT_PRIVILEGE, "audit.event keeps its name")
        );
    }
    // Gone for good, it has none to keep.
    dba.batch_execute("DROP EXTENSION audit CASCADE").unwrap();
}

#[test]
fn a_trigger_that_is_another_under_its_name_is_told() {
    let (_database, mut dba, _) = tracked("replaced");
    let mut seen = 0;
    told(&mut dba, &mut seen);
    let settings: String = dba
        .query_one(
            "SELECT quote_literal(convert_from(substr(tgargs, 1, length(tgargs) - 1), 'UTF8')) FROM pg_trigger
             WHERE tgrelid = 'app.thing'::regclass AND tgname = '!audit_row'",
            &[],
        )
        .unwrap()
        .get(0);
    let replace = |events: &str, condition: &str, settings: &str| {
        format!(
            "CREATE OR REPLACE TRIGGER \"!audit_row\" AFTER {events} ON app.thing FOR EACH ROW {condition}
             EXECUTE FUNCTION audit.capture({settings})"
        )
    };
    let all = "INSERT OR UPDATE OR DELETE";
    let nothing =
        r#"'{"resource_type": "thing", "actions": {"insert": null, "update": null, "delete": null}}'"#;
    let changed = "audit.tracking.changed app.thing postgres trigger !audit_row: replaced by one of other settings, or that fires for other rows";
    for (command, expected) in [
        (replace(all, "", &settings), vec![]),
        (replace(all, "WHEN (pg_trigger_depth() < 0)", &settings), vec![changed]),
        (replace("INSERT OR UPDATE OF id", "", &settings), vec![changed]),
        (replace(all, "", nothing), vec![changed]),
    ] {
        dba.batch_execute(&command).unwrap();
        assert_eq!(told(&mut dba, &mut seen), expected, "{command}");
    }
    // Settings are told as they were and as they are.
    assert_eq!(
        texts(
            &mut dba,
            "SELECT concat(before_state ? 'actions', ' ', after_state -> 'actions') FROM audit.event
             WHERE action = 'audit.tracking.changed' AND resource_id = 'app.thing' ORDER BY event_id DESC LIMIT 1"
        ),
        [r#"f {"delete": null, "insert": null, "update": null}"#]
    );
}

#[test]
fn partitions_with_rows_of_their_own_are_told() {
    let (database, mut dba, mut owner) = tracked("attached");
    let mut seen = 0;
    told(&mut dba, &mut seen);
    owner
        .batch_execute("CREATE TABLE app.part_2 PARTITION OF app.part FOR VALUES FROM (10) TO (20)")
        .unwrap();
    assert_eq!(told(&mut dba, &mut seen), [""; 0]);
    owner
        .batch_execute(
            "CREATE TABLE app.filled (id int NOT NULL); INSERT INTO app.filled VALUES (21);
             ALTER TABLE app.part ATTACH PARTITION app.filled FOR VALUES FROM (20) TO (30)",
        )
        .unwrap();
    let events = told(&mut dba, &mut seen);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("audit.tracking.enabled app.filled"), "{events:?}");
    assert!(events[0].ends_with("attached as a partition, whose rows of before left no event"), "{events:?}");

    // Detached in two transactions, of which the second does not come.
    let mut reader = database.connect();
    reader.batch_execute("BEGIN; SELECT FROM app.part").unwrap();
    let detach = "ALTER TABLE app.part DETACH PARTITION app.filled CONCURRENTLY";
    owner.batch_execute("SET lock_timeout = '200ms'").unwrap();
    assert_eq!(refused(owner.batch_execute(detach)).0, SqlState::LOCK_NOT_AVAILABLE);
    let events = told(&mut dba, &mut seen);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("audit.tracking.disabled app.filled"), "{events:?}");
    assert!(events[0].ends_with("detached concurrently from app.part"), "{events:?}");
    reader.batch_execute("COMMIT").unwrap();
    owner.batch_execute("ALTER TABLE app.part DETACH PARTITION app.filled FINALIZE").unwrap();
    told(&mut dba, &mut seen);
    owner.batch_execute("ALTER TABLE app.part DETACH PARTITION app.part_2 CONCURRENTLY").unwrap();
    let events = told(&mut dba, &mut seen);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("audit.tracking.disabled app.part_2"), "{events:?}");
}

#[test]
fn tables_that_inherit_from_a_tracked_one_are_told() {
    let (database, mut dba, mut owner) = tracked("inherits");
    let name = format!("{}_owner", database.name);
    dba.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO {name}; CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;
         GRANT USAGE ON FOREIGN SERVER far TO {name}",
        database.name
    ))
    .unwrap();
    let mut seen = 0;
    told(&mut dba, &mut seen);
    let begins = "inherits from it now, whose own rows leave an event only if it is tracked";
    let ends = begins.replace("now", "no more");
    for (command, expected) in [
        ("CREATE TABLE app.kid () INHERITS (app.thing)", vec![format!("app.kid {begins}")]),
        ("ALTER TABLE app.kid NO INHERIT app.thing", vec![format!("app.kid {ends}")]),
        (
            "INSERT INTO app.kid VALUES (7, 'x'); ALTER TABLE app.kid INHERIT app.thing",
            vec![format!("app.kid {begins}")],
        ),
        ("DROP TABLE app.kid", vec![format!("app.kid {ends}")]),
        ("CREATE SCHEMA aside CREATE TABLE kid () INHERITS (app.thing)", vec![format!("aside.kid {begins}")]),
        (
            "CREATE FOREIGN TABLE app.foreign_kid () INHERITS (app.thing) SERVER far",
            vec![format!("app.foreign_kid {begins}")],
        ),
        (
            "CREATE TABLE app.free (id int); CREATE TABLE app.child () INHERITS (app.free); DROP TABLE app.free CASCADE",
            vec![],
        ),
    ] {
        owner.batch_execute(command).unwrap();
        let expected: Vec<_> =
            expected.iter().map(|what| format!("audit.tracking.changed app.thing {name} {what}")).collect();
        assert_eq!(told(&mut dba, &mut seen), expected, "{command}");
    }
}

#[test]
fn a_function_that_a_condition_calls_is_told_when_it_becomes_another() {
    let (database, mut dba, _) = tracked("muted");
    let role = database.role("muter", &[]);
    dba.batch_execute(&format!(
        "GRANT CREATE, USAGE ON SCHEMA app TO {role}; SET ROLE {role};
         CREATE FUNCTION app.is_noise(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 0';
         CREATE FUNCTION app.other() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE OPERATOR app.@@@ (FUNCTION = app.is_noise, RIGHTARG = int); RESET ROLE;
         SELECT audit.track('app.thing', 'thing', actions => '{{\"rules\":
             [{{\"on\": \"insert\", \"if\": \"OPERATOR(app.@@@) new.id\", \"action\": null}}]}}')",
    ))
    .unwrap();
    let mut seen = 0;
    told(&mut dba, &mut seen);
    let mut muter = database.connect_as(&role);
    muter
        .batch_execute(
            "CREATE OR REPLACE FUNCTION app.other() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
             CREATE OR REPLACE FUNCTION app.is_noise(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        )
        .unwrap();
    assert_eq!(
        told(&mut dba, &mut seen),
        [format!(
            "audit.tracking.changed app.thing {role} app.is_noise(integer), which a condition calls, was replaced or altered"
        )]
    );
}

/// What `waiting` does while `first` has begun a transaction with its command, and the events of both.
fn race(
    database: &Database,
    first: &mut Client,
    command: &str,
    second: &mut Client,
    waiting: &str,
) -> Vec<String> {
    let mut dba = database.connect();
    let mut seen = 0;
    told(&mut dba, &mut seen);
    first.batch_execute(&format!("BEGIN; {command}")).unwrap();
    let pid: i32 = second.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| second.batch_execute(waiting).unwrap());
        let blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0";
        while !dba.query_one(blocked, &[&pid]).unwrap().get::<_, bool>(0) {
            assert!(!waits.is_finished(), "{waiting} waits for nobody");
            std::thread::yield_now();
        }
        first.batch_execute("COMMIT").unwrap();
        waits.join().unwrap();
    });
    told(&mut dba, &mut seen)
}

#[test]
fn a_command_that_waited_tells_its_own_doing_alone() {
    let (database, mut dba, mut owner) = tracked("waited");
    let name = format!("{}_owner", database.name);
    let row = "trigger !audit_row, !audit_truncate:";
    let off = format!("{row} disabled, or enabled for replicas alone");
    for (label, setup, first, second, expected) in [
        (
            "tracked meanwhile",
            "SELECT audit.untrack('app.thing')",
            "SELECT audit.track('app.thing', 'thing')",
            "ALTER TABLE app.thing DISABLE TRIGGER USER",
            vec!["enabled app.thing postgres".to_owned(), format!("disabled app.thing {name} {off}")],
        ),
        (
            "switched off meanwhile",
            "SELECT audit.track('app.thing', 'thing')",
            "ALTER TABLE app.thing DISABLE TRIGGER USER",
            "ALTER TABLE app.thing RENAME secret TO hidden",
            vec![
                format!("disabled app.thing postgres {off}"),
                format!("changed app.thing {name} column secret is hidden now"),
            ],
        ),
        (
            "switched on again",
            "ALTER TABLE app.thing ENABLE TRIGGER USER",
            "ALTER TABLE app.thing DISABLE TRIGGER USER",
            "ALTER TABLE app.thing ENABLE TRIGGER USER",
            vec![
                format!("disabled app.thing postgres {off}"),
                format!("enabled app.thing {name} {row} enabled again"),
            ],
        ),
        (
            "untracked meanwhile",
            "SELECT 1",
            "SELECT audit.untrack('app.thing')",
            "ALTER TABLE app.thing RENAME hidden TO secret",
            vec!["disabled app.thing postgres".into()],
        ),
        (
            "tracked before it is dropped",
            "SELECT 1",
            "SELECT audit.track('app.thing', 'thing')",
            "DROP TABLE app.thing",
            vec![
                "enabled app.thing postgres".into(),
                format!("disabled app.thing {name} the table was dropped"),
            ],
        ),
    ] {
        dba.batch_execute(setup).unwrap();
        let events = race(&database, &mut dba, first, &mut owner, second);
        let expected: Vec<_> = expected.iter().map(|event| format!("audit.tracking.{event}")).collect();
        assert_eq!(events, expected, "{label}");
    }
}

#[test]
fn an_old_snapshot_hides_nothing() {
    let (database, mut dba, mut owner) = tracked("snapshot");
    let name = format!("{}_owner", database.name);
    let mut seen = 0;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";
    // Another version of the trigger's row, which the snapshot does not know.
    owner.batch_execute(begin).unwrap();
    let mut other = database.connect_as(&name);
    other.batch_execute("ALTER TABLE app.thing RENAME secret TO hidden").unwrap();
    dba.batch_execute("ALTER TABLE app.part RENAME TO parts; ALTER TABLE app.parts RENAME TO part").unwrap();
    told(&mut dba, &mut seen);
    owner.batch_execute("ALTER TABLE app.thing DISABLE TRIGGER USER; COMMIT").unwrap();
    let events = told(&mut dba, &mut seen);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with(&format!("audit.tracking.disabled app.thing {name}")), "{events:?}");
    // Tracked after the snapshot.
    other.batch_execute("CREATE TABLE app.late (id int PRIMARY KEY)").unwrap();
    owner.batch_execute(begin).unwrap();
    dba.batch_execute("SELECT audit.track('app.late', 'late')").unwrap();
    told(&mut dba, &mut seen);
    owner.batch_execute("DROP TABLE app.late; COMMIT").unwrap();
    let events = told(&mut dba, &mut seen);
    assert_eq!(events, [format!("audit.tracking.disabled app.late {name} the table was dropped")]);
    // A partition of the log made after it.
    let mut late = database.connect();
    late.batch_execute(begin).unwrap();
    dba.batch_execute("CREATE TABLE audit.event_2001_01 PARTITION OF audit.event FOR VALUES FROM ('2001-01-01 UTC') TO ('2001-02-01 UTC')")
        .unwrap();
    let (code, ..) = refused(late.batch_execute("DROP TABLE audit.event_2001_01"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
}
