//! What an event says does not follow the settings of whoever writes.

use std::path::Path;
use std::process::Command;

use audit_client_tests::{Cluster, Database, texts};
use postgres::Client;

/// A row of the types whose text a setting of PostgreSQL's changes, plain and inside others.
const SCHEMA: &str = r#"
    CREATE SCHEMA shop;
    SET search_path = shop;
    CREATE TABLE plain_name (id int);
    CREATE TABLE "Odd name" (id int);
    CREATE TYPE mood AS ENUM ('well');
    CREATE FUNCTION twice(int, mood) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 * 2;
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = mood, FUNCTION = twice);
    CREATE COLLATION own FROM "C";
    CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
    CREATE TEXT SEARCH DICTIONARY stems (TEMPLATE = simple);
    CREATE TYPE spell AS RANGE (SUBTYPE = regclass);
    CREATE TYPE budget AS RANGE (SUBTYPE = money);
    CREATE DOMAIN price AS money;
    CREATE TYPE pair AS (what regclass, costs price);
    CREATE TABLE thing (
        what regclass, odd regclass, procedure regprocedure, procedure_name regproc, type regtype, operator regoperator,
        operator_name regoper, collation_name regcollation, configuration regconfig, dictionary regdictionary,
        schema_name regnamespace, role_name regrole, several regclass[], range spell, ranges spell_multirange, pair pair,
        costs money, list money[], domain price, budget budget, bytes bytea, length interval, at timestamptz, day date,
        hour timetz, ratio float8, document xml, times tstzrange);
    INSERT INTO thing VALUES (
        'plain_name', '"Odd name"', 'twice(int, mood)', 'twice', 'mood', '===(int, mood)', '===', 'own', 'words', 'stems',
        'shop', 'postgres', '{plain_name,"\"Odd name\""}', '[plain_name,plain_name]', '{[plain_name,plain_name]}',
        ROW('plain_name', 12.5::money), '-1234567.89'::money, ARRAY[0.05]::money[], 3.00::money, '[1,2]',
        '\xde00ff', '1 year 2 months -3 days 04:05:06.7', '2026-02-03 04:05:06.7+08', '2026-02-03', '04:05:06+08',
        0.1::float8 + 0.2, '<a>&lt;</a>', '[2026-02-03 00:00+08,)');
    CREATE TABLE told (LIKE thing);
    SELECT audit.track('told', 'told', resource_id => '{what,costs}', organisation_id => 'type', project_id => 'domain',
                       actions => '{"rules": [{"on": "insert", "action": "told.matched",
                                    "if": "new.what::text = ''shop.plain_name'' AND new.costs::text = ''-$1,234,567.89''"}]}');
    RESET search_path;
"#;

const EXPECTED: &str = r#"told.matched shop.told shop.plain_name:-$1,234,567.89 shop.mood $3.00 {"at": "2026-02-02T20:05:06.7+00:00", "day": "2026-02-03", "odd": "shop.\"Odd name\"", "hour": "04:05:06+08", "list": ["$0.05"], "pair": {"what": "shop.plain_name", "costs": "$12.50"}, "type": "shop.mood", "what": "shop.plain_name", "bytes": "\\xde00ff", "costs": "-$1,234,567.89", "range": "[shop.plain_name,shop.plain_name]", "ratio": 0.30000000000000004, "times": "[\"2026-02-02 16:00:00+00\",)", "budget": "[$1.00,$2.00]", "domain": "$3.00", "length": "1 year 2 mons -3 days +04:05:06.7", "ranges": "{[shop.plain_name,shop.plain_name]}", "several": ["shop.plain_name", "shop.\"Odd name\""], "document": "<a>&lt;</a>", "operator": "shop.===(integer,shop.mood)", "procedure": "shop.twice(integer,shop.mood)", "role_name": "postgres", "dictionary": "shop.stems", "schema_name": "shop", "configuration": "shop.words", "operator_name": "shop.===", "collation_name": "shop.own", "procedure_name": "shop.twice"}"#;

/// Settings that a client can make and that every value is tried of: switches and choices.
const CHOICES: &str = "
    SELECT format('SET LOCAL %I = %L', name, value)
    FROM pg_settings, unnest(CASE vartype WHEN 'bool' THEN '{on,off}' ELSE enumvals END) value
    WHERE context IN ('user', 'superuser') AND vartype IN ('bool', 'enum') AND NOT starts_with(name, 'audit.')
      -- It has no trigger fire, or no write be made.
      AND name NOT IN ('session_replication_role', 'transaction_read_only', 'default_transaction_read_only')
    ORDER BY name, value";

/// And others that say how something is written.
const FORMATS: [&str; 14] = [
    "SET LOCAL search_path = shop",
    "SET LOCAL search_path = pg_temp, shop, pg_catalog",
    "SET LOCAL search_path = ''",
    "SET LOCAL DateStyle = 'German, DMY'",
    "SET LOCAL DateStyle = 'SQL, MDY'",
    "SET LOCAL TimeZone = 'Asia/Kathmandu'",
    "SET LOCAL TimeZone = '<+01>-01:30'",
    "SET LOCAL extra_float_digits = -15",
    "SET LOCAL extra_float_digits = 3",
    "SET LOCAL client_encoding = 'LATIN1'",
    "SET LOCAL default_text_search_config = 'english'",
    "SET LOCAL timezone_abbreviations = 'Australia'",
    "SET LOCAL search_path = shop; SET LOCAL quote_all_identifiers = on; SET LOCAL DateStyle = 'SQL, MDY'",
    "CREATE TEMPORARY TABLE plain_name (id int) ON COMMIT DROP; SET LOCAL search_path = shop",
];

fn write_under(client: &mut Client, settings: &str) -> String {
    client.batch_execute("DISCARD PLANS").unwrap();
    client
        .batch_execute(&format!("BEGIN; {settings}; INSERT INTO shop.told SELECT * FROM shop.thing; COMMIT"))
        .unwrap_or_else(|error| panic!("{settings}: {error:?}"));
    texts(
        client,
        "SELECT concat_ws(' ', action, table_name, resource_id, organisation_id, project_id, after_state)
         FROM audit.event WHERE resource_type = 'told' ORDER BY event_id DESC LIMIT 1",
    )
    .remove(0)
}

#[test]
fn an_event_is_the_same_under_any_setting_of_the_writers() {
    let database = Database::create("settings");
    let mut client = database.connect();
    client.batch_execute(SCHEMA).unwrap();
    let choices = texts(&mut client, CHOICES);
    assert!(choices.len() > 150);
    let formats = FORMATS.map(str::to_owned);
    for settings in std::iter::once("SET LOCAL work_mem = '4MB'".to_owned()).chain(formats).chain(choices) {
        assert_eq!(write_under(&mut client, &settings), EXPECTED, "{settings}");
    }
}

/// A locale that writes money otherwise, made from glibc's sources: what is installed differs from machine to machine.
fn german(folder: &Path) {
    // It warns of what it has no words for, and then ends with 1.
    let made = Command::new("localedef")
        .args(["-c", "-i", "de_DE", "-f", "UTF-8"])
        .arg(folder.join("de_DE.utf8"))
        .output()
        .expect("localedef is there, as is glibc");
    assert!(folder.join("de_DE.utf8/LC_MONETARY").exists(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn money_is_the_same_in_any_locale_of_the_writers() {
    // Where the server's user can read it.
    let folder = std::env::temp_dir().join(format!("audit-locales-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    german(&folder);
    let cluster = Cluster::temporary_with_locales("locales", &folder);
    let mut client = cluster.connect("postgres", "postgres");
    client.batch_execute("CREATE EXTENSION audit").unwrap();
    client.batch_execute(SCHEMA).unwrap();
    let monetary = "SET LOCAL lc_monetary = 'de_DE.utf8'";
    assert_eq!(write_under(&mut client, monetary), EXPECTED);

    // The client's own text is as it set it, in the same statement too.
    client.batch_execute(&format!("BEGIN; {monetary}; SET LOCAL search_path = shop")).unwrap();
    let own = "INSERT INTO told SELECT * FROM thing RETURNING concat_ws(' ', what, costs)";
    assert_eq!(texts(&mut client, own), ["plain_name -1.234.567,89 €"]);
    assert_eq!(texts(&mut client, own), ["plain_name -1.234.567,89 €"]);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(write_under(&mut client, "SET LOCAL work_mem = '4MB'"), EXPECTED);
    drop(cluster);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_trails_own_events_name_tables_alike_under_any_setting() {
    let database = Database::create("quoting");
    let mut client = database.connect();
    let mut seen = 0;
    let mut told = |settings: &str| {
        client
            .batch_execute(&format!(
                "SET audit.allow_destruction = on;
                 CREATE TABLE thing (id int PRIMARY KEY, state text);
                 {settings};
                 SELECT audit.track('thing', 'thing', actions => '{{\"rules\": [{{\"on\": \"update\", \"if\": \"new.state = old.state\", \"action\": null}}]}}');
                 ALTER TABLE thing DISABLE TRIGGER USER;
                 ALTER TABLE thing ENABLE TRIGGER USER;
                 ALTER TABLE thing RENAME COLUMN state TO status;
                 ALTER TABLE thing RENAME TO another;
                 ALTER TABLE another RENAME TO thing;
                 ALTER TABLE audit.event DISABLE TRIGGER USER;
                 ALTER TABLE audit.event ENABLE ALWAYS TRIGGER \"!audit_row_guard\", ENABLE ALWAYS TRIGGER \"!audit_statement_guard\";
                 ALTER FUNCTION audit.record STRICT;
                 ALTER FUNCTION audit.record CALLED ON NULL INPUT;
                 CREATE VIEW source (actor_id, organisation_id, project_id, instance_owner) AS SELECT '1', 'o', '', false;
                 SELECT audit.use_admins_from('source');
                 SELECT audit.use_admins_from(NULL);
                 DROP VIEW source;
                 SELECT audit.untrack('thing');
                 DROP TABLE thing;
                 RESET ALL"
            ))
            .unwrap_or_else(|error| panic!("{settings}: {error:?}"));
        let all = texts(
            &mut client,
            "SELECT concat_ws(' ', action, resource_id, before_state, after_state, metadata) FROM audit.event ORDER BY event_id",
        );
        let events = all[seen..].to_vec();
        seen = all.len();
        events
    };
    let plain = told("SET search_path = public");
    assert!(plain.len() > 8, "{plain:?}");
    assert_eq!(told("SET search_path = public; SET quote_all_identifiers = on"), plain);
}
