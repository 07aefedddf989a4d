//! The documentation says what is true.

use audit_client_tests::docs::{cells, last_table, scripts};
use audit_client_tests::{Database, root};

#[test]
fn the_readmes_scripts_print_what_it_says() {
    let database = Database::create_empty("readme");
    let scripts = scripts("README.md");
    assert!(scripts.len() > 1);
    for (script, expected) in scripts {
        let output = database.psql(&script.text);
        assert!(!output.contains("ERROR"), "{}: {output}", script.heading);
        assert_eq!(cells(&last_table(&output)), cells(&expected.text), "{}", script.heading);
    }
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
fn security_names_tests_that_are_there() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let tests: Vec<_> = text.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect();
    assert!(tests.len() > 30);
    for (file, test) in tests {
        if file == "file" {
            continue;
        }
        let tests = std::fs::read_to_string(root().join(format!("tests/client/tests/{file}.rs"))).unwrap();
        assert!(tests.contains(&format!("#[test]\nfn {test}()")), "{file}::{test}");
    }
}
