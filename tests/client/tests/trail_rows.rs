//! Commands that make rows hold something else without writing them: each leaves an event of whoever does it.

use audit_client_tests::{Database, texts};
use postgres::Client;

/// Runs each command, and holds against what is expected what the trail then tells of which table.
fn tells(database: &Database, client: &mut Client, cases: &[(&str, &[&str])]) {
    let mut dba = database.connect();
    let mut told = || {
        texts(
            &mut dba,
            "SELECT concat_ws(' ', action, resource_id, session_role, metadata ->> 'reason') FROM audit.event
             WHERE action LIKE 'audit.%' ORDER BY event_id",
        )
    };
    let mut seen = told().len();
    for (command, expected) in cases {
        client.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        let all = told();
        let name = format!(" {}_owner", database.name);
        let new: Vec<_> = all[seen..].iter().map(|told| told.replace(&name, "")).collect();
        let expected: Vec<_> = expected.iter().map(|what| format!("audit.tracking.changed {what}")).collect();
        assert_eq!(new, expected, "{command}");
        seen = all.len();
    }
}

#[test]
fn columns_that_go_come_or_are_others() {
    let (database, mut owner) = Database::owned(
        "columns_of_rows",
        "CREATE TABLE app.thing (id int PRIMARY KEY, secret text, amount int, paid int, code varchar(3));
         SELECT audit.track('app.thing', 'thing', mask => '{secret}');
         INSERT INTO app.thing VALUES (1, 's', -1, 2, 'c')",
    );
    tells(
        &database,
        &mut owner,
        &[
            ("ALTER TABLE app.thing ADD note text, ADD CHECK (id > 0), ALTER note SET DEFAULT 'x'", &[]),
            // Nothing is rewritten, and -1 reads 4294967295.
            ("ALTER TABLE app.thing ALTER amount TYPE oid", &["app.thing column amount is of type oid now"]),
            ("ALTER TABLE app.thing ALTER code TYPE varchar(30)", &[]),
            ("ALTER TABLE app.thing ALTER code TYPE varchar(30) COLLATE \"C\"", &[]),
            (
                "ALTER TABLE app.thing DROP amount, ADD amount int DEFAULT 12345",
                &[
                    "app.thing column amount was dropped; column amount came with a value for the rows that were there",
                ],
            ),
            (
                "ALTER TABLE app.thing ADD COLUMN vip boolean NOT NULL DEFAULT true",
                &["app.thing column vip came with a value for the rows that were there"],
            ),
            (
                "CREATE DOMAIN app.seven AS int DEFAULT 7; ALTER TABLE app.thing ADD COLUMN n app.seven",
                &["app.thing column n came with a value for the rows that were there"],
            ),
            (
                "SET search_path = app; ALTER TABLE thing RENAME amount TO x; RESET search_path",
                &["app.thing column amount is x now"],
            ),
            ("ALTER TABLE app.thing RENAME CONSTRAINT thing_id_check TO y", &[]),
            ("ALTER TABLE app.thing DROP COLUMN IF EXISTS nothing", &[]),
            ("ALTER TABLE IF EXISTS app.nothing DROP COLUMN id", &[]),
            (
                "CREATE TABLE app.free (id int); ALTER TABLE app.free ADD x int DEFAULT 1, DROP id; DROP TABLE app.free CASCADE",
                &[],
            ),
        ],
    );
}

#[test]
fn columns_that_go_with_something_else() {
    let (database, mut owner) = Database::owned(
        "columns_gone",
        "CREATE DOMAIN app.word AS text; CREATE TYPE app.mood AS ENUM ('good');
         CREATE FUNCTION app.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
         CREATE TABLE app.thing (id int PRIMARY KEY, word app.word, mood app.mood, other app.mood[],
                                 twice int GENERATED ALWAYS AS (app.twice(id)) STORED, price int DEFAULT 1);
         CREATE TABLE app.part (LIKE app.thing) PARTITION BY LIST (id);
         CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES IN (1);
         SELECT audit.track('app.thing', 'thing'), audit.track('app.part', 'part', resource_id => '{id}');",
    );
    tells(
        &database,
        &mut owner,
        &[
            (
                "DROP DOMAIN app.word CASCADE",
                &["app.thing column word was dropped", "app.part column word was dropped"],
            ),
            (
                "DROP TYPE app.mood CASCADE",
                &[
                    "app.thing column mood was dropped; column other was dropped",
                    "app.part column mood was dropped; column other was dropped",
                ],
            ),
            ("DROP FUNCTION app.twice(int) CASCADE", &["app.thing column twice was dropped"]),
        ],
    );
}

#[test]
fn columns_that_change_with_a_parents_or_a_types() {
    let (database, mut owner) = Database::owned(
        "columns_above",
        "CREATE TYPE app.sort AS (id int, a text, b text);
         CREATE TABLE app.typed OF app.sort (PRIMARY KEY (id));
         CREATE TABLE app.parent (id int, name text, note text);
         CREATE TABLE app.child (PRIMARY KEY (id)) INHERITS (app.parent);
         CREATE TABLE app.grandchild () INHERITS (app.child);
         CREATE TABLE app.part (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
         CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10);
         CREATE TABLE app.free (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
         CREATE TABLE app.free_1 PARTITION OF app.free FOR VALUES FROM (0) TO (10);
         SELECT audit.track('app.free_1', 'free');
         SELECT audit.track('app.typed', 'typed'), audit.track('app.child', 'child'),
                audit.track('app.grandchild', 'grandchild', resource_id => '{id}'), audit.track('app.part', 'part');",
    );
    tells(
        &database,
        &mut owner,
        &[
            ("ALTER TYPE app.sort RENAME ATTRIBUTE a TO x CASCADE", &["app.typed column a is x now"]),
            ("ALTER TYPE app.sort DROP ATTRIBUTE x CASCADE", &["app.typed column x was dropped"]),
            ("ALTER TYPE app.sort ADD ATTRIBUTE y text CASCADE", &[]),
            (
                "ALTER TABLE app.parent RENAME name TO label",
                &["app.child column name is label now", "app.grandchild column name is label now"],
            ),
            (
                "ALTER TABLE app.parent DROP label",
                &["app.child column label was dropped", "app.grandchild column label was dropped"],
            ),
            (
                "ALTER TABLE app.parent ADD label text DEFAULT 'x'",
                &[
                    "app.child column label came with a value for the rows that were there",
                    "app.grandchild column label came with a value for the rows that were there",
                ],
            ),
            ("ALTER TABLE ONLY app.parent DROP note", &[]),
            ("ALTER TABLE app.part DROP name", &["app.part column name was dropped"]),
            (
                "ALTER TABLE app.part ADD name text DEFAULT 'x', ADD free text",
                &["app.part column name came with a value for the rows that were there"],
            ),
            ("ALTER TABLE app.free DROP name", &["app.free_1 column name was dropped"]),
            (
                "ALTER TABLE app.free ADD name text DEFAULT 'x'",
                &["app.free_1 column name came with a value for the rows that were there"],
            ),
        ],
    );
}

#[test]
fn values_that_change_with_their_type() {
    let (database, mut owner) = Database::owned(
        "values_of_types",
        "CREATE TYPE app.status AS ENUM ('rejected', 'approved');
         CREATE DOMAIN app.known AS app.status; CREATE TYPE app.money AS (amount int, currency app.known);
         CREATE TABLE app.row (x int, y int);
         CREATE TABLE app.claim (id int PRIMARY KEY, status app.status, paid app.money[], row app.row);
         CREATE TABLE app.part (id int PRIMARY KEY, status app.known) PARTITION BY RANGE (id);
         CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10);
         CREATE TABLE app.free (status app.status);
         SELECT audit.track('app.claim', 'claim'), audit.track('app.part', 'part');
         INSERT INTO app.claim VALUES (1, 'rejected')",
    );
    tells(
        &database,
        &mut owner,
        &[
            ("ALTER TYPE app.status ADD VALUE 'asked'", &[]),
            (
                "ALTER TYPE app.status RENAME VALUE 'approved' TO 'x'",
                &[
                    "app.claim columns status, paid hold values of a type that was altered",
                    "app.part column status holds values of a type that was altered",
                ],
            ),
            (
                "ALTER TYPE app.money RENAME ATTRIBUTE amount TO sum",
                &["app.claim column paid holds values of a type that was altered"],
            ),
            (
                "ALTER TYPE app.money DROP ATTRIBUTE sum",
                &["app.claim column paid holds values of a type that was altered"],
            ),
            (
                "ALTER TABLE app.row RENAME x TO z",
                &["app.claim column row holds values of a type that was altered"],
            ),
            ("ALTER TABLE app.row ADD CONSTRAINT u UNIQUE (z); ALTER TABLE app.row DROP CONSTRAINT u", &[]),
            (
                "ALTER DOMAIN app.known RENAME TO well_known; ALTER TYPE app.status OWNER TO current_user;
                 ALTER TYPE app.status RENAME TO state",
                &[],
            ),
        ],
    );
}

#[test]
fn a_key_that_is_another() {
    let (database, mut owner) = Database::owned(
        "keys",
        "CREATE TABLE app.thing (id int PRIMARY KEY, name text NOT NULL, code int NOT NULL);
         CREATE TABLE app.other (id int PRIMARY KEY, code int NOT NULL);
         SELECT audit.track('app.thing', 'thing'), audit.track('app.other', 'other', resource_id => '{id}');
         INSERT INTO app.thing VALUES (1, 'n', 7)",
    );
    tells(
        &database,
        &mut owner,
        &[
            (
                "ALTER TABLE app.thing DROP CONSTRAINT thing_pkey, ADD PRIMARY KEY (name)",
                &["app.thing the primary key is (name) now, and was (id)"],
            ),
            ("ALTER TABLE app.thing RENAME name TO label", &["app.thing column name is label now"]),
            ("ALTER TABLE app.thing DROP CONSTRAINT thing_pkey, ADD PRIMARY KEY (label)", &[]),
            // Where rows are known by other columns, the key need not be there.
            (
                "ALTER TABLE app.other DROP CONSTRAINT other_pkey",
                &["app.other the primary key (id) was dropped"],
            ),
            (
                "ALTER TABLE app.other ADD PRIMARY KEY (code, id)",
                &["app.other the primary key is (code, id) now"],
            ),
            (
                "ALTER TABLE app.other DROP code",
                &["app.other column code was dropped; the primary key (code, id) was dropped"],
            ),
            (
                "ALTER TABLE app.other ADD serial int PRIMARY KEY GENERATED ALWAYS AS IDENTITY",
                &[
                    "app.other ALTER TABLE rewrote the table, which leaves no event for each row",
                    "app.other the primary key is (serial) now",
                ],
            ),
        ],
    );
}

#[test]
fn a_path_to_the_scope_that_leads_elsewhere() {
    let (database, mut owner) = Database::owned(
        "paths",
        "CREATE TABLE app.org (id text PRIMARY KEY);
         CREATE TABLE app.project (id int PRIMARY KEY, org text CONSTRAINT org REFERENCES app.org);
         CREATE TABLE app.other (id int PRIMARY KEY, org text);
         CREATE TABLE app.task (id int PRIMARY KEY, project int CONSTRAINT project REFERENCES app.project,
                                free int CONSTRAINT free REFERENCES app.project);
         CREATE TABLE app.step (id int PRIMARY KEY, task int REFERENCES app.task);
         SELECT audit.track('app.task', 'task', organisation_id => 'project.org', project_id => 'project'),
                audit.track('app.step', 'step', organisation_id => 'task.project.org');",
    );
    let along = "a foreign key of app.task (project), along which organisation_id is found, came, went or leads elsewhere";
    tells(
        &database,
        &mut owner,
        &[
            ("ALTER TABLE app.task DROP CONSTRAINT free", &[]),
            ("ALTER TABLE app.project DROP CONSTRAINT org", &[]),
            (
                "ALTER TABLE app.task DROP CONSTRAINT project, ADD CONSTRAINT project FOREIGN KEY (project) REFERENCES app.project",
                &[],
            ),
            (
                "ALTER TABLE app.task DROP CONSTRAINT project, ADD CONSTRAINT project FOREIGN KEY (project) REFERENCES app.other",
                &[&format!("app.task {along}"), &format!("app.step {along}")],
            ),
            (
                "ALTER TABLE app.task ADD CONSTRAINT second FOREIGN KEY (project) REFERENCES app.project",
                &[&format!("app.task {along}"), &format!("app.step {along}")],
            ),
            ("DROP TABLE app.other CASCADE", &[&format!("app.task {along}"), &format!("app.step {along}")]),
            (
                "CREATE TABLE app.other (id int PRIMARY KEY, org text); ALTER TABLE app.task ADD FOREIGN KEY (project) REFERENCES app.other",
                &[&format!("app.task {along}"), &format!("app.step {along}")],
            ),
            (
                "ALTER TABLE app.project DROP id CASCADE",
                &[&format!("app.task {along}"), &format!("app.step {along}")],
            ),
        ],
    );
}

#[test]
fn what_a_command_does_around_another() {
    let (database, mut owner) = Database::owned(
        "around",
        "CREATE TABLE app.thing (id int PRIMARY KEY, a text); CREATE TABLE app.other (id int PRIMARY KEY, a text);
         SELECT audit.track('app.thing', 'thing'), audit.track('app.other', 'other');
         CREATE FUNCTION app.f() RETURNS int LANGUAGE plpgsql AS $$
         BEGIN
             BEGIN
                 ALTER TABLE app.other DROP a;
                 RAISE 'undone';
             EXCEPTION WHEN raise_exception THEN ALTER TABLE app.other RENAME a TO b;
             END;
             RETURN 1;
         END $$;
         INSERT INTO app.thing VALUES (1)",
    );
    tells(
        &database,
        &mut owner,
        &[(
            "ALTER TABLE app.thing DROP a, ADD b int DEFAULT app.f()",
            &[
                "app.thing ALTER TABLE rewrote the table, which leaves no event for each row",
                "app.thing column a was dropped",
                "app.other column a is b now",
            ],
        )],
    );
}

#[test]
fn an_old_snapshot_hides_no_change() {
    let (database, mut owner) = Database::owned("old", "CREATE TABLE app.thing (id int PRIMARY KEY, a text)");
    owner.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM app.thing").unwrap();
    database.connect_as(&format!("{}_owner", database.name)).batch_execute(
        "CREATE TYPE app.mood AS ENUM ('good'); CREATE TABLE app.late (id int PRIMARY KEY, mood app.mood);
         SELECT audit.track('app.late', 'late'), audit.track('app.thing', 'thing')",
    ).unwrap();
    tells(
        &database,
        &mut owner,
        &[(
            "ALTER TYPE app.mood RENAME VALUE 'good' TO 'bad'; ALTER TABLE app.thing RENAME a TO b; COMMIT",
            &["app.late column mood holds values of a type that was altered", "app.thing column a is b now"],
        )],
    );
}

#[test]
fn settings_of_a_restore_hide_nothing_of_others_than_superusers() {
    let (database, mut owner) = Database::owned(
        "like_a_restore",
        "CREATE TABLE app.thing (id int PRIMARY KEY); SELECT audit.track('app.thing', 'thing')",
    );
    tells(
        &database,
        &mut owner,
        &[(
            "SET row_security = off; SET check_function_bodies = off; ALTER TABLE app.thing ADD e text DEFAULT 'forged'",
            &["app.thing column e came with a value for the rows that were there"],
        )],
    );
    let mut dba = database.connect();
    owner
        .batch_execute(
            "CREATE TABLE app.part (id int PRIMARY KEY) PARTITION BY RANGE (id); SELECT audit.track('app.part', 'part');
             CREATE TABLE app.part_1 (id int PRIMARY KEY); INSERT INTO app.part_1 VALUES (1);
             ALTER TABLE app.part ATTACH PARTITION app.part_1 FOR VALUES FROM (0) TO (10)",
        )
        .unwrap();
    let told = texts(
        &mut dba,
        "SELECT metadata ->> 'reason' FROM audit.event WHERE resource_id = 'app.part_1' AND action = 'audit.tracking.enabled'",
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("attached as a partition, whose rows of before left no event"));
}
