//! What a session leaves to the next client of a pool: plans and cursors, but no rights.

use audit_client_tests::{Database, texts};
use postgres::Client;

const SEEN: &str = "SELECT DISTINCT organisation_id FROM audit.event ORDER BY 1";
const LOG: &str = "SELECT DISTINCT organisation_id FROM audit.log(pattern => '*') ORDER BY 1";

/// Two events in each of two organisations, an admin of each, and the application's connection.
fn pooled(label: &str) -> (Database, Client) {
    let database = Database::create(label);
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let tenant = database.role("tenant", &["audit_reader"]);
    database
        .connect()
        .batch_execute(&format!(
            "SELECT audit.record('a.b', 't', 'r', o) FROM unnest('{{o1,o2,o1,o2}}'::text[]) o;
             SELECT audit.grant_admin('u1', organisation_id => 'o1');
             SELECT audit.grant_admin('u2', organisation_id => 'o2');
             SELECT audit.grant_admin(db_role => '{tenant}', organisation_id => 'o2');
             GRANT {tenant} TO {app}; GRANT CREATE ON SCHEMA public TO PUBLIC"
        ))
        .unwrap();
    let client = database.connect_as(&app);
    (database, client)
}

/// Whoever asks, and what they see.
const TURNS: [(&str, &[&str]); 6] =
    [("u1", &["o1"]), ("u2", &["o2"]), ("u1", &["o1"]), ("u3", &[]), ("", &[]), ("u2", &["o2"])];

fn be(client: &mut Client, actor: &str) {
    client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
}

#[test]
fn a_prepared_statement_of_the_previous_client() {
    let (database, mut client) = pooled("prepared");
    client.batch_execute(&format!("PREPARE seen AS {SEEN}; PREPARE log AS {LOG}")).unwrap();
    let protocol = client.prepare(SEEN).unwrap();
    for mode in ["auto", "force_generic_plan", "force_custom_plan"] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).unwrap();
        // Often enough for a plan that is kept.
        for _ in 0..3 {
            for (actor, seen) in TURNS {
                be(&mut client, actor);
                assert_eq!(texts(&mut client, "EXECUTE seen"), seen, "{mode} {actor}");
                assert_eq!(texts(&mut client, "EXECUTE log"), seen, "{mode} {actor}");
                let rows = client.query(&protocol, &[]).unwrap();
                assert_eq!(
                    rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(),
                    seen,
                    "{mode} {actor}"
                );
            }
        }
        // Another role, with and without row-level security.
        be(&mut client, "");
        let tenant = format!("{}_tenant", database.name);
        client.batch_execute(&format!("SET ROLE {tenant}")).unwrap();
        assert_eq!(texts(&mut client, "EXECUTE seen"), ["o2"]);
        assert_eq!(texts(&mut client, "EXECUTE log"), ["o2"]);
        client.batch_execute("RESET ROLE").unwrap();
        assert!(texts(&mut client, "EXECUTE seen").is_empty());
    }
    let mut superuser = database.connect();
    superuser.batch_execute(&format!("PREPARE seen AS {SEEN}")).unwrap();
    assert_eq!(texts(&mut superuser, "EXECUTE seen"), ["o1", "o2"]);
    superuser.batch_execute(&format!("SET SESSION AUTHORIZATION {}_tenant", database.name)).unwrap();
    assert_eq!(texts(&mut superuser, "EXECUTE seen"), ["o2"]);
}

#[test]
fn a_function_whose_plans_are_kept() {
    let (_database, mut client) = pooled("kept");
    client
        .batch_execute(&format!(
            "CREATE FUNCTION public.seen_sql() RETURNS SETOF text LANGUAGE sql STABLE AS $$ {SEEN} $$;
             CREATE FUNCTION public.seen_plpgsql() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY {SEEN}; END $$;
             CREATE FUNCTION public.log_sql() RETURNS SETOF text LANGUAGE sql STABLE AS $$ {LOG} $$;
             CREATE FUNCTION public.log_plpgsql() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY {LOG}; END $$;
             CREATE VIEW public.seen AS {SEEN};"
        ))
        .unwrap();
    for _ in 0..3 {
        for (actor, seen) in TURNS {
            be(&mut client, actor);
            for query in [
                "SELECT public.seen_sql()",
                "SELECT public.seen_plpgsql()",
                "SELECT public.log_sql()",
                "SELECT public.log_plpgsql()",
                "SELECT * FROM public.seen",
            ] {
                assert_eq!(texts(&mut client, query), seen, "{query} {actor}");
            }
        }
    }
}

/// PL/pgSQL evaluates what is no query in memory that lives as long as the transaction.
#[test]
fn an_expression_whose_state_is_kept() {
    let (_database, mut client) = pooled("expression");
    client
        .batch_execute(
            "CREATE FUNCTION public.turns(actors text[]) RETURNS SETOF text[] LANGUAGE plpgsql AS $$
             DECLARE actor text; seen text[];
             BEGIN
                 FOREACH actor IN ARRAY actors LOOP
                     PERFORM set_config('audit.actor_id', actor, true);
                     seen := audit.readable_organisations();
                     RETURN NEXT seen;
                 END LOOP;
             END $$",
        )
        .unwrap();
    let actors: Vec<_> = TURNS.iter().map(|turn| turn.0).collect();
    let turns: Vec<Vec<String>> = client
        .query("SELECT * FROM public.turns($1)", &[&actors])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(turns, TURNS.map(|turn| turn.1.to_vec()));
}

#[test]
fn an_actor_set_for_a_transaction_is_gone_after_it() {
    let (_database, mut client) = pooled("local");
    for end in ["COMMIT", "ROLLBACK"] {
        client.batch_execute("BEGIN; SET LOCAL audit.actor_id = 'u1'").unwrap();
        assert_eq!(texts(&mut client, SEEN), ["o1"]);
        client.batch_execute(end).unwrap();
        assert!(texts(&mut client, SEEN).is_empty(), "{end}");
    }
    be(&mut client, "u1");
    client.batch_execute("DISCARD ALL").unwrap();
    assert!(texts(&mut client, SEEN).is_empty());
}

/// Said in docs/security.md: a cursor is a statement that has begun.
#[test]
fn a_cursor_goes_on_with_the_rights_it_began_with() {
    let (database, mut client) = pooled("cursor");
    let mut superuser = database.connect();
    be(&mut client, "u1");
    client.batch_execute("BEGIN; DECLARE seen CURSOR FOR SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%'").unwrap();
    assert_eq!(texts(&mut client, "FETCH 1 FROM seen"), ["o1"]);
    superuser.batch_execute("SELECT audit.revoke_admin('u1', organisation_id => 'o1')").unwrap();
    be(&mut client, "u2");
    assert_eq!(texts(&mut client, "FETCH ALL FROM seen"), ["o1"]);
    assert_eq!(texts(&mut client, SEEN), ["o2"], "a new statement has the new rights");
    // WITH HOLD is what was read, kept.
    client
        .batch_execute("DECLARE held CURSOR WITH HOLD FOR SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%'; COMMIT")
        .unwrap();
    be(&mut client, "u1");
    assert_eq!(texts(&mut client, "FETCH ALL FROM held"), ["o2", "o2"]);
    assert!(texts(&mut client, SEEN).is_empty());
    client.batch_execute("DISCARD ALL").unwrap();
    assert!(client.query("FETCH ALL FROM held", &[]).is_err());
}
