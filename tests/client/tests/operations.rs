//! docs/operations.md does what it says, from top to bottom.

use std::process::Command;

use audit_client_tests::docs::{blocks, cells, last_table};
use audit_client_tests::{Cluster, SqlState, refused, root};

#[test]
fn every_block_does_what_it_says() {
    let cluster = Cluster::temporary("operations");
    let folder = root().join("target/tmp/operations");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    cluster.run("createdb", &["-T", "template0", "shop"], None);
    let mut printed = String::new();
    let (mut scripts, mut results) = (0, 0);
    for block in blocks("docs/operations.md") {
        let name = format!("{}: {}", block.heading, block.text);
        match &*block.language {
            "sql" => {
                let output = cluster.program("psql", &["-X", "-d", "shop", "-f", "-"], Some(&block.text));
                printed = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(!errors.contains("ERROR") && !errors.contains("FATAL"), "{name}{errors}");
                scripts += 1;
            }
            "sh" => {
                let psql = cluster.command("psql", &[]);
                let bin = std::path::Path::new(psql.get_program()).parent().unwrap().display().to_string();
                let output = Command::new("bash")
                    .args(["-euo", "pipefail", "-c", &block.text])
                    .current_dir(&folder)
                    .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
                    .env("PGHOST", cluster.socket())
                    .env("PGUSER", "postgres")
                    .env("PSQLRC", "/dev/null")
                    .env("DATABASE", "shop")
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{name}{}", String::from_utf8_lossy(&output.stderr));
                scripts += 1;
            }
            "text" => {
                assert_eq!(cells(&last_table(&printed)), cells(&block.text), "{name} printed\n{printed}");
                results += 1;
            }
            other => panic!("{name}: what is {other}?"),
        }
    }
    assert!(scripts > 8 && results > 3);
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
