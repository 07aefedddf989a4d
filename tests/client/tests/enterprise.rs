//! `audit.enterprise` is the DBA's word: nobody else switches it; and capture does not depend on it.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};
use postgres::Client;

const SEEN: &str = "SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%'";

/// A database without the enterprise feature, and a role that would read o1 if it had it.
fn without(label: &str) -> (Database, String) {
    let database = Database::create(label);
    let plain = database.role("plain", &["audit_reader", "audit_writer"]);
    database
        .connect()
        .batch_execute(&format!(
            "SELECT audit.record('a.b', 't', 'r', 'o1');
             SELECT audit.grant_admin(db_role => '{plain}', organisation_id => 'o1');
             GRANT CREATE ON SCHEMA public TO PUBLIC;
             ALTER DATABASE {} SET audit.enterprise = off",
            database.name
        ))
        .unwrap();
    (database, plain)
}

#[test]
fn a_plain_role_does_not_switch_it_on() {
    let (database, plain) = without("enterprise_set");
    assert!(texts(&mut database.connect_as(&plain), SEEN).is_empty());
    for load in ["", "LOAD 'audit'", SEEN] {
        for attempt in [
            "SET audit.enterprise = on",
            "BEGIN; SET LOCAL audit.enterprise = on",
            "SELECT set_config('audit.enterprise', 'on', false)",
            "RESET audit.enterprise",
            "RESET ALL",
            "DISCARD ALL",
        ] {
            let mut client = database.connect_as(&plain);
            let _ = client.batch_execute(load);
            let _ = client.batch_execute(attempt);
            nothing(&mut client, attempt);
        }
        let mut client = database.connect_as(&plain);
        let _ = client.batch_execute(load);
        for target in [format!("ROLE {plain}"), format!("DATABASE {}", database.name), "ROLE ALL".into()] {
            let attempt = format!("ALTER {target} SET audit.enterprise = on");
            let (code, ..) = refused(client.batch_execute(&attempt));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{attempt}");
        }
        let made = client.batch_execute(&format!(
            "CREATE FUNCTION public.f() RETURNS SETOF text LANGUAGE sql SET audit.enterprise = on AS $${SEEN}$$"
        ));
        assert_eq!(refused(made).0, SqlState::INSUFFICIENT_PRIVILEGE);
    }
    // Who may does.
    let mut superuser = database.connect();
    superuser.batch_execute(&format!("SET audit.enterprise = on; SET ROLE {plain}")).unwrap();
    assert_eq!(texts(&mut superuser, SEEN), ["o1"]);
    superuser.batch_execute("RESET ROLE; SET audit.enterprise = off").unwrap();
    superuser.batch_execute(&format!("SELECT audit.set_organisation('o1', true); SET ROLE {plain}")).unwrap();
    assert_eq!(texts(&mut superuser, SEEN), ["o1"]);
}

/// It reads no row, or is refused.
#[track_caller]
fn nothing(client: &mut Client, attempt: &str) {
    for _ in 0..2 {
        if let Ok(rows) = client.query(SEEN, &[]) {
            assert!(rows.is_empty(), "{attempt}");
        }
    }
}

/// What a client says before the library is loaded hides what the configuration says, and neither counts where a
/// superuser's function is what loads it.
#[test]
fn connection_options_do_not_hide_what_is_configured() {
    let (database, plain) = without("enterprise_options");
    let mut superuser = database.connect();
    superuser
        .batch_execute(&format!(
            "ALTER DATABASE {} SET audit.require_actor = on;
             CREATE FUNCTION public.helpful() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS $$ BEGIN RETURN audit_match('a.b', '*'); END $$;
             CREATE TABLE public.thing (id int PRIMARY KEY); GRANT ALL ON public.thing TO PUBLIC;
             SELECT audit.track('public.thing', 'thing');",
            database.name
        ))
        .unwrap();
    for preload in ["DEFAULT", "audit"] {
        superuser
            .batch_execute(&format!(
                "ALTER DATABASE {} SET session_preload_libraries = {preload}",
                database.name
            ))
            .unwrap();
        for options in [
            "-c audit.enterprise=on -c audit.require_actor=off",
            "-c AUDIT.Enterprise=on -c AUDIT.Require_Actor=off",
            "--audit.enterprise=yes --audit.require-actor=no",
        ] {
            for load in ["SELECT 1", "SELECT public.helpful()"] {
                let Ok(mut client) = Cluster::shared().try_connect(&database.name, &plain, options) else {
                    continue;
                };
                let _ = client.batch_execute(load);
                nothing(&mut client, options);
                assert!(
                    client.batch_execute("INSERT INTO public.thing VALUES (1)").is_err(),
                    "{options} {load}"
                );
            }
            // A superuser's options are a superuser's word.
            let mut client = Cluster::shared().try_connect(&database.name, "postgres", options).unwrap();
            client.batch_execute("LOAD 'audit'").unwrap();
            assert_eq!(texts(&mut client, "SHOW audit.enterprise"), ["on"]);
            client.batch_execute(&format!("SET ROLE {plain}")).unwrap();
            assert_eq!(texts(&mut client, SEEN), ["o1"]);
        }
    }
}

#[test]
fn capture_never_depends_on_the_enterprise_feature() {
    let database = Database::create("enterprise");
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let mut owner = database.connect();
    owner
        .batch_execute(&format!(
            "ALTER DATABASE {} SET audit.enterprise = off;
             CREATE TABLE thing (id int PRIMARY KEY, organisation text);
             SELECT audit.track('thing', 'thing', organisation_id => 'organisation');
             GRANT ALL ON thing TO PUBLIC;
             SELECT audit.set_organisation('o1', false);
             SELECT audit.set_organisation('o2', true);
             SELECT audit.grant_admin('u', organisation_id => o) FROM unnest('{{o1,o2,o3}}'::text[]) o;",
            database.name
        ))
        .unwrap();
    let mut client = database.connect_as(&app);
    client
        .batch_execute(
            "SET audit.actor_id = 'u'; INSERT INTO thing VALUES (1, 'o1'), (2, 'o2'), (3, 'o3');
             SELECT audit.record('a.b', 't', 'r', 'o1')",
        )
        .unwrap();
    let captured: i64 = owner
        .query_one("SELECT count(*) FROM audit.event WHERE organisation_id IS NOT NULL AND action NOT LIKE 'audit.%'", &[])
        .unwrap()
        .get(0);
    assert_eq!(captured, 4);
    assert_eq!(texts(&mut client, SEEN), ["o2"]);
}
