//! The trail audits itself: what switches tracking, rights or guards off leaves an event, whoever does it and however.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};
use postgres::Client;

/// A tracked table of an ordinary role's, who may not configure.
fn tracked(label: &str) -> (Database, Client) {
    let database = Database::create(label);
    let owner = database.role("owner", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "CREATE SCHEMA app AUTHORIZATION {owner};
         GRANT CREATE ON DATABASE {} TO {owner};
         SET ROLE {owner};
         CREATE TABLE app.thing (id int PRIMARY KEY, name text, secret text);
         RESET ROLE;
         SELECT audit.track('app.thing', 'thing', mask => '{{secret}}');",
        database.name
    ))
    .unwrap();
    let client = database.connect_as(&owner);
    (database, client)
}

/// What the trail says of itself since it was last asked: action, name and reason.
fn told(database: &Database, seen: &mut i64) -> Vec<String> {
    let mut dba = database.connect();
    let all = texts(
        &mut dba,
        "SELECT concat_ws(' ', action, resource_id, metadata ->> 'reason') FROM audit.event
         WHERE action LIKE 'audit.%' ORDER BY event_id",
    );
    let new = all[*seen as usize..].to_vec();
    *seen = all.len() as i64;
    new
}

#[test]
fn whatever_switches_tracking_off_is_told() {
    let (database, mut owner) = tracked("off");
    let mut seen = 0;
    assert_eq!(told(&database, &mut seen), ["audit.tracking.enabled app.thing"]);
    let enabled = "audit.tracking.enabled";
    let disabled = "audit.tracking.disabled";
    let row = "trigger !audit_row:";
    let off = "disabled, or enabled for replicas alone";
    for (command, expected) in [
        ("ALTER TABLE app.thing DISABLE TRIGGER \"!audit_row\"", vec![format!("{disabled} app.thing {row} {off}")]),
        ("ALTER TABLE app.thing ENABLE TRIGGER \"!audit_row\"", vec![format!("{enabled} app.thing {row} enabled again")]),
        ("ALTER TABLE app.thing ENABLE REPLICA TRIGGER \"!audit_row\"", vec![format!("{disabled} app.thing {row} {off}")]),
        ("ALTER TABLE app.thing ENABLE ALWAYS TRIGGER \"!audit_row\"", vec![format!("{enabled} app.thing {row} enabled again")]),
        (
            "ALTER TABLE app.thing ENABLE TRIGGER \"!audit_row\"",
            vec![format!("audit.tracking.changed app.thing {row} no more enabled for replicas")],
        ),
        (
            "ALTER TABLE app.thing DISABLE TRIGGER USER",
            vec![format!("{disabled} app.thing trigger !audit_row, !audit_truncate: {off}")],
        ),
        (
            "ALTER TABLE app.thing ENABLE TRIGGER USER",
            vec![format!("{enabled} app.thing trigger !audit_row, !audit_truncate: enabled again")],
        ),
        ("ALTER TABLE app.thing RENAME COLUMN secret TO api_key", vec![
            "audit.tracking.changed app.thing".into(),
            "audit.tracking.changed app.thing column secret is api_key now".into(),
        ]),
        // Swapped: the name is another table's now.
        (
            "ALTER TABLE app.thing RENAME TO thing_old",
            vec![
                format!("{disabled} app.thing the table is app.thing_old now"),
                format!("{enabled} app.thing_old the table was app.thing"),
            ],
        ),
        ("CREATE TABLE app.thing (LIKE app.thing_old)", vec![]),
        (
            "ALTER SCHEMA app RENAME TO \"App\"",
            vec![
                format!("{disabled} app.thing_old the table is \"App\".thing_old now"),
                format!("{enabled} \"App\".thing_old the table was app.thing_old"),
            ],
        ),
        (
            "CREATE SCHEMA other; ALTER TABLE \"App\".thing_old SET SCHEMA other",
            vec![
                format!("{disabled} \"App\".thing_old the table is other.thing_old now"),
                format!("{enabled} other.thing_old the table was \"App\".thing_old"),
            ],
        ),
        (
            "ALTER TABLE other.thing_old ALTER name TYPE varchar USING upper(name)",
            vec![
                "audit.tracking.changed other.thing_old ALTER TABLE rewrote the table, which leaves no event for each row".into(),
                "audit.tracking.changed other.thing_old column name is of type character varying now".into(),
            ],
        ),
        (
            "CREATE FUNCTION other.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE OR REPLACE TRIGGER \"!audit_row\" AFTER INSERT ON other.thing_old FOR EACH ROW EXECUTE FUNCTION other.nothing()",
            vec![format!("{disabled} other.thing_old {row} dropped, replaced, or that of a partition detached")],
        ),
        (
            "DROP TRIGGER \"!audit_truncate\" ON other.thing_old",
            vec![format!(
                "{disabled} other.thing_old trigger !audit_truncate: dropped, replaced, or that of a partition detached"
            )],
        ),
        // Other tables and other commands are nobody's business.
        ("ALTER TABLE other.thing_old DISABLE TRIGGER USER; ALTER TABLE \"App\".thing DISABLE TRIGGER USER", vec![]),
        ("DROP TABLE \"App\".thing; DROP SCHEMA other CASCADE", vec![]),
    ] {
        owner.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        assert_eq!(told(&database, &mut seen), expected, "{command}");
    }
}

#[test]
fn tables_that_go_are_told_of_with_their_settings_and_by_whom() {
    let (database, mut owner) = tracked("gone");
    let owner_name = format!("{}_owner", database.name);
    let mut dba = database.connect();
    dba.batch_execute(&format!("GRANT audit_admin, audit_writer TO {owner_name}")).unwrap();
    owner.batch_execute("SET audit.actor_id = 'ann'; SET audit.metadata = '{\"ticket\": \"T-1\"}'").unwrap();
    owner
        .batch_execute(
            "CREATE TABLE app.parted (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
             CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (1);
             CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM (1) TO (2);
             SELECT audit.track('app.parted', 'parted');
             ALTER TABLE app.parted DETACH PARTITION app.parted_1;
             DROP TABLE app.parted_2;
             SELECT audit.untrack('app.parted');",
        )
        .unwrap();
    owner.batch_execute("BEGIN; DROP TABLE app.thing; ROLLBACK").unwrap();
    owner.batch_execute("DROP SCHEMA app CASCADE").unwrap();
    let rows = dba
        .query(
            "SELECT resource_id, metadata ->> 'reason', metadata ->> 'ticket', before_state ->> 'resource_type', actor_id, db_role
             FROM audit.event WHERE action = 'audit.tracking.disabled' ORDER BY event_id",
            &[],
        )
        .unwrap();
    let text = |row: &postgres::Row, at: usize| row.get::<_, Option<String>>(at).unwrap_or_default();
    let shown: Vec<_> =
        rows.iter().map(|row| (0..4).map(|at| text(row, at)).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(
        shown,
        [
            "app.parted_1|trigger !audit_row, !audit_truncate: dropped, replaced, or that of a partition detached|T-1|parted",
            "app.parted_2|the table was dropped|T-1|parted",
            "app.parted||T-1|parted",
            "app.thing|the table was dropped|T-1|thing",
        ]
    );
    for row in &rows {
        assert_eq!((text(row, 4), text(row, 5)), ("ann".into(), owner_name.clone()));
    }
}

#[test]
fn ddl_that_others_commit_meanwhile_is_theirs() {
    let (database, mut owner) = tracked("theirs");
    let mut dba = database.connect();
    // While this function runs inside the first ALTER TABLE, the other session disables the trigger.
    dba.batch_execute(&format!(
        "CREATE EXTENSION dblink;
         CREATE TABLE public.other (id int);
         INSERT INTO public.other VALUES (1);
         CREATE FUNCTION public.meanwhile() RETURNS text LANGUAGE sql VOLATILE AS
             $$ SELECT dblink_exec('host={} user={}_owner dbname={}', 'ALTER TABLE app.thing DISABLE TRIGGER USER') $$;
         ALTER TABLE public.other ADD done text DEFAULT public.meanwhile();",
        Cluster::shared().socket(),
        database.name,
        database.name
    ))
    .unwrap();
    let told = texts(&mut dba, "SELECT db_role FROM audit.event WHERE action = 'audit.tracking.disabled'");
    assert_eq!(told, [format!("{}_owner", database.name)]);
    // A function that fails half-way, inside another command, leaves nothing behind.
    owner
        .batch_execute(
            "CREATE TABLE app.some (id int);
             CREATE FUNCTION app.fails() RETURNS int LANGUAGE plpgsql AS $$
             BEGIN
                 BEGIN
                     ALTER TABLE app.thing ENABLE TRIGGER USER;
                     ALTER TABLE app.thing ADD CONSTRAINT c CHECK (1 / 0 > 0);
                 EXCEPTION WHEN OTHERS THEN NULL; END;
                 ALTER TABLE app.thing ENABLE TRIGGER \"!audit_row\";
                 RETURN 1;
             END $$;
             INSERT INTO app.some VALUES (1);
             ALTER TABLE app.some ALTER id TYPE bigint USING app.fails();",
        )
        .unwrap();
    let told = texts(
        &mut dba,
        "SELECT metadata ->> 'reason' FROM audit.event WHERE action = 'audit.tracking.enabled' AND metadata IS NOT NULL",
    );
    assert_eq!(told, ["trigger !audit_row: enabled again"]);
}

#[test]
fn rights_leave_events_however_they_are_changed() {
    let database = Database::create("granted");
    let role = database.role("analyst", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "SET audit.require_actor = on;
         SELECT audit.grant_admin(actor_id => 'ann', organisation_id => 'acme');
         SELECT audit.grant_admin(actor_id => 'ann', organisation_id => 'acme');
         SELECT audit.grant_admin(db_role => '{role}', project_id => 'web');
         SELECT audit.revoke_admin(actor_id => 'ann', organisation_id => 'acme');
         INSERT INTO audit.admin (actor_id, instance_owner) VALUES ('eve', true);
         UPDATE audit.admin SET actor_id = 'bob' WHERE actor_id = 'eve';
         DELETE FROM audit.admin WHERE actor_id = 'bob';
         TRUNCATE audit.admin;
         SELECT audit.set_organisation('acme', false);
         SELECT audit.set_organisation('acme', false);
         SELECT audit.set_organisation('acme', NULL);
         CREATE VIEW public.admins AS SELECT 'x' AS actor_id, 'o' AS organisation_id, NULL AS project_id, false AS instance_owner;
         SELECT audit.use_admins_from('public.admins');
         SELECT audit.use_admins_from(NULL);"
    ))
    .unwrap();
    let told = texts(
        &mut dba,
        "SELECT concat_ws(' ', action, resource_id, organisation_id, project_id,
                          (before_state IS NOT NULL)::int::text || (after_state IS NOT NULL)::int)
         FROM audit.event ORDER BY event_id",
    );
    assert_eq!(
        told,
        [
            "audit.admin.granted ann acme 01".to_owned(),
            format!("audit.admin.granted {role} web 01"),
            "audit.admin.revoked ann acme 10".into(),
            "audit.admin.granted eve 01".into(),
            "audit.admin.granted bob 11".into(),
            "audit.admin.revoked bob 10".into(),
            "audit.admin.revoked 00".into(),
            "audit.organisation.changed acme acme 01".into(),
            "audit.organisation.changed acme acme 10".into(),
            "audit.admin.source_changed public:admins 01".into(),
            "audit.admin.source_changed public:admins 10".into(),
        ]
    );
    // An audit_admin is no superuser: a restore's settings hide nothing of what it does.
    let admin = database.role("admin", &["audit_admin"]);
    let mut client = database.connect_as(&admin);
    client
        .batch_execute(
            "SET row_security = off; SET check_function_bodies = off;
             SELECT audit.grant_admin(actor_id => 'mallory', instance_owner => true)",
        )
        .unwrap();
    dba.batch_execute(
        "SET row_security = off; SET check_function_bodies = off;
         SELECT audit.grant_admin(actor_id => 'trudy', instance_owner => true)",
    )
    .unwrap();
    let told = texts(&mut dba, "SELECT resource_id FROM audit.event ORDER BY event_id DESC LIMIT 2");
    assert_eq!(told, ["trudy", "mallory"]);
    let shown = texts(&mut dba, "SELECT DISTINCT resource_type FROM audit.tracked_table");
    assert!(shown.is_empty(), "the system's own tables are not configured: {shown:?}");
    let (code, ..) = refused(dba.batch_execute("SELECT audit.untrack('audit.admin')"));
    assert_eq!(code, SqlState::WRONG_OBJECT_TYPE);
}

#[test]
fn guards_that_a_superuser_switches_off_are_told() {
    let database = Database::create("guards");
    let mut dba = database.connect();
    dba.batch_execute("CALL audit.maintain()").unwrap();
    let month: String = dba
        .query_one("SELECT min(relname)::text FROM pg_class WHERE relname ~ '^event_[0-9_]+$'", &[])
        .unwrap()
        .get(0);
    let mut seen = told(&database, &mut 0).len() as i64;
    let policy = "the owner, row-level security or its policies were changed";
    for (command, expected) in [
        (
            format!("ALTER TABLE audit.{month} DISABLE TRIGGER \"!audit_row_guard\""),
            vec![format!("audit.guard.disabled audit.{month} trigger !audit_row_guard is not always enabled")],
        ),
        (
            format!("ALTER TABLE audit.{month} ENABLE ALWAYS TRIGGER \"!audit_row_guard\""),
            vec![format!("audit.guard.enabled audit.{month} trigger !audit_row_guard is always enabled again")],
        ),
        (
            "DROP TRIGGER \"!audit_statement_guard\" ON audit.event_default".into(),
            // It is a member of the extension's table, not of the extension.
            vec!["audit.guard.disabled audit.event_default trigger !audit_statement_guard is dropped".into()],
        ),
        (
            "ALTER TABLE audit.event DISABLE ROW LEVEL SECURITY".into(),
            vec![format!("audit.guard.disabled audit.event {policy}")],
        ),
        (
            "CREATE POLICY everybody ON audit.event FOR SELECT USING (true)".into(),
            vec![format!("audit.guard.disabled audit.event {policy}")],
        ),
        (
            "CREATE OR REPLACE FUNCTION audit.guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'".into(),
            vec!["audit.guard.disabled audit.guard() the function was replaced or altered".into()],
        ),
        (
            "ALTER TABLE audit.event_default OWNER TO pg_monitor; ALTER TABLE audit.admin DISABLE ROW LEVEL SECURITY".into(),
            vec![
                format!("audit.guard.disabled audit.event_default {policy}"),
                format!("audit.guard.disabled audit.admin {policy}"),
            ],
        ),
        ("GRANT SELECT ON audit.event TO pg_monitor; COMMENT ON FUNCTION audit.guard() IS 'x'".into(), vec![]),
        (
            "ALTER TABLE audit.admin DISABLE TRIGGER USER".into(),
            vec!["audit.tracking.disabled audit.admin trigger !audit_row, !audit_truncate: disabled, or enabled for replicas alone".into()],
        ),
    ] {
        dba.batch_execute(&command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        assert_eq!(told(&database, &mut seen), expected, "{command}");
    }
}

#[test]
fn a_partition_made_by_hand_is_guarded() {
    let database = Database::create("by_hand");
    let mut dba = database.connect();
    dba.batch_execute(
        "CREATE TABLE public.made PARTITION OF audit.event FOR VALUES FROM ('1999-01-01') TO ('1999-02-01');
         CREATE TABLE public.brought (LIKE audit.event);
         ALTER TABLE audit.event ATTACH PARTITION public.brought FOR VALUES FROM ('1999-02-01') TO ('1999-03-01');",
    )
    .unwrap();
    for table in ["public.made", "public.brought"] {
        for statement in [format!("TRUNCATE {table}"), format!("DELETE FROM {table}")] {
            let (code, message, _) = refused(dba.batch_execute(&statement));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {message}");
        }
    }
    let shielded = texts(
        &mut dba,
        "SELECT relname::text FROM pg_class WHERE relrowsecurity AND relname IN ('made', 'brought') ORDER BY 1",
    );
    assert_eq!(shielded, ["brought", "made"]);
}

#[test]
fn a_superusers_own_events_are_told_and_a_restores_are_not() {
    let database = Database::create("forged");
    let mut dba = database.connect();
    let insert = "INSERT INTO audit.event_default (event_id, occurred_at, transaction_id, action)
                  VALUES (gen_random_uuid(), '1999-01-01', '1', 'thing.forged')";
    dba.batch_execute(insert).unwrap();
    let mut seen = 0;
    assert_eq!(
        told(&database, &mut seen),
        ["audit.guard.disabled audit.event_default a superuser inserted events"]
    );
    dba.batch_execute(&format!("SET row_security = off; SET check_function_bodies = off; {insert}")).unwrap();
    assert!(told(&database, &mut seen).is_empty());
}

#[test]
fn a_restore_gives_rights_back_and_takes_none() {
    let database = Database::create("restored");
    let mut dba = database.connect();
    dba.batch_execute(
        "SET row_security = off; SET check_function_bodies = off;
         COPY audit.admin (actor_id, instance_owner) FROM PROGRAM 'echo ann,t; echo bob,t; echo eve,t' (FORMAT csv)",
    )
    .unwrap();
    let mut seen = 0;
    assert!(told(&database, &mut seen).is_empty());
    for (statement, expected) in [
        ("UPDATE audit.admin SET actor_id = 'mallory' WHERE actor_id = 'ann'", "audit.admin.granted mallory"),
        ("DELETE FROM audit.admin WHERE actor_id = 'bob'", "audit.admin.revoked bob"),
        ("TRUNCATE audit.admin", "audit.admin.revoked"),
    ] {
        dba.batch_execute(statement).unwrap();
        assert_eq!(told(&database, &mut seen), [expected], "{statement}");
    }
}

#[test]
fn triggers_that_fire_always_do_so_again() {
    let database = Database::create("always");
    let mut dba = database.connect();
    dba.batch_execute(
        "CREATE TABLE copied (id int PRIMARY KEY);
         SELECT audit.track('copied', 'copied', on_replica => true);
         CREATE TABLE plain (id int PRIMARY KEY);
         SELECT audit.track('plain', 'plain');",
    )
    .unwrap();
    // As pg_restore --disable-triggers does.
    for table in ["copied", "plain", "audit.event", "audit.event_default", "audit.admin"] {
        dba.batch_execute(&format!("ALTER TABLE {table} DISABLE TRIGGER ALL")).unwrap();
        dba.batch_execute(&format!("ALTER TABLE {table} ENABLE TRIGGER ALL")).unwrap();
    }
    let modes = texts(
        &mut dba,
        "SELECT DISTINCT concat_ws(' ', tgrelid::regclass, tgenabled) FROM pg_trigger
         WHERE tgfoid IN ('audit.capture()'::regprocedure, 'audit.guard()'::regprocedure) ORDER BY 1",
    );
    assert_eq!(
        modes,
        [
            "audit.admin A",
            "audit.admin_source A",
            "audit.event A",
            "audit.event_default A",
            "audit.organisation A",
            "copied A",
            "plain O"
        ]
    );
}
