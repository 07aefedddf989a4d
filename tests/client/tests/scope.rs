//! The scope of rows whose parent's key passes to another row: what they held before belongs to where they were.

use audit_client_tests::{Database, texts};
use postgres::Client;

/// A database where projects `acme` and `beta` have a child and a grandchild each.
fn projects(label: &str) -> (Database, Client) {
    let database = Database::create(label);
    let mut client = database.connect();
    client
        .batch_execute(
            "CALL audit.maintain();
             CREATE TABLE project (id int PRIMARY KEY, org text);
             CREATE TABLE child (id int PRIMARY KEY, project_id int REFERENCES project ON UPDATE CASCADE ON DELETE CASCADE, secret text);
             CREATE TABLE grandchild (id int PRIMARY KEY, child_id int REFERENCES child ON UPDATE CASCADE ON DELETE CASCADE);
             CREATE TABLE lax (id int PRIMARY KEY, project_id int REFERENCES project DEFERRABLE INITIALLY DEFERRED);
             SELECT audit.track('child', 'child', organisation_id => 'project_id.org'),
                    audit.track('grandchild', 'grandchild', organisation_id => 'child_id.project_id.org'),
                    audit.track('lax', 'lax', organisation_id => 'project_id.org');
             INSERT INTO project VALUES (2, 'beta'), (1, 'acme');
             INSERT INTO child VALUES (10, 1, 'acme''s'), (20, 2, 'beta''s');
             INSERT INTO grandchild VALUES (100, 10), (200, 20); INSERT INTO lax VALUES (11, 1), (21, 2)",
        )
        .unwrap();
    (database, client)
}

/// Runs it, and says what events that left, by resource: their scope and states.
fn events(client: &mut Client, commands: &str) -> Vec<String> {
    const ALL: &str = "SELECT concat_ws(' ', action, resource_id, coalesce(organisation_id, '-'), before_state, after_state)
                       FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id";
    let seen = texts(client, ALL).len();
    client.batch_execute(commands).unwrap_or_else(|error| panic!("{commands}: {error:?}"));
    let mut new = texts(client, ALL).split_off(seen);
    new.sort();
    new
}

#[test]
fn keys_that_are_shifted() {
    let (_database, mut client) = projects("shifted");
    client.batch_execute("DELETE FROM lax").unwrap();
    // Each key but the last is another project's afterwards.
    let shifted = events(&mut client, "UPDATE project SET id = id + 1");
    assert_eq!(
        shifted,
        [
            r#"child.updated 10 acme {"project_id": 1} {"project_id": 2}"#,
            r#"child.updated 20 beta {"project_id": 2} {"project_id": 3}"#,
        ]
    );
    let twice =
        events(&mut client, "BEGIN; UPDATE project SET id = id + 1; UPDATE project SET id = id + 1; COMMIT");
    assert_eq!(
        twice,
        [
            r#"child.updated 10 acme {"project_id": 2} {"project_id": 3}"#,
            r#"child.updated 10 acme {"project_id": 3} {"project_id": 4}"#,
            r#"child.updated 20 beta {"project_id": 3} {"project_id": 4}"#,
            r#"child.updated 20 beta {"project_id": 4} {"project_id": 5}"#,
        ]
    );
}

#[test]
fn keys_that_are_shifted_after_their_projects_moved() {
    let (_database, mut client) = projects("moved_and_shifted");
    client.batch_execute("DELETE FROM lax").unwrap();
    let shifted = events(
        &mut client,
        "BEGIN; UPDATE project SET org = org || '1'; UPDATE project SET org = org || '2'; UPDATE project SET id = id + 1; COMMIT",
    );
    assert_eq!(
        shifted,
        [
            r#"child.updated 10 acme12 {"project_id": 1} {"project_id": 2}"#,
            r#"child.updated 20 beta12 {"project_id": 2} {"project_id": 3}"#,
        ]
    );
}

#[test]
fn a_key_that_is_taken_by_another() {
    let (_database, mut client) = projects("taken");
    let gone = events(
        &mut client,
        "WITH gone AS (DELETE FROM project WHERE org = 'beta' RETURNING id) INSERT INTO project SELECT id, 'evil' FROM gone",
    );
    assert_eq!(
        gone,
        [
            r#"child.deleted 20 beta {"id": 20, "secret": "beta's", "project_id": 2}"#,
            r#"grandchild.deleted 200 beta {"id": 200, "child_id": 20}"#,
        ]
    );
    // Who comes afterwards is the new one's.
    let come = events(
        &mut client,
        "BEGIN; DELETE FROM project WHERE id = 2; INSERT INTO project VALUES (2, 'evil'); INSERT INTO child VALUES (30, 2, 'e');
         UPDATE child SET project_id = 1 WHERE id = 30; UPDATE child SET project_id = 2 WHERE id = 30; DELETE FROM child WHERE id = 30; COMMIT",
    );
    assert_eq!(
        come,
        [
            r#"child.created 30 evil {"id": 30, "secret": "e", "project_id": 2}"#,
            r#"child.deleted 30 evil {"id": 30, "secret": "e", "project_id": 2}"#,
            r#"child.updated 30 acme {"project_id": 1}"#,
            r#"child.updated 30 acme {"project_id": 1}"#,
            r#"child.updated 30 evil {"project_id": 2}"#,
            r#"child.updated 30 evil {"project_id": 2}"#,
        ]
    );
}

#[test]
fn a_key_that_is_taken_before_the_constraint_looks() {
    let (_database, mut client) = projects("deferred");
    client.batch_execute("DELETE FROM child").unwrap();
    // What was committed as beta's goes to beta, also in a later command.
    let later = events(
        &mut client,
        "BEGIN; DELETE FROM project WHERE id = 2; INSERT INTO project VALUES (2, 'evil'); SAVEPOINT a;
         DELETE FROM lax WHERE id = 21; ROLLBACK TO a; UPDATE lax SET project_id = 1 WHERE id = 21; COMMIT",
    );
    assert_eq!(
        later,
        [r#"lax.updated 21 acme {"project_id": 1}"#, r#"lax.updated 21 beta {"project_id": 2}"#]
    );
}

#[test]
fn a_parent_that_moves_keeps_its_children() {
    let (_database, mut client) = projects("parent_moves");
    // The same project in another organisation: what happens to its children from then on is there.
    let moved = events(
        &mut client,
        "BEGIN; UPDATE project SET org = 'new' WHERE id = 2; UPDATE project SET org = 'newer' WHERE id = 2;
         UPDATE child SET secret = 's' WHERE id = 20; UPDATE child SET project_id = 1 WHERE id = 20; DELETE FROM lax WHERE id = 21; COMMIT",
    );
    assert_eq!(
        moved,
        [
            r#"child.updated 20 acme {"project_id": 1}"#,
            r#"child.updated 20 newer {"project_id": 2}"#,
            r#"child.updated 20 newer {"secret": "beta's"} {"secret": "s"}"#,
            r#"lax.deleted 21 newer {"id": 21, "project_id": 2}"#,
        ]
    );
}

#[test]
fn a_partitions_own_foreign_key_leads_nowhere_else() {
    let database = Database::create("own_keys");
    let mut client = database.connect();
    let left = events(
        &mut client,
        "CALL audit.maintain();
         CREATE TABLE fake (id int PRIMARY KEY, org text); CREATE TABLE project (id int PRIMARY KEY, org text);
         INSERT INTO fake VALUES (1, 'evil'); INSERT INTO project VALUES (1, 'acme');
         CREATE TABLE part_1 (id int PRIMARY KEY, project_id int REFERENCES fake);
         CREATE TABLE part (id int PRIMARY KEY, project_id int) PARTITION BY RANGE (id);
         CREATE TABLE part_2 (id int PRIMARY KEY, project_id int REFERENCES fake) PARTITION BY RANGE (id);
         CREATE TABLE part_2_1 (id int PRIMARY KEY, project_id int REFERENCES fake);
         ALTER TABLE part ADD FOREIGN KEY (project_id) REFERENCES project;
         SELECT audit.track('part', 'part', organisation_id => 'project_id.org');
         ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES FROM (1) TO (10);
         ALTER TABLE part_2 ATTACH PARTITION part_2_1 FOR VALUES FROM (10) TO (20);
         ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
         INSERT INTO part VALUES (1, 1), (11, 1)",
    );
    assert_eq!(
        left,
        [
            r#"part.created 1 acme {"id": 1, "project_id": 1}"#,
            r#"part.created 11 acme {"id": 11, "project_id": 1}"#
        ]
    );
}
