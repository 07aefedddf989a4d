//! `audit.use_admins_from`: the view is read as its owner, and nothing that its functions do goes beyond that.

use audit_client_tests::admins::{SEEN, Setting, unreadable};
use audit_client_tests::{SqlState, refused, texts};

/// What a function of the view's does to the session of who reads: `$call` is run as the view's owner.
fn view_that(call: &str) -> String {
    format!(
        "CREATE TABLE app.done (note text);
         CREATE FUNCTION app.trick() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $body$
         BEGIN
             IF current_setting('audit.actor_id', true) = 'u1' THEN {call} END IF;
             RETURN false;
         END $body$;
         CREATE VIEW app.admins AS
             SELECT 'u1'::text actor_id, 'o1'::text organisation_id, NULL::text project_id, app.trick() instance_owner"
    )
}

#[test]
fn a_function_in_the_view_gains_no_right() {
    let setting = Setting::with("tricks", &view_that("NULL;"));
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"], "without a trick the view works");
    let (app, service) = (&setting.app, &setting.service);
    let mut superuser = setting.database.connect();
    superuser.batch_execute(&format!("GRANT ALL ON SCHEMA public TO {service}")).unwrap();
    let mut owner = setting.owner();
    for trick in [
        "SET ROLE postgres;".to_owned(),
        format!("SET ROLE {service};"),
        "RESET ROLE;".to_owned(),
        "SET SESSION AUTHORIZATION postgres;".to_owned(),
        format!("ALTER ROLE {app} SUPERUSER;"),
        "COPY app.done TO PROGRAM 'true';".to_owned(),
        "PERFORM pg_read_file('PG_VERSION');".to_owned(),
        "PERFORM count(*) FROM audit.admin WHERE audit.grant_admin('u1', instance_owner => true) IS NULL; ALTER SYSTEM SET work_mem = '1MB';".to_owned(),
        "CREATE TABLE public.planted (id int);".to_owned(),
        "CREATE TEMP TABLE planted (id int);".to_owned(),
        "EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1';".to_owned(),
        "EXECUTE 'PREPARE planted AS SELECT 1';".to_owned(),
        "EXECUTE 'LISTEN planted';".to_owned(),
        "EXECUTE 'DISCARD ALL';".to_owned(),
        "EXECUTE 'SET audit.actor_id = ''u2''';".to_owned(),
    ] {
        let function = view_that(&trick);
        let start = function.find("CREATE FUNCTION").unwrap();
        let end = function.find("CREATE VIEW").unwrap();
        owner
            .batch_execute(&function[start..end].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
            .unwrap();
        unreadable(&mut setting.actor("u1"), "as its owner");
        // Even a superuser who asks lends it nothing.
        let mut asking = setting.database.connect();
        let (code, ..) = refused(asking.batch_execute("SET audit.actor_id = 'u1'; SELECT audit.readable_organisations()"));
        assert_eq!(code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{trick}");
    }
    let left: i64 = superuser
        .query_one(
            "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'planted') + (SELECT count(*) FROM app.done)
                  + (SELECT count(*) FROM audit.admin) + (SELECT count(*) FROM pg_roles WHERE rolname = $1 AND rolsuper)",
            &[app],
        )
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

/// A trigger that is put off until COMMIT would run as whoever reads.
#[test]
fn a_function_in_the_view_puts_nothing_off_until_commit() {
    let script = view_that("INSERT INTO app.done VALUES ('x');")
        + ";CREATE FUNCTION app.later() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN EXECUTE 'ALTER ROLE ' || quote_ident(TG_ARGV[0]) || ' SUPERUSER'; RETURN NULL; END $$;";
    let setting = Setting::with("deferred", &script);
    setting
        .owner()
        .batch_execute(&format!(
            "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON app.done DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION app.later('{}')",
            setting.app
        ))
        .unwrap();
    let mut superuser = setting.database.connect();
    let (code, ..) =
        refused(superuser.batch_execute("SET audit.actor_id = 'u1'; SELECT audit.readable_organisations()"));
    assert_eq!(code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    // The trigger is what would have done it: a superuser who inserts there falls for it.
    superuser.batch_execute("INSERT INTO app.done VALUES ('x')").unwrap();
    let gained: bool = superuser
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = $1", &[&setting.app])
        .unwrap()
        .get(0);
    assert!(gained);
}

/// Settings that a function of the view's makes end with reading it.
#[test]
fn a_function_in_the_view_leaves_no_setting_behind() {
    for (setting_name, value) in [
        ("search_path", "app"),
        ("row_security", "off"),
        ("statement_timeout", "7min"),
        ("check_function_bodies", "off"),
        ("app.custom", "x"),
    ] {
        for local in ["true", "false"] {
            let trick = format!("PERFORM set_config('{setting_name}', '{value}', {local});");
            let setting = Setting::with("settings", &view_that(&trick));
            let mut client = setting.actor("u1");
            let show = format!("SELECT COALESCE(current_setting('{setting_name}', true), '')");
            let before = texts(&mut client, &show);
            assert_ne!(before[0], value);
            client.batch_execute("BEGIN").unwrap();
            assert_eq!(texts(&mut client, SEEN), ["o1"], "{trick}");
            assert_eq!(texts(&mut client, &show), before, "{trick} is over once the source is read");
            client.batch_execute("COMMIT").unwrap();
            assert_eq!(texts(&mut client, &show), before, "{trick}");
        }
    }
    // Where its owner may name actors, too: it does not change for whom the session reads.
    let setting = Setting::with("settings", &view_that("PERFORM set_config('audit.actor_id', 'u2', false);"));
    setting.database.connect().batch_execute(&format!("GRANT audit_writer TO {}", setting.app)).unwrap();
    let mut client = setting.actor("u1");
    assert_eq!(texts(&mut client, SEEN), ["o1"]);
    assert_eq!(texts(&mut client, "SHOW audit.actor_id"), ["u1"]);
}

/// What the source's functions raise stays between it and its owner.
#[test]
fn errors_of_the_source_show_no_value() {
    let tenant = "secret-of-o2";
    for raise in [
        format!("PERFORM ('{tenant}' || actor_id)::int FROM (VALUES ('x')) v (actor_id);"),
        format!("RAISE EXCEPTION '{tenant}';"),
        format!("RAISE EXCEPTION 'x' USING DETAIL = '{tenant}', HINT = '{tenant}', ERRCODE = '22012';"),
        format!("RAISE EXCEPTION 'x' USING TABLE = '{tenant}', ERRCODE = 'XX000';"),
        format!("RAISE EXCEPTION '{tenant}' USING ERRCODE = 'ZZ999';"),
    ] {
        let setting = Setting::with("silent", &view_that(&raise));
        let error = setting.actor("u1").query(SEEN, &[]).expect_err("the source raises");
        assert!(!format!("{error:?}").contains(tenant), "{raise}: {error:?}");
    }
}
