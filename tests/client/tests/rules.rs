//! Rules through an application's life: dumps, rights, DDL.

use audit_client_tests::{Cluster, Database, refused, texts};

/// A table with a condition that calls its owner's function, which nobody else may call.
const SETUP: &str = r#"
    CREATE SCHEMA app;
    CREATE FUNCTION app.is_staff(email text) RETURNS boolean LANGUAGE plpgsql STABLE AS
        $$ BEGIN RETURN email LIKE '%@' || (SELECT name FROM app.domain); END $$;
    CREATE TABLE app.domain (name text);
    INSERT INTO app.domain VALUES ('acme.example');
    CREATE TABLE app.person (id int PRIMARY KEY, email text, state text);
    SELECT audit.track('app.person', 'person', actions => '{"rules": [
        {"on": "insert", "if": "app.is_staff(new.email)", "action": "person.hired"},
        {"on": "update", "columns": ["state"], "if": "new.state = ''gone''", "action": "person.left"}]}');
"#;
const WRITES: &str = "
    INSERT INTO app.person VALUES (1, 'ada@acme.example', 'here'), (2, 'eve@globex.example', 'here');
    UPDATE app.person SET state = 'gone' WHERE id = 1;";

fn owned_by_a_role(database: &Database) -> String {
    let owner = database.role("owner", &["audit_admin"]);
    database
        .connect()
        .batch_execute(&format!(
            "{SETUP}
             GRANT ALL ON SCHEMA app TO \"{owner}\";
             ALTER TABLE app.person OWNER TO \"{owner}\"; ALTER TABLE app.domain OWNER TO \"{owner}\";
             REVOKE ALL ON FUNCTION app.is_staff(text) FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION app.is_staff(text) TO \"{owner}\";"
        ))
        .unwrap();
    owner
}

#[test]
fn a_dump_carries_rules_and_what_they_call() {
    let database = Database::create("rules_dump");
    owned_by_a_role(&database);
    let cluster = Cluster::shared();
    let dump = cluster.run("pg_dump", &[&database.name], None);
    let copy = Database::create_empty("rules_copy");
    let output = copy.psql(&dump);
    assert!(!output.contains("ERROR"), "{output}");
    copy.connect().batch_execute(WRITES).unwrap();
    let actions = texts(
        &mut copy.connect(),
        "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
    );
    assert_eq!(actions, ["person.hired", "person.created", "person.left"]);
}

#[test]
fn a_condition_has_the_owners_rights_whoever_writes() {
    let database = Database::create("rules_rights");
    let owner = owned_by_a_role(&database);
    let writer = database.role("writer", &["audit_writer"]);
    database
        .connect()
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA app TO \"{writer}\"; GRANT ALL ON app.person TO \"{writer}\""
        ))
        .unwrap();
    let mut client = database.connect_as(&writer);
    let (code, ..) = refused(client.batch_execute("SELECT app.is_staff('x')"));
    assert_eq!(code.code(), "42501");
    client.batch_execute(WRITES).unwrap();
    // The owner loses the right, and the writes fail rather than go under another name.
    database
        .connect()
        .batch_execute(&format!("REVOKE EXECUTE ON FUNCTION app.is_staff(text) FROM \"{owner}\""))
        .unwrap();
    let (code, message, hint) =
        refused(database.connect().batch_execute("INSERT INTO app.person VALUES (3, 'x', 'here')"));
    assert_eq!(code.code(), "42501");
    assert!(hint.starts_with("Grant the table's owner"), "{hint}");
    assert!(message.contains("permission denied for function is_staff"), "{message}");
    let actions = texts(
        &mut database.connect(),
        "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
    );
    assert_eq!(actions, ["person.hired", "person.created", "person.left"]);
}

#[test]
fn a_conditions_function_leaves_no_setting_behind() {
    let database = Database::create("rules_settings");
    owned_by_a_role(&database);
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE OR REPLACE FUNCTION app.is_staff(email text) RETURNS boolean LANGUAGE plpgsql STABLE AS
             $$ BEGIN RETURN set_config('search_path', 'app', false) IS NOT NULL; END $$",
        )
        .unwrap();
    let before = texts(&mut client, "SHOW search_path");
    client.batch_execute(WRITES).unwrap();
    assert_eq!(texts(&mut client, "SHOW search_path"), before);
    let actions = texts(&mut client, "SELECT action FROM audit.event WHERE action LIKE 'person.hired'");
    assert_eq!(actions.len(), 2, "the function was called");
}

#[test]
fn ddl_that_breaks_a_condition_is_refused_and_other_ddl_is_not() {
    let database = Database::create("rules_ddl");
    let mut client = database.connect();
    client.batch_execute(SETUP).unwrap();
    for broken in [
        "DROP FUNCTION app.is_staff(text)",
        "DROP FUNCTION app.is_staff(text) CASCADE",
        "ALTER FUNCTION app.is_staff(text) RENAME TO was_staff",
        "ALTER FUNCTION app.is_staff(text) VOLATILE",
        "ALTER SCHEMA app RENAME TO application",
        "ALTER TABLE app.person DROP state",
        "ALTER TABLE app.person ALTER state TYPE int USING 1",
    ] {
        let (code, message, hint) = refused(client.batch_execute(broken));
        assert_eq!(code.code(), "2BP01", "{broken}: {message}");
        assert!(message.contains(".person") && hint.contains("audit.track"), "{broken}: {message} {hint}");
    }
    client
        .batch_execute(
            "ALTER TABLE app.person RENAME state TO a; ALTER TABLE app.person RENAME email TO b;
             BEGIN; ALTER TABLE app.person RENAME a TO c; ALTER TABLE app.person RENAME b TO a;
             ALTER TABLE app.person RENAME c TO b; COMMIT;
             ALTER TABLE app.person ALTER b TYPE varchar(9);
             CREATE FUNCTION app.other() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION app.other();
             CREATE OR REPLACE FUNCTION app.is_staff(email text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
             INSERT INTO app.person (id, a, b) VALUES (3, 'x', 'here'); UPDATE app.person SET b = 'gone';",
        )
        .unwrap();
    let actions = texts(
        &mut client,
        "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
    );
    assert_eq!(actions, ["person.hired", "person.left"]);
    let conditions = texts(
        &mut client,
        "SELECT r ->> 'if' FROM audit.tracked_table, jsonb_array_elements(actions -> 'rules') r",
    );
    assert_eq!(conditions, ["app.is_staff(new.a)", "new.b = 'gone'"]);
}
