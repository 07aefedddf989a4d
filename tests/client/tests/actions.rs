//! docs/actions.md prints what it says: each script in a database of its own, with the result right after it.

use std::collections::BTreeSet;

use audit_client_tests::docs::{cells, last_table, scripts};
use audit_client_tests::{Database, root};

const DOCUMENT: &str = "docs/actions.md";

#[test]
fn every_script_prints_what_follows_it() {
    for (script, expected) in scripts(DOCUMENT) {
        let database = Database::create("actions");
        let output = database.psql(&script.text);
        for sign in ["ERROR", "NOTICE", "WARNING"] {
            assert!(!output.contains(sign), "{}: {output}", script.heading);
        }
        let printed = last_table(&output);
        assert_eq!(cells(&printed), cells(&expected.text), "{} printed\n{printed}", script.heading);
    }
}

#[test]
fn every_recipe_has_a_script() {
    let text = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
    let recipes =
        text.split("\n## ").find_map(|part| part.strip_prefix("Recipes\n")).expect("there are recipes");
    let recipes: BTreeSet<String> =
        recipes.split("\n### ").skip(1).map(|part| part.lines().next().unwrap().into()).collect();
    assert!(recipes.len() >= 10, "{recipes:?}");
    let run: BTreeSet<String> = scripts(DOCUMENT).into_iter().map(|(script, _)| script.heading).collect();
    assert_eq!(recipes.difference(&run).collect::<Vec<_>>(), Vec::<&String>::new());
}
