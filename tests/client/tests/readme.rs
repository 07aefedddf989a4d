//! The documentation says what is true.

use audit_client_tests::docs::{cells, last_table, scripts};
use audit_client_tests::{Database, root};

#[test]
fn the_readmes_first_screen_prints_what_it_says() {
    let database = Database::create_empty("readme");
    let (script, expected) = scripts("README.md").remove(0);
    let output = database.psql(&script.text);
    assert!(!output.contains("ERROR"), "{output}");
    assert_eq!(cells(&last_table(&output)), cells(&expected.text));
}

#[test]
fn architecture_names_files_that_are_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let files: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/') && !name.contains(' ') && !name.contains("::"))
        .collect();
    assert!(files.len() > 10);
    for file in files {
        assert!(root().join(file).exists(), "{file}");
    }
}

#[test]
fn the_sample_application_emits_the_whole_catalogue() {
    let database = Database::create_empty("sample");
    for file in ["schema", "tracking", "workload"] {
        let script = std::fs::read_to_string(root().join(format!("examples/{file}.sql"))).unwrap();
        let output = database.psql(&script);
        assert!(!output.contains("ERROR"), "{file}: {output}");
    }
    let mut client = database.connect();
    let difference: Vec<String> = client
        .query(
            "SELECT coalesce('missing ' || c.pattern, 'not in the catalogue ' || e.action)
             FROM (SELECT DISTINCT action FROM audit.event) e
             FULL JOIN (SELECT pattern FROM audit.catalogue WHERE built_in AND pattern NOT LIKE '%*') c ON c.pattern = e.action
             WHERE c.pattern IS NULL OR e.action IS NULL ORDER BY 1",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(difference, ["not in the catalogue user.created", "not in the catalogue user.updated",]);
    let secrets: i64 = client
        .query_one("SELECT count(*) FROM audit.event e WHERE e::text ~ 'argon2|sk-secret|last_seen'", &[])
        .unwrap()
        .get(0);
    assert_eq!(secrets, 0);
    database.connect().batch_execute("DROP OWNED BY observatory_app").unwrap();
}
