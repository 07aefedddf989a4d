//! What leaves no trace in the log, by whom: docs/security.md says so, and each test here shows one of its claims. A test
//! that fails is good news, and a sentence to take out.

use audit_client_tests::{Cluster, Database, texts};
use postgres::Client;

/// A table with one row and its event, of an owner who is no superuser, and the owner's session.
fn owned(label: &str) -> (Database, Client) {
    Database::owned(
        label,
        "CREATE TABLE app.claim (id int PRIMARY KEY, organisation text, asked int, paid int, status text);
         SELECT audit.track('app.claim', 'claim', organisation_id => 'organisation');
         INSERT INTO app.claim VALUES (1, 'acme', 900, 10, 'rejected');",
    )
}

/// The log, and what health says of it.
fn traces(database: &Database) -> Vec<String> {
    texts(
        &mut database.connect(),
        "SELECT e::text FROM audit.event e UNION ALL SELECT h::text FROM audit.health() h ORDER BY 1",
    )
}

/// Does it, and finds no trace of it; returns the table's rows then.
fn without_a_trace(database: &Database, client: &mut Client, commands: &str) -> Vec<String> {
    let before = traces(database);
    client.batch_execute(commands).unwrap_or_else(|error| panic!("{commands}: {error:?}"));
    assert_eq!(traces(database), before, "{commands}");
    texts(client, "SELECT concat_ws(' ', id, organisation, asked, paid, status) FROM app.claim ORDER BY id")
}

#[test]
fn an_owner_has_writes_go_elsewhere() {
    let (database, mut owner) = owned("elsewhere");
    let rows = without_a_trace(
        &database,
        &mut owner,
        "CREATE TABLE aside.claim (LIKE app.claim);
         CREATE RULE away AS ON INSERT TO app.claim DO INSTEAD INSERT INTO aside.claim VALUES (new.*);
         INSERT INTO app.claim VALUES (2, 'acme', 5, 5, 'approved')",
    );
    assert_eq!(rows, ["1 acme 900 10 rejected"]);
}

#[test]
fn an_owner_of_the_database_drops_it() {
    let cluster = Cluster::temporary("dropped");
    let mut dba = cluster.connect("postgres", "postgres");
    for command in ["CREATE ROLE somebody LOGIN", "CREATE DATABASE shop OWNER somebody"] {
        dba.batch_execute(command).unwrap();
    }
    cluster.connect("shop", "postgres").batch_execute("CREATE EXTENSION audit").unwrap();
    cluster.connect("postgres", "somebody").batch_execute("DROP DATABASE shop").unwrap();
    assert_eq!(texts(&mut dba, "SELECT datname::text FROM pg_database WHERE datname = 'shop'"), [""; 0]);
}

/// This month's partition.
fn month(client: &mut Client) -> String {
    texts(client, "SELECT DISTINCT tableoid::regclass::text FROM audit.event WHERE action = 'claim.created'")
        .remove(0)
}

#[test]
fn a_superuser_deletes_events_while_event_triggers_are_off() {
    let (database, _owner) = owned("off");
    let mut dba = database.connect();
    let month = month(&mut dba);
    let own = "starts_with(action, 'audit.') AND NOT starts_with(action, 'audit.tracking.')";
    let count = format!("SELECT count(*)::text FROM audit.event WHERE {own}");
    let before = (texts(&mut dba, &count), texts(&mut dba, "SELECT h::text FROM audit.health() h"));
    let all = |how: &str| {
        ["audit_before_ddl", "audit_follow_ddl", "audit_before_rewrite"]
            .map(|name| format!("ALTER EVENT TRIGGER {name} {how};"))
            .concat()
    };
    dba.batch_execute(&format!(
        "BEGIN; {off}
         ALTER TABLE {month} DISABLE TRIGGER USER;
         DELETE FROM {month} WHERE action = 'claim.created';
         ALTER TABLE {month} ENABLE ALWAYS TRIGGER \"!audit_row_guard\", ENABLE ALWAYS TRIGGER \"!audit_statement_guard\";
         {on} COMMIT",
        off = all("DISABLE"),
        on = all("ENABLE ALWAYS"),
    ))
    .unwrap();
    let after = (texts(&mut dba, &count), texts(&mut dba, "SELECT h::text FROM audit.health() h"));
    assert_eq!(after, before);
    assert_eq!(texts(&mut dba, "SELECT action FROM audit.event WHERE action = 'claim.created'"), [""; 0]);
}

#[test]
fn a_superuser_writes_pages_past_all_triggers() {
    let (database, _owner) = owned("surgery");
    let mut dba = database.connect();
    dba.batch_execute("CREATE EXTENSION pg_surgery").unwrap();
    let month = month(&mut dba);
    dba.batch_execute(&format!(
        "SELECT heap_force_kill('{month}', ARRAY(SELECT ctid FROM {month} WHERE action = 'claim.created'))"
    ))
    .unwrap();
    let actions = "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.tracking.%'";
    assert_eq!(texts(&mut dba, actions), [""; 0]);
}

#[test]
fn a_superuser_gives_rights_as_if_restoring() {
    let (database, _owner) = owned("restoring");
    let mut dba = database.connect();
    let before = traces(&database);
    dba.batch_execute(
        "SET row_security = off; SET check_function_bodies = off;
         INSERT INTO audit.admin (actor_id, organisation_id) VALUES ('mallory', 'acme')",
    )
    .unwrap();
    assert_eq!(traces(&database), before);
    assert_eq!(texts(&mut dba, "SELECT actor_id FROM audit.admin"), ["mallory"]);
}
