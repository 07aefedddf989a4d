//! docs/clients.md: its programs print what it says, on connections of their own and behind pgbouncer.

use std::io::Write;
use std::process::{Command, Stdio};

use audit_client_tests::docs::{Block, blocks};
use audit_client_tests::{Cluster, DIRECT, POOL, root, texts};

const DOCUMENT: &str = "docs/clients.md";

/// Runs a program of the document as the application would run it.
fn run(program: &Block, cluster: &Cluster, port: u16, database: &str) -> String {
    let mut child = Command::new(root().join("tools/clients"))
        .args(["run", &program.language])
        .env("PGHOST", cluster.socket())
        .env("PGPORT", port.to_string())
        .env("PGUSER", "app")
        .env("PGDATABASE", database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tools/clients runs");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(program.text.as_bytes()).expect("the program is read");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", program.language);
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

#[test]
fn every_program_prints_what_follows_it() {
    let mut blocks = blocks(DOCUMENT).into_iter();
    let mut next = |language: &str| {
        let block = blocks.next().unwrap_or_else(|| panic!("{DOCUMENT} has a block of {language}"));
        assert_eq!(block.language, language, "under {}", block.heading);
        block
    };
    let (set_up, server) = (next("sql"), next("ini"));
    let programs = ["python", "javascript"].map(|language| (next(language), next("text")));
    let pooler = next("ini");
    assert!(blocks.next().is_none(), "every block is run");

    let cluster = Cluster::temporary_with("clients", &server.text);
    let mut owner = cluster.connect("postgres", "postgres");
    owner.batch_execute("CREATE EXTENSION audit").unwrap();
    owner.batch_execute(&set_up.text).unwrap();
    drop(owner);
    // One connection to the server, so that each transaction follows another on it.
    cluster.pool(&format!("{}\ndefault_pool_size = 1", pooler.text));

    for (program, expected) in &programs {
        for port in [DIRECT, POOL] {
            let database = format!("{}_{port}", program.language);
            let mut owner = cluster.connect("template1", "postgres");
            owner.batch_execute(&format!("CREATE DATABASE {database} TEMPLATE postgres")).unwrap();
            let printed = run(program, &cluster, port, &database);
            assert_eq!(printed, expected.text, "{database}");
            assert_eq!(
                texts(
                    &mut cluster.connect(&database, "postgres"),
                    "SELECT concat_ws(' ', action, organisation_id, coalesce(actor_id, 'N/A'), actor_type, metadata, session_role)
                     FROM audit.event WHERE resource_type = 'dataset' ORDER BY event_id",
                ),
                [
                    r#"dataset.created acme u-1 user {"ip": "192.0.2.7", "request_id": "r-1"} app"#,
                    r#"dataset.updated acme u-2 user {"request_id": "r-2"} app"#,
                    "dataset.deleted acme N/A app",
                ],
                "{database}"
            );
        }
    }
}
