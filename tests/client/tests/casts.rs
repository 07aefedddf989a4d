//! Casts that a type's owner made: capture runs none of it with the rights of whoever writes, and none of it decides what
//! events say.

use audit_client_tests::{Database, SqlState, refused, texts};
use postgres::Client;

/// Mallory owns types that others' tables use, and has no right on these tables. `aside.seen` holds the roles that her
/// functions ran as.
fn with_types(label: &str) -> (Database, Client, String) {
    let database = Database::create(label);
    let mallory = database.role("mallory", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "CREATE SCHEMA aside AUTHORIZATION {mallory}; GRANT USAGE ON SCHEMA aside TO PUBLIC;
         SET ROLE {mallory};
         CREATE TABLE aside.seen (role name); GRANT INSERT ON aside.seen TO PUBLIC;
         CREATE TYPE aside.mood AS ENUM ('a', 'b');
         CREATE TYPE aside.pair AS (m aside.mood, n int);
         CREATE TYPE aside.span AS RANGE (SUBTYPE = aside.mood, MULTIRANGE_TYPE_NAME = aside.spans);
         CREATE DOMAIN aside.dom AS aside.mood;
         RESET ROLE;"
    ))
    .unwrap();
    (database, dba, mallory)
}

/// A function of mallory's, and a cast by it, that notes who calls it and leaves a setting behind.
fn cast(mallory: &str, source: &str, target: &str, value: &str) -> String {
    format!(
        "SET ROLE {mallory};
         CREATE FUNCTION aside.as_{target}({source}) RETURNS {target} LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO aside.seen VALUES (current_user);
             PERFORM set_config('search_path', 'aside', false);
             RETURN {value};
         END $$;
         CREATE CAST ({source} AS {target}) WITH FUNCTION aside.as_{target}({source}) AS IMPLICIT;
         RESET ROLE;"
    )
}

#[test]
fn a_type_owners_cast_to_json_is_not_run_whatever_holds_the_type() {
    let (_database, mut dba, mallory) = with_types("casts");
    for source in ["aside.mood", "aside.mood[]", "aside.pair", "aside.span", "aside.spans"] {
        dba.batch_execute(&cast(&mallory, source, "json", "'\"forged\"'")).unwrap();
    }
    dba.batch_execute(
        "CREATE TABLE public.t (id int PRIMARY KEY, m aside.mood, d aside.dom, a aside.mood[], p aside.pair, ps aside.pair[],
                                r aside.span, mr aside.spans, w aside.seen);
         SELECT audit.track('public.t', 't');
         INSERT INTO public.t VALUES (1, 'b', 'b', '{a,b}', '(b,1)', '{\"(b,2)\"}', '[a,b)', '{[a,b)}', '(x)');
         UPDATE public.t SET m = 'a'",
    )
    .unwrap();
    let told = texts(
        &mut dba,
        "SELECT concat_ws(' > ', before_state, after_state) FROM audit.event WHERE resource_type = 't' ORDER BY event_id",
    );
    assert_eq!(
        told,
        [
            concat!(
                r#"{"a": ["a", "b"], "d": "b", "m": "b", "p": {"m": "b", "n": 1}, "r": "[a,b)", "w": {"role": "x"}, "#,
                r#""id": 1, "mr": "{[a,b)}", "ps": [{"m": "b", "n": 2}]}"#
            ),
            r#"{"m": "b"} > {"m": "a"}"#
        ]
    );
    assert!(texts(&mut dba, "SELECT role::text FROM aside.seen").is_empty());
    assert_eq!(texts(&mut dba, "SHOW search_path"), ["\"$user\", public"]);
}

#[test]
fn a_cast_to_json_counts_while_its_function_is_a_superusers() {
    let (database, mut dba, mallory) = with_types("castowner");
    let chief = database.role("chief", &[]);
    let mut writer = database.connect();
    dba.batch_execute(&format!(
        "ALTER ROLE {chief} SUPERUSER;
         SET ROLE {chief};
         CREATE FUNCTION public.mood_json(aside.mood) RETURNS json LANGUAGE sql AS $$ SELECT '\"cast\"'::json $$;
         CREATE FUNCTION public.long_json(aside.mood, int, boolean) RETURNS json LANGUAGE sql AS
             $$ SELECT json_build_array($2, $3) $$;
         CREATE CAST (aside.mood AS json) WITH FUNCTION public.mood_json(aside.mood);
         RESET ROLE;
         CREATE TABLE public.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m aside.mood);
         SELECT audit.track('public.t', 't')"
    ))
    .unwrap();
    let drop = format!("SET ROLE {mallory}; DROP CAST (aside.mood AS json); RESET ROLE");
    for (change, expected) in [
        ("SELECT".to_owned(), "\"cast\""),
        (format!("ALTER ROLE {chief} NOSUPERUSER"), "\"a\""),
        (format!("ALTER ROLE {chief} SUPERUSER"), "\"cast\""),
        (format!("ALTER FUNCTION public.mood_json OWNER TO {mallory}"), "\"a\""),
        ("ALTER FUNCTION public.mood_json OWNER TO postgres".to_owned(), "\"cast\""),
        (drop.clone(), "\"a\""),
        // Whoever owns the type chooses among functions that superusers made for something else.
        (
            format!(
                "SET ROLE {mallory}; CREATE CAST (aside.mood AS json) WITH FUNCTION to_json(anyelement); RESET ROLE"
            ),
            "\"a\"",
        ),
        (drop, "\"a\""),
        ("CREATE CAST (aside.mood AS json) WITH FUNCTION public.long_json".to_owned(), "[-1, true]"),
    ] {
        dba.batch_execute(&change).unwrap_or_else(|error| panic!("{change}: {error}"));
        writer
            .batch_execute("INSERT INTO public.t (m) VALUES ('a')")
            .unwrap_or_else(|error| panic!("{change}: {error}"));
        let told = "SELECT (after_state -> 'm')::text FROM audit.event WHERE resource_type = 't' ORDER BY event_id DESC LIMIT 1";
        assert_eq!(texts(&mut dba, told), [expected], "{change}");
    }
    dba.batch_execute(&format!("DROP OWNED BY {chief} CASCADE")).unwrap();
}

#[test]
fn a_trusted_extensions_cast_counts_whoever_made_the_extension() {
    let (database, mut dba, mallory) = with_types("hstore");
    dba.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO {mallory};
         SET ROLE {mallory}; CREATE EXTENSION hstore SCHEMA aside; RESET ROLE;
         CREATE TABLE public.t (id int PRIMARY KEY, h aside.hstore);
         SELECT audit.track('public.t', 't');
         INSERT INTO public.t VALUES (1, 'a=>1')",
        database.name
    ))
    .unwrap();
    let told = "SELECT (after_state -> 'h')::text FROM audit.event WHERE resource_type = 't'";
    assert_eq!(texts(&mut dba, told), [r#"{"a": "1"}"#]);
}

#[test]
fn a_cast_on_the_way_to_the_scope_runs_as_the_foreign_keys_does() {
    let (database, mut dba, mallory) = with_types("castscope");
    let boss = database.role("boss", &[]);
    dba.batch_execute(&cast(&mallory, "aside.mood", "text", "'acme'")).unwrap();
    dba.batch_execute(&format!(
        "CREATE TABLE public.org (id text PRIMARY KEY, tenant text); INSERT INTO public.org VALUES ('acme', 'tenant');
         ALTER TABLE public.org OWNER TO {boss};
         CREATE TABLE public.t (id int PRIMARY KEY, org aside.mood REFERENCES public.org);
         SELECT audit.track('public.t', 't', organisation_id => 'org.tenant', on_replica => true);
         -- Foreign keys are not checked then: what is left is capture's.
         SET session_replication_role = replica;
         INSERT INTO public.t VALUES (1, 'a');
         RESET session_replication_role"
    ))
    .unwrap();
    assert_eq!(
        texts(&mut dba, "SELECT organisation_id FROM audit.event WHERE resource_type = 't'"),
        ["tenant"]
    );
    assert_eq!(texts(&mut dba, "SELECT DISTINCT role::text FROM aside.seen"), [boss]);
    assert_eq!(texts(&mut dba, "SHOW search_path"), ["\"$user\", public"]);
}

#[test]
fn a_type_owners_casts_and_domains_do_not_get_into_conditions() {
    let (_database, mut dba, mallory) = with_types("castif");
    dba.batch_execute(&format!(
        "SET ROLE {mallory};
         CREATE FUNCTION aside.note() RETURNS void LANGUAGE sql AS 'INSERT INTO aside.seen VALUES (current_user)';
         CREATE FUNCTION aside.as_text(aside.mood) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM aside.note(); RETURN 'a'; END $$;
         CREATE FUNCTION aside.checks(aside.mood) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM aside.note(); RETURN true; END $$;
         ALTER DOMAIN aside.dom ADD CHECK (aside.checks(VALUE));
         RESET ROLE;
         CREATE TABLE public.t (id int PRIMARY KEY, m aside.mood)"
    ))
    .unwrap();
    let track = |condition: &str| {
        format!(
            "SELECT audit.track('public.t', 't', actions => jsonb_build_object('rules', jsonb_build_array(jsonb_build_object(
                 'on', 'insert', 'action', 't.moody', 'if', $$ {condition} $$))))"
        )
    };
    let make = format!(
        "SET ROLE {mallory};
         CREATE CAST (aside.mood AS text) WITH FUNCTION aside.as_text(aside.mood) AS IMPLICIT;
         RESET ROLE"
    );
    dba.batch_execute(&make).unwrap();
    for (condition, whose) in [
        ("new.m::text = 'a'", "function aside.as_text(aside.mood)"),
        ("lower(new.m) = 'a'", "function aside.as_text(aside.mood)"),
        ("ARRAY[new.m]::text[] = '{a}'", "function aside.as_text(aside.mood)"),
        ("new.m::aside.dom IS NOT NULL", "domain aside.dom"),
    ] {
        let (code, message, hint) = refused(dba.batch_execute(&track(condition)));
        assert_eq!(code, SqlState::INVALID_OBJECT_DEFINITION, "{condition}: {message}");
        assert!(
            message.contains(whose) && hint.contains("rights of the table's owner"),
            "{condition}: {message}, {hint}"
        );
    }
    // The owner of the table may convert as it likes, and so may what superusers made.
    dba.batch_execute("ALTER FUNCTION aside.as_text OWNER TO postgres").unwrap();
    dba.batch_execute(&track("new.m::text = 'a'")).unwrap();
    dba.batch_execute(&format!(
        "SELECT audit.untrack('public.t'); DROP CAST (aside.mood AS text); ALTER FUNCTION aside.as_text OWNER TO {mallory}"
    ))
    .unwrap();

    // A cast that comes later.
    dba.batch_execute(&track("new.m::text = 'a'")).unwrap();
    dba.batch_execute("INSERT INTO public.t VALUES (1, 'a')").unwrap();
    let (code, message, _) = refused(dba.batch_execute(&make));
    assert_eq!(
        (code, message.as_str()),
        (
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            "the audit of public.t would no longer understand its actions.rules[0].if"
        )
    );
    dba.batch_execute("RESET ROLE; INSERT INTO public.t VALUES (2, 'b')").unwrap();
    assert!(texts(&mut dba, "SELECT role::text FROM aside.seen").is_empty());
    assert_eq!(
        texts(&mut dba, "SELECT action FROM audit.event WHERE resource_type = 't' ORDER BY event_id"),
        ["t.moody", "t.created"]
    );
}
