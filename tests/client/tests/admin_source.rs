//! `audit.use_admins_from`: which view is believed, and whom its rows mean.

use audit_client_tests::admins::{SEEN, Setting, unreadable};
use audit_client_tests::{SqlState, refused, texts};

#[test]
fn only_the_views_owner_as_an_audit_admin_names_it() {
    let setting = Setting::with_view("named");
    let other = setting.database.role("other", &["audit_admin"]);
    let member = setting.database.role("member", &["audit_admin", &setting.app]);
    let plain = setting.database.role("plain", &[&setting.app]);
    let mut superuser = setting.database.connect();
    superuser
        .batch_execute(&format!(
            "GRANT ALL ON SCHEMA app TO {other}; GRANT ALL ON ALL TABLES IN SCHEMA app TO {other};
             REVOKE audit_admin FROM {}; GRANT audit_admin TO {}",
            setting.app, setting.app
        ))
        .unwrap();
    let call = "SELECT audit.use_admins_from('app.admins')";
    let (code, message, _) = refused(setting.database.connect_as(&other).batch_execute(call));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(message.contains("owner of app.admins"), "{message}");
    setting.database.connect_as(&member).batch_execute(call).unwrap();
    superuser.batch_execute(&format!("REVOKE audit_admin FROM {}", setting.app)).unwrap();
    for role in [&plain, &setting.app] {
        let (code, ..) = refused(setting.database.connect_as(role).batch_execute(call));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

#[test]
fn what_is_no_such_view_is_refused() {
    let setting = Setting::with_view("shape");
    let mut client = setting.owner();
    client
        .batch_execute(
            "CREATE VIEW app.short AS SELECT actor_id, organisation_id, project_id FROM app.member;
             CREATE VIEW app.text_owner AS SELECT actor_id, organisation_id, project_id, 'f'::text instance_owner FROM app.member;
             CREATE SEQUENCE app.sequence; CREATE INDEX member_actor ON app.member (actor_id);
             CREATE TEMP TABLE gone AS TABLE app.member;
             CREATE FUNCTION app.unqualified() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM member); END';
             CREATE VIEW app.breaks AS SELECT actor_id, organisation_id, project_id, app.unqualified() instance_owner
             FROM (SELECT '0' actor_id, 'o' organisation_id, 'p' project_id) v;",
        )
        .unwrap();
    for (source, code) in [
        ("'app.short'", SqlState::UNDEFINED_COLUMN),
        ("'app.text_owner'", SqlState::DATATYPE_MISMATCH),
        ("'app.sequence'", SqlState::WRONG_OBJECT_TYPE),
        ("'app.member_actor'", SqlState::WRONG_OBJECT_TYPE),
        ("'gone'", SqlState::WRONG_OBJECT_TYPE),
        ("'app.breaks'", SqlState::UNDEFINED_TABLE),
        ("1", SqlState::UNDEFINED_TABLE),
    ] {
        let (given, message, hint) =
            refused(client.batch_execute(&format!("SELECT audit.use_admins_from({source})")));
        assert_eq!(given, code, "{source}: {message}");
        assert!(!hint.is_empty());
    }
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"], "the source before goes on");
    client.batch_execute("SELECT audit.use_admins_from(NULL)").unwrap();
    assert!(texts(&mut setting.actor("u1"), SEEN).is_empty(), "NULL ends it");
}

/// Naming a source tries it, whatever the type of its actors.
#[test]
fn a_source_that_its_owner_cannot_read_is_refused() {
    let setting = Setting::new("unread");
    setting
        .database
        .connect()
        .batch_execute("CREATE TABLE secret (id text); INSERT INTO secret VALUES ('o1')")
        .unwrap();
    let mut client = setting.owner();
    for actor in ["'u'::text", "gen_random_uuid()", "7", "7::bigint", "7::smallint", "now()", "'u'::name"] {
        client
            .batch_execute(&format!(
                "CREATE VIEW app.admins AS SELECT {actor} actor_id, id organisation_id, id project_id, false instance_owner
                 FROM public.secret"
            ))
            .unwrap();
        let (code, message, hint) =
            refused(client.batch_execute("SELECT audit.use_admins_from('app.admins')"));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{actor}: {message}");
        assert!(message.contains("secret") && hint.contains("grant its owner"), "{message} {hint}");
        client.batch_execute("DROP VIEW app.admins").unwrap();
    }
}

#[test]
fn a_source_that_is_gone_closes_the_log_to_actors_alone() {
    let setting = Setting::with_view("gone");
    let analyst = setting.database.role("analyst", &["audit_reader"]);
    let mut superuser = setting.database.connect();
    superuser
        .batch_execute(&format!(
            "SELECT audit.grant_admin(db_role => '{analyst}', organisation_id => 'o2');
             SELECT audit.grant_admin('u2', organisation_id => 'o2');"
        ))
        .unwrap();
    let mut analyst = setting.database.connect_as(&analyst);
    let mut kept = setting.actor("u1");
    let mut owner = setting.owner();
    for (breaks, why, mends) in [
        ("DROP VIEW app.admins", "gone", "CREATE VIEW app.admins AS TABLE app.member"),
        ("ALTER VIEW app.admins RENAME TO other", "gone", "ALTER VIEW app.other RENAME TO admins"),
        ("ALTER SCHEMA app RENAME TO app_2", "gone", "ALTER SCHEMA app_2 RENAME TO app"),
        (
            "ALTER VIEW app.admins RENAME organisation_id TO o",
            "as its owner",
            "ALTER VIEW app.admins RENAME o TO organisation_id",
        ),
    ] {
        owner.batch_execute(breaks).unwrap_or_else(|error| {
            // A schema is renamed by who may create in the database.
            assert!(breaks.contains("SCHEMA"), "{error}");
            superuser.batch_execute(breaks).unwrap();
        });
        for actor in ["u1", "u2", "nobody"] {
            unreadable(&mut setting.actor(actor), why);
        }
        unreadable(&mut kept, why);
        assert_eq!(texts(&mut analyst, SEEN), ["o2"], "{breaks}");
        superuser.batch_execute(&format!("SET ROLE {}", setting.app)).unwrap();
        owner.batch_execute(mends).unwrap_or_else(|_| {
            superuser.batch_execute(&format!("RESET ROLE; {mends}")).unwrap();
        });
        superuser.batch_execute("RESET ROLE").unwrap();
        assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"], "{mends}");
        assert_eq!(texts(&mut kept, SEEN), ["o1"], "{mends}");
        assert_eq!(texts(&mut setting.actor("u2"), SEEN), ["o2"], "{mends}");
    }
}

#[test]
fn another_roles_view_of_that_name_is_not_believed() {
    let setting = Setting::with_view("posing");
    let mallory = setting.database.role("mallory", &[]);
    let mut superuser = setting.database.connect();
    setting
        .owner()
        .batch_execute(&format!("GRANT ALL ON SCHEMA app TO {mallory}; DROP VIEW app.admins"))
        .unwrap();
    let posing = "CREATE VIEW app.admins AS SELECT 'u1'::text actor_id, o organisation_id, NULL::text project_id, true instance_owner
                  FROM unnest('{o1,o2}'::text[]) o";
    setting.database.connect_as(&mallory).batch_execute(posing).unwrap();
    unreadable(&mut setting.actor("u1"), "belongs to another role");
    // It is believed from the owner, so the view's rows were not the reason.
    superuser.batch_execute(&format!("ALTER VIEW app.admins OWNER TO {}", setting.app)).unwrap();
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1", "o2"]);
    // Nor is it read with more rights when it is given away.
    superuser.batch_execute("ALTER VIEW app.admins OWNER TO postgres").unwrap();
    unreadable(&mut setting.actor("u1"), "belongs to another role");
}

/// The owner is looked at once nobody can change the view any more.
#[test]
fn a_view_that_changes_hands_meanwhile_is_not_believed() {
    let setting = Setting::with_view("race");
    let mallory = setting.database.role("mallory", &[]);
    let posing =
        "SELECT 'u1'::text actor_id, NULL::text organisation_id, NULL::text project_id, true instance_owner";
    let mut superuser = setting.database.connect();
    superuser.batch_execute(&format!("GRANT ALL ON SCHEMA app TO {mallory}")).unwrap();
    for change in [
        format!("DROP VIEW app.admins; SET LOCAL ROLE {mallory}; CREATE VIEW app.admins AS {posing}"),
        format!(
            "ALTER VIEW app.admins OWNER TO {mallory}; SET LOCAL ROLE {mallory}; CREATE OR REPLACE VIEW app.admins AS {posing}"
        ),
    ] {
        superuser
            .batch_execute(&format!("BEGIN; {change}; GRANT SELECT ON app.admins TO PUBLIC; RESET ROLE"))
            .unwrap();
        let mut client = setting.actor("u1");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| unreadable(&mut client, "belongs to another role"));
            let mut watching = setting.database.connect();
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while watching.query_one(waits, &[]).unwrap().get::<_, i64>(0) == 0 && !reading.is_finished() {
                std::thread::yield_now();
            }
            superuser.batch_execute("COMMIT").unwrap();
            reading.join().unwrap();
        });
        superuser
            .batch_execute(&format!(
                "DROP VIEW app.admins; SET ROLE {}; CREATE VIEW app.admins AS TABLE app.member; RESET ROLE",
                setting.app
            ))
            .unwrap();
        assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"]);
    }
}

/// What a column holds may change after the source was named; nothing but true makes an instance owner.
#[test]
fn a_source_made_again_with_other_types_makes_no_instance_owner() {
    let setting = Setting::with_view("types");
    let mut owner = setting.owner();
    for not in ["'f'::text", "'false'::varchar", "256", "1", "now()", "'{f}'::boolean[]", "'no'::name"] {
        owner
            .batch_execute(&format!(
                "DROP VIEW app.admins;
                 CREATE VIEW app.admins AS SELECT actor_id, organisation_id, project_id, {not} instance_owner FROM app.member"
            ))
            .unwrap();
        unreadable(&mut setting.actor("u1"), "as its owner");
    }
    owner
        .batch_execute(
            "DROP VIEW app.admins; CREATE DOMAIN app.flag AS boolean;
             CREATE VIEW app.admins AS SELECT actor_id, organisation_id, project_id, true::app.flag instance_owner FROM app.member",
        )
        .unwrap();
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1", "o2"]);
}

#[test]
fn actors_are_compared_exactly_whatever_their_type() {
    let setting = Setting::new("exact");
    setting.database.connect().batch_execute("CREATE EXTENSION citext").unwrap();
    let mut owner = setting.owner();
    owner
        .batch_execute(
            "CREATE COLLATION app.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE DOMAIN app.name_domain AS text COLLATE app.any_case;
             CREATE DOMAIN app.key_domain AS int; CREATE TYPE app.person AS ENUM ('Ann', 'Bob');",
        )
        .unwrap();
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let long = "u".repeat(900);
    let not_7: &[&str] =
        &["07", "007", "+7", " 7", "7 ", "-7", "7.0", "٧", "7e0", "0x7", "77777777777777777777"];
    let not_uuid: &[&str] = &[
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "7",
    ];
    let not_ann: &[&str] = &["ann", "ANN", "Ann ", " Ann", "Ánn", "A%", "Ann\u{200b}"];
    let cases: [(&str, &str, &[&str]); 17] = [
        ("int", "7", not_7),
        ("bigint", "7", not_7),
        ("smallint", "7", not_7),
        ("numeric", "7", not_7),
        ("uuid", uuid, not_uuid),
        ("text", "Ann", not_ann),
        ("varchar(10)", "Ann", not_ann),
        ("char(10)", "Ann", not_ann),
        ("name", "Ann", not_ann),
        ("text COLLATE app.any_case", "Ann", not_ann),
        ("varchar(20) COLLATE app.any_case", "Ann", not_ann),
        ("app.name_domain", "Ann", not_ann),
        ("public.citext", "Ann", not_ann),
        ("app.person", "Ann", not_ann),
        ("app.key_domain", "7", not_7),
        ("text", uuid, not_uuid),
        ("text", &long, &["u", "uu"]),
    ];
    for (kind, actor, others) in cases {
        owner
            .batch_execute(&format!(
                "DROP VIEW IF EXISTS app.admins; DROP TABLE IF EXISTS app.member;
                 CREATE TABLE app.member (actor_id {kind}, organisation_id text, project_id int, instance_owner boolean);
                 INSERT INTO app.member VALUES ('{actor}', 'o1');
                 CREATE VIEW app.admins AS SELECT * FROM app.member;
                 SELECT audit.use_admins_from('app.admins');"
            ))
            .unwrap();
        assert_eq!(texts(&mut setting.actor(actor), SEEN), ["o1"], "{kind} {actor:.50}");
        let mut client = setting.actor("");
        for other in others {
            client.execute("SELECT set_config('audit.actor_id', $1, false)", &[other]).unwrap();
            assert!(texts(&mut client, SEEN).is_empty(), "{kind}: {other:?} is not {actor:.50}");
        }
    }
}

/// Events hold a long identifier shortened; the source holds it as it is, and who is called like the short form is
/// somebody else.
#[test]
fn a_long_actor_is_not_who_is_called_like_its_short_form() {
    let setting = Setting::with_view("long");
    let long = "u".repeat(900);
    let short: String = setting
        .database
        .connect()
        .query_one("SELECT left($1, 800 - 37) || ' md5:' || md5($1)", &[&long])
        .unwrap()
        .get(0);
    setting.owner().execute("INSERT INTO app.member VALUES ($1, 'o2')", &[&short]).unwrap();
    assert_eq!(texts(&mut setting.actor(&short), SEEN), ["o2"]);
    assert!(texts(&mut setting.actor(&long), SEEN).is_empty());
}

/// The owner reads what it may itself, not what the actor may, which would ask the source again.
#[test]
fn a_source_that_reads_the_log_reads_it_as_its_owner() {
    let setting = Setting::new("recursion");
    let mut superuser = setting.database.connect();
    superuser
        .batch_execute(&format!(
            "GRANT audit_reader TO {}; SET audit.actor_id = 'u1';
             SELECT audit.record('a.b', 't', 'r', o) FROM unnest('{{o1,o2}}'::text[]) o;",
            setting.app
        ))
        .unwrap();
    let mut owner = setting.owner();
    owner
        .batch_execute(
            "CREATE VIEW app.admins AS SELECT actor_id, organisation_id, project_id, false instance_owner
             FROM audit.event, audit.readable_organisations();
             SELECT audit.use_admins_from('app.admins')",
        )
        .unwrap();
    let mut client = setting.actor("u1");
    assert!(texts(&mut client, SEEN).is_empty());
    superuser
        .batch_execute(&format!(
            "SELECT audit.grant_admin(db_role => '{}', organisation_id => 'o1')",
            setting.app
        ))
        .unwrap();
    assert_eq!(texts(&mut client, SEEN), ["o1", "o1"]);
    assert!(texts(&mut setting.actor("u2"), SEEN).is_empty());
}

#[test]
fn whoever_waits_too_long_for_it_is_told_so() {
    let setting = Setting::with_view("locked");
    let mut owner = setting.owner();
    owner.batch_execute("BEGIN; LOCK TABLE app.member").unwrap();
    let mut reader = setting.actor("u1");
    reader.batch_execute("SET lock_timeout = '100ms'").unwrap();
    for query in [SEEN, "SELECT event_id::text FROM audit.log(pattern => '*')"] {
        let (code, message, hint) = refused(reader.query(query, &[]));
        assert_eq!(code, SqlState::LOCK_NOT_AVAILABLE, "{message}");
        assert!(message.contains("app.admins") && hint.contains("lock_timeout"), "{message}: {hint}");
    }
    owner.batch_execute("COMMIT").unwrap();
    assert_eq!(texts(&mut reader, SEEN), ["o1"]);
}
