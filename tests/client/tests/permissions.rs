//! Who may do what: every operation of the table in permissions.md, by every principal, over a connection of its own.
//!
//! With AUDIT_WRITE_EXPECTED=1 the table is written anew from what the server said, for somebody to review; a new row
//! needs only its statement.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use audit_client_tests::matrix::{Matrix, Row};
use audit_client_tests::{Cluster, Database, root, texts};
use postgres::{Client, NoTls, SimpleQueryMessage};

/// A column of the table.
struct Principal {
    name: &'static str,
    memberships: &'static [&'static str],
    /// Arguments of `audit.grant_admin`, for who reads something.
    administers: &'static str,
    /// What its sessions begin with.
    session: &'static str,
}

const fn member(name: &'static str, memberships: &'static [&'static str]) -> Principal {
    Principal { name, memberships, administers: "", session: "" }
}

const fn administrator(name: &'static str, administers: &'static str) -> Principal {
    Principal { name, memberships: &["audit_reader"], administers, session: "" }
}

const PRINCIPALS: [Principal; 18] = [
    member("superuser", &[]),
    member("admin", &["audit_admin"]),
    member("owner", &["audit_admin"]),
    Principal {
        name: "actor",
        memberships: &["audit_writer"],
        administers: "",
        session: "SET audit.actor_id = 'u-1'",
    },
    member("writer", &["audit_writer"]),
    Principal {
        name: "app",
        memberships: &["audit_writer", "audit_reader"],
        administers: "",
        session: "SET audit.actor_id = 'u-1'",
    },
    member("reader", &["audit_reader"]),
    administrator("organisation", "organisation_id => 'acme'"),
    administrator("project", "project_id => 'p1'"),
    administrator("instance", "instance_owner => true"),
    administrator("foreign", "organisation_id => 'globex'"),
    member("read_all", &["pg_read_all_data"]),
    member("write_all", &["pg_write_all_data"]),
    member("monitor", &["pg_monitor"]),
    member("database", &[]),
    member("createrole", &[]),
    member("backup", &["pg_read_all_data"]),
    member("plain", &[]),
];

/// Operations below this heading run in a database without the extension.
const ELSEWHERE: &str = "a database without the extension";
const DATABASE: &str = "the database";
const TRACKED: &str = "a tracked table";
/// Operations below this heading run in sessions that began while a setting of the database said so.
const STRICT: &str = "a tracked table, while audit.require_actor is on";
const MONTH: &str = "the partition of a month";

/// A principal's session, and the warnings that it was given.
struct Session {
    client: Client,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Session {
    fn new(database: &Database, role: &str, setup: &str) -> Self {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&warnings);
        let mut config = Cluster::shared().config(&database.name, role, "");
        config.notice_callback(move |notice| {
            if notice.severity() == "WARNING" {
                seen.lock().unwrap().push(notice.code().code().to_owned());
            }
        });
        let mut client = config.connect(NoTls).expect("each role can log in");
        client.batch_execute(&format!("SET statement_timeout = '1min'; {setup}")).unwrap();
        Self { client, warnings }
    }

    /// Tries an operation and takes it back; returns what stands in the table's cell.
    fn attempt(&mut self, operation: &str) -> String {
        self.client.batch_execute("BEGIN").unwrap();
        self.warnings.lock().unwrap().clear();
        let result = self.client.simple_query(operation);
        let warning = self.warnings.lock().unwrap().first().cloned();
        self.client.batch_execute("ROLLBACK").unwrap_or_else(|error| panic!("{operation}: {error}"));
        match (result, warning) {
            (Err(error), _) => {
                let error = error.as_db_error().unwrap_or_else(|| panic!("{operation}: {error}"));
                if error.code().code() == "42501" { "-".into() } else { error.code().code().to_owned() }
            }
            (Ok(_), Some(warning)) => warning,
            (Ok(messages), None) if counts(operation) => format!("ok {}", rows(&messages)),
            (Ok(_), None) => "ok".into(),
        }
    }
}

/// Whether the number of rows belongs into the cell.
fn counts(operation: &str) -> bool {
    let last = operation.rsplit("; ").next().unwrap_or_default();
    ["SELECT *", "INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|verb| last.starts_with(verb))
}

fn rows(messages: &[SimpleQueryMessage]) -> u64 {
    let done = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    done.expect("a command that succeeds says so")
}

/// The database that the operations meet.
struct World {
    database: Database,
    roles: Vec<String>,
    /// The database of the operations that need one without the extension.
    elsewhere: Database,
    /// The name of this month's partition.
    month: String,
}

impl World {
    /// Whose events are counted can be told from their sum: 1 + 2 + 4 in organisation acme, of them 2 in its project
    /// p1 and 4 in p2; 8 + 16 in globex, of them 16 in p3; 32 nowhere, one of these in the catch-all.
    fn new() -> Self {
        let database = Database::create("may");
        let mut client = database.connect();
        client
            .batch_execute(&format!(
                "ALTER DATABASE {} SET session_preload_libraries = 'audit'; CALL audit.maintain()",
                database.name
            ))
            .unwrap();
        let elsewhere = Database::create_empty("may_not_yet");
        let roles: Vec<String> =
            PRINCIPALS.iter().map(|principal| database.role(principal.name, principal.memberships)).collect();
        for (principal, role) in PRINCIPALS.iter().zip(&roles) {
            client.batch_execute(&format!("CREATE SCHEMA {role} AUTHORIZATION {role}")).unwrap();
            if !principal.administers.is_empty() {
                let scope = principal.administers;
                client
                    .batch_execute(&format!("SELECT audit.grant_admin(db_role => '{role}', {scope})"))
                    .unwrap();
            }
            database
                .connect_as(role)
                .batch_execute(
                    "CREATE TABLE own (id int PRIMARY KEY);
                     CREATE VIEW own_admins (actor_id, organisation_id, project_id, instance_owner) AS
                         VALUES ('u-2', 'acme', NULL, false);",
                )
                .unwrap();
        }
        client
            .batch_execute(&format!(
                "ALTER ROLE {superuser} SUPERUSER;
                 ALTER DATABASE {database} OWNER TO {database}_database;
                 ALTER DATABASE {elsewhere} OWNER TO {database}_database;
                 ALTER ROLE {database}_createrole CREATEROLE;
                 ALTER ROLE {database}_backup BYPASSRLS;
                 SELECT audit.grant_admin(actor_id => 'u-1', organisation_id => 'acme');
                 SELECT audit.set_organisation('globex', true);
                 CREATE TABLE datasource (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text, project_id text);
                 SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id', project_id => 'project_id');
                 ALTER TABLE datasource OWNER TO {owner};
                 GRANT ALL ON datasource TO PUBLIC;
                 INSERT INTO datasource (organisation_id, project_id)
                     SELECT organisation, project
                     FROM (VALUES ('acme', NULL, 1), ('acme', 'p1', 2), ('acme', 'p2', 4), ('globex', NULL, 8),
                                  ('globex', 'p3', 16), (NULL, NULL, 31)) AS v (organisation, project, events),
                          generate_series(1, events);
                 CREATE TABLE one_event AS SELECT * FROM audit.event WHERE resource_id = '1' AND resource_type = 'datasource';
                 UPDATE one_event SET event_id = gen_random_uuid(), organisation_id = NULL, project_id = NULL;
                 CREATE TABLE late_event AS TABLE one_event;
                 UPDATE late_event SET occurred_at = now() + interval '5 years';
                 INSERT INTO audit.event TABLE late_event;
                 UPDATE late_event SET event_id = gen_random_uuid();
                 GRANT SELECT ON one_event, late_event TO PUBLIC;",
                database = database.name,
                elsewhere = elsewhere.name,
                superuser = roles[0],
                owner = roles[2],
            ))
            .unwrap();
        let month = texts(
            &mut client,
            "SELECT tableoid::regclass::text FROM audit.event WHERE project_id = 'p1' LIMIT 1",
        );
        let [month] = month.try_into().expect("there is one");
        Self { database, roles, elsewhere, month }
    }
}

fn file() -> PathBuf {
    root().join("tests/client/tests/permissions.md")
}

fn table() -> Matrix {
    let text = std::fs::read_to_string(file()).expect("the table is there");
    Matrix::parse(&text, &PRINCIPALS.map(|principal| principal.name))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_principal_may_do_what_the_table_says() {
    let table = table();
    let world = World::new();
    let begin = || {
        let sessions = PRINCIPALS.iter().zip(&world.roles);
        sessions.map(|(who, role)| Session::new(&world.database, role, who.session)).collect::<Vec<_>>()
    };
    let mut sessions = begin();
    let require = format!("ALTER DATABASE {} SET audit.require_actor = on", world.database.name);
    world.database.connect().batch_execute(&require).unwrap();
    let mut strict = begin();
    let mut got = Vec::new();
    for (at, role) in world.roles.iter().enumerate() {
        let mut other = Session::new(&world.elsewhere, role, "");
        let cells = table.operations().map(|(heading, row)| {
            let session = match heading {
                ELSEWHERE => &mut other,
                STRICT => &mut strict[at],
                _ => &mut sessions[at],
            };
            let operation = row.operation.replace("{month}", &world.month);
            session.attempt(&operation.replace("{database}", &world.database.name))
        });
        got.push(cells.collect::<Vec<_>>());
    }
    if std::env::var_os("AUDIT_WRITE_EXPECTED").is_some() {
        std::fs::write(file(), table.with_cells(&got)).unwrap();
        panic!(
            "the table was written anew: review the difference, then run the test without AUDIT_WRITE_EXPECTED"
        );
    }
    let differences = table.differences(&got);
    assert!(differences.is_empty(), "permissions.md is not what the server does:\n{differences}");
}

#[test]
fn the_table_has_every_object() {
    let table = table();
    let database = Database::create("listed");
    let mut client = database.connect();
    client.batch_execute("LOAD 'audit'").unwrap();
    let mut objects = texts(
        &mut client,
        "SELECT pg_describe_object(d.classid, d.objid, 0)
         FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'audit'
         UNION ALL SELECT concat('setting ', name) FROM pg_settings WHERE starts_with(name, 'audit.')
         UNION ALL SELECT concat('role ', rolname) FROM pg_roles WHERE starts_with(rolname, 'audit_')",
    );
    objects.extend([MONTH, TRACKED, STRICT, DATABASE, ELSEWHERE, "extension audit"].map(str::to_owned));
    for object in &objects {
        let rows: Vec<&Row> =
            table.operations().filter(|(heading, _)| heading == object).map(|(_, row)| row).collect();
        assert!(!rows.is_empty(), "permissions.md has no operation on {object}");
        for (start, name) in operations(object) {
            assert!(
                rows.iter().any(|row| row.operation.starts_with(start) && row.operation.contains(&name)),
                "permissions.md has no {start} ... {name} below {object}"
            );
        }
    }
    for (heading, _) in table.operations() {
        assert!(objects.iter().any(|object| object == heading), "{heading}: there is no such object");
    }
}

/// What the README says of each role: the names in a row's first cell, and whether it may use them.
#[test]
fn the_readme_says_what_the_table_does() {
    const ROLES: [&str; 5] = ["superuser", "admin", "writer", "reader", "monitor"];
    let table = table();
    let columns = ROLES.map(|role| PRINCIPALS.iter().position(|principal| principal.name == role).unwrap());
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Who may do what").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut said = Vec::new();
    for line in section.lines().filter(|line| line.contains("| ") && !line.starts_with("| |")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        for name in cells[0].split('`').skip(1).step_by(2) {
            let name = name.trim_start_matches("CALL ").split('(').next().unwrap_or_default();
            let is = |heading: &str| heading.split([' ', '(']).nth(1) == Some(name);
            // Of a table the first row reads it; a function may be called with what its caller has no right to.
            let mut rows = table.operations().filter(|(heading, _)| is(heading));
            let (heading, first) =
                rows.next().unwrap_or_else(|| panic!("README.md names {name}, and permissions.md does not"));
            let others = rows.filter(|_| heading.starts_with("function"));
            let rows: Vec<&Row> = std::iter::once(first).chain(others.map(|(_, row)| row)).collect();
            for (at, column) in columns.iter().enumerate() {
                // Any other error is about what it is called with.
                let may = rows.iter().any(|row| row.cells[*column] != "-");
                assert_eq!(may, !cells[1 + at].is_empty(), "{name} by {}: {line}", ROLES[at]);
            }
            said.push(name.to_owned());
        }
    }
    // Nothing that somebody may use is missing, but what others call: the policy's functions, a trigger's and a view's.
    let inner =
        ["capture", "readable_", "is_readable_pair", "pattern_low", "pattern_high", "trigger_settings"];
    for (heading, row) in table.operations() {
        let (kind, name) = heading.split_once(' ').unwrap_or_default();
        let name = name.split('(').next().unwrap_or_default();
        let somebody = columns[1..].iter().any(|column| row.cells[*column].starts_with("ok"));
        let is_inner = inner.iter().any(|inner| name.trim_start_matches("audit.").starts_with(inner));
        if kind == "function" && somebody && !is_inner {
            assert!(said.iter().any(|said| said == name), "README.md does not say who may call {name}");
        }
    }
}

/// What has to be tried at least: how a statement starts, and what it names.
fn operations(object: &str) -> Vec<(&'static str, String)> {
    let (kind, name) = match object.split_once(' ') {
        _ if object == MONTH => ("table", "{month}"),
        Some(("function", signature)) => {
            ("function", signature.split_inclusive('(').next().unwrap_or_default())
        }
        parts => parts.expect("a kind and a name"),
    };
    let starts: &[&str] = match kind {
        "table" => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "ALTER", "GRANT", "DROP"],
        "view" => &["SELECT", "INSERT", "UPDATE", "DELETE", "GRANT", "DROP"],
        "setting" => &["SET ", "SET LOCAL", "SELECT set_config", "ALTER ROLE", "GRANT SET"],
        "role" => &["SET ROLE", "GRANT"],
        "function" => &[""],
        _ => &[],
    };
    starts.iter().map(|&start| (start, name.to_owned())).collect()
}
