//! `audit_match` where the database is not in UTF-8.

use audit_client_tests::{Database, texts};

/// In a single-byte encoding every byte is a character, so that there is no text after all others.
#[test]
fn no_encoding_loses_a_row() {
    for (encoding, asks_for_parameters) in [("LATIN1", false), ("UTF8", true)] {
        let database = Database::create_in_encoding(encoding);
        let mut client = database.connect();
        client
                .batch_execute(
                    "CREATE EXTENSION audit;
                     CREATE TABLE log (action text); CREATE INDEX ON log (action);
                     INSERT INTO log VALUES ('\u{ff}\u{ff}'), ('\u{ff}'), ('~'), ('entity.created');
                     SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan;
                     PREPARE shown (text) AS SELECT action FROM log WHERE audit_match(action, $1)",
                )
                .unwrap();
        let mut is_asked = |query: &str| {
            let plan = client.simple_query(&format!("EXPLAIN {query}")).unwrap();
            format!("{plan:?}").contains("Index Cond")
        };
        assert_eq!(is_asked("EXECUTE shown ('*')"), asks_for_parameters, "{encoding}");
        assert!(is_asked("SELECT FROM log WHERE audit_match(action, 'entity.*')"), "{encoding}");
        let mut count = |pattern: &str| texts(&mut client, &format!("EXECUTE shown ('{pattern}')")).len();
        assert_eq!((count("*"), count("entity.*"), count("-entity.*")), (4, 1, 3), "{encoding}");
    }
}
