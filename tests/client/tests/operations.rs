//! docs/operations.md does what it says, from top to bottom.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use audit_client_tests::docs::{blocks, cells, last_table};
use audit_client_tests::{Cluster, Database, SqlState, refused, root};

/// What the page is run on.
struct Reader<'a> {
    cluster: &'a Cluster,
    folder: PathBuf,
    /// What its first block of sh says for all that come.
    said: String,
}

impl<'a> Reader<'a> {
    fn new(cluster: &'a Cluster, name: &str) -> Self {
        let folder = root().join("target/tmp").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { cluster, folder, said: String::new() }
    }

    fn psql(&self, database: &str, script: &str) -> Output {
        // A script's file, for what \copy reads from standard input would be the script.
        let file = self.folder.join("script.sql");
        std::fs::write(&file, script).unwrap();
        let mut psql = self.cluster.command("psql", &["-X", "-d", database, "-f"]);
        psql.arg(file).current_dir(&self.folder).output().unwrap()
    }

    /// Pasted into a shell, which goes on after what fails.
    fn sh(&mut self, script: &str) -> Output {
        if self.said.is_empty() {
            self.said = script.to_owned();
        }
        let psql = self.cluster.command("psql", &[]);
        let bin = Path::new(psql.get_program()).parent().unwrap().display().to_string();
        Command::new("bash")
            .args(["-c", &format!("{}\n{script}", self.said)])
            .current_dir(&self.folder)
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .env("PGHOST", self.cluster.socket())
            .env_remove("DATABASE")
            .output()
            .unwrap()
    }
}

#[test]
fn every_block_does_what_it_says() {
    let cluster = Cluster::temporary("operations");
    cluster.run("createdb", &["-T", "template0", "shop"], None);
    let mut reader = Reader::new(&cluster, "operations");
    let mut printed = String::new();
    let (mut scripts, mut results) = (0, 0);
    for block in blocks("docs/operations.md") {
        let name = format!("{}: {}", block.heading, block.text);
        match &*block.language {
            "sql" => {
                let output = reader.psql("shop", &block.text);
                printed = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(!errors.contains("ERROR") && !errors.contains("FATAL"), "{name}{errors}");
                scripts += 1;
            }
            "sh" | "crontab" => {
                let is_one = block.text.lines().count() == 1;
                assert!(is_one || block.text.starts_with("(set -eu\n"), "{name}would go on after an error");
                // Of a line for cron what follows the five fields of the time.
                let fields = if block.language == "crontab" { 5 } else { 0 };
                let command = block.text.splitn(fields + 1, ' ').last().unwrap_or_default();
                let output = reader.sh(command);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}{errors}");
                assert!(block.language == "sh" || output.stdout.is_empty(), "{name}cron would mail this");
                scripts += 1;
            }
            "text" => {
                assert_eq!(cells(&last_table(&printed)), cells(&block.text), "{name} printed\n{printed}");
                results += 1;
            }
            other => panic!("{name}: what is {other}?"),
        }
    }
    assert!(scripts > 15 && results > 4);
    let left =
        cluster.run("psql", &["-XAt", "-d", "postgres", "-c", "SELECT datname FROM pg_database"], None);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["postgres", "shop", "template0", "template1"], "what the page makes it removes");
}

#[test]
fn removing_it_from_one_database_leaves_it_to_the_others() {
    let cluster = Cluster::temporary("removal");
    let reader = Reader::new(&cluster, "removal");
    for database in ["shop", "other"] {
        cluster.run("createdb", &["-T", "template0", database], None);
        cluster
            .connect(database, "postgres")
            .batch_execute("CREATE EXTENSION audit; CREATE SCHEMA shop")
            .unwrap();
    }
    cluster.connect("other", "postgres").batch_execute("CREATE ROLE app LOGIN IN ROLE audit_writer").unwrap();
    let remove = |database: &str| {
        let removal =
            blocks("docs/operations.md").into_iter().filter(|block| block.heading.starts_with("Removing"));
        let outputs =
            removal.filter(|block| block.language == "sql").map(|block| reader.psql(database, &block.text));
        outputs.fold((String::new(), String::new()), |(printed, errors), output| {
            (
                printed + &String::from_utf8_lossy(&output.stdout),
                errors + &String::from_utf8_lossy(&output.stderr),
            )
        })
    };
    let (printed, errors) = remove("shop");
    assert!(printed.contains("other"), "{printed}");
    assert!(errors.contains("cannot be dropped because some objects depend on it"), "{errors}");
    let mut app = cluster.connect("other", "app");
    // The library is loaded by the first of them, and asks for the right from then on.
    app.batch_execute("SELECT audit.record('it.works', 'still', 'here'); SET audit.actor_id = 'u-1'")
        .unwrap();
    drop(app);

    let (printed, errors) = remove("other");
    assert!(printed.contains("0 rows") && errors.is_empty(), "{printed}{errors}");
}

#[test]
fn a_role_that_does_not_inherit_cannot_track() {
    let database = Database::create("noinherit");
    let role = database.role("migrator", &["audit_admin"]);
    let mut dba = database.connect();
    dba.batch_execute(&format!("ALTER ROLE {role} NOINHERIT; CREATE SCHEMA {role} AUTHORIZATION {role}"))
        .unwrap();
    let mut client = database.connect_as(&role);
    client.batch_execute("CREATE TABLE thing (id int PRIMARY KEY)").unwrap();
    let track = format!("SELECT audit.track('{role}.thing', 'thing')");
    assert_eq!(refused(client.batch_execute(&track)).0, SqlState::INSUFFICIENT_PRIVILEGE);
    client.batch_execute("SET ROLE audit_admin").unwrap();
    refused(client.batch_execute(&track));
    client.batch_execute("RESET ROLE").unwrap();
    dba.batch_execute(&format!("ALTER ROLE {role} INHERIT")).unwrap();
    client.batch_execute(&track).unwrap();
}

#[test]
fn a_long_query_of_the_log_makes_maintenance_give_up_and_loses_nothing() {
    let cluster = Cluster::temporary("report");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute(
        "CREATE EXTENSION audit;
         CREATE TABLE thing (id int PRIMARY KEY);
         SELECT audit.track('thing', 'thing');
         INSERT INTO thing VALUES (1);",
    )
    .unwrap();
    let mut reader = cluster.connect("postgres", "postgres");
    let mut report = reader.transaction().unwrap();
    report.batch_execute("DECLARE report CURSOR FOR SELECT * FROM audit.event").unwrap();
    report.batch_execute("FETCH 1 FROM report").unwrap();

    let mut maintainer = cluster.connect("postgres", "postgres");
    maintainer.batch_execute("SET lock_timeout = '300ms'").unwrap();
    let (code, ..) = refused(maintainer.batch_execute("CALL audit.maintain()"));
    assert_eq!(code, SqlState::LOCK_NOT_AVAILABLE);
    dba.batch_execute("INSERT INTO thing VALUES (2)").unwrap();
    report.batch_execute("FETCH ALL FROM report").unwrap();
    report.commit().unwrap();

    maintainer.batch_execute("CALL audit.maintain()").unwrap();
    let counts = dba
        .query_one(
            "SELECT count(*) FILTER (WHERE action = 'thing.created'), (SELECT count(*) FROM audit.event_default) FROM audit.event",
            &[],
        )
        .unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1)), (2, 0));
}
