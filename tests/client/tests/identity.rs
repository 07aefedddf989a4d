//! Who reads as whom: a role without the grant reads as itself, whatever it tries. The same attempt by a role that may
//! succeeds, so that each test can fail.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};
use postgres::Client;

/// One event for each of two organisations. The actor `boss` and the role `victim` read "theirs"; `plain`, who may only
/// read, and `writer`, who may name actors, read "mine".
struct Setting {
    database: Database,
    plain: String,
    writer: String,
    victim: String,
}

const SEEN: &str = "SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY 1";

/// What the table shows, and `audit.log` as well.
#[track_caller]
fn seen(client: &mut Client) -> Vec<String> {
    let seen = texts(client, SEEN);
    let log = "SELECT organisation_id FROM audit.log(pattern => '*, -audit.*') ORDER BY 1";
    assert_eq!(texts(client, log), seen, "audit.log");
    seen
}

impl Setting {
    fn new(label: &str) -> Self {
        let database = Database::create(label);
        let plain = database.role("plain", &["audit_reader"]);
        let writer = database.role("writer", &["audit_reader", "audit_writer"]);
        let victim = database.role("victim", &["audit_reader"]);
        database
            .connect()
            .batch_execute(&format!(
                "SELECT audit.record('a.b', 't', 'r', o) FROM unnest('{{mine,theirs,nobodys}}'::text[]) o;
                 SELECT audit.grant_admin('boss', organisation_id => 'theirs');
                 SELECT audit.grant_admin(db_role => '{victim}', organisation_id => 'theirs');
                 SELECT audit.grant_admin(db_role => '{plain}', organisation_id => 'mine');
                 SELECT audit.grant_admin(db_role => '{writer}', organisation_id => 'mine');
                 GRANT CREATE ON SCHEMA public TO PUBLIC;"
            ))
            .unwrap();
        Self { database, plain, writer, victim }
    }

    /// What `role` reads after `statements`, those that are refused left out.
    fn after(&self, role: &str, statements: &[&str]) -> Vec<String> {
        let mut client = self.database.connect_as(role);
        for statement in statements {
            let _ = client.batch_execute(statement);
        }
        seen(&mut client)
    }

    /// Runs `test` with the library loaded when it is first used, and when the session begins.
    fn each_way(label: &str, test: impl Fn(&Self)) {
        let setting = Self::new(label);
        let name = &setting.database.name;
        test(&setting);
        let mut superuser = setting.database.connect();
        superuser
            .batch_execute(&format!("ALTER DATABASE {name} SET session_preload_libraries = 'audit'"))
            .unwrap();
        test(&setting);
    }
}

#[test]
fn set_before_and_after_the_library_is_loaded() {
    Setting::each_way("set", |setting| {
        for attempt in [
            "SET audit.actor_id = 'boss'",
            "SET SESSION audit.actor_id TO boss",
            "SET AUDIT.\"Actor_ID\" = 'boss'",
            "SELECT set_config('audit.actor_id', 'boss', false)",
            "SELECT set_config('AUDIT.ACTOR_ID', 'boss', false)",
            "UPDATE pg_settings SET setting = 'boss' WHERE name = 'audit.actor_id'",
            "DO $$ BEGIN PERFORM set_config('audit.actor_id', 'boss', false); END $$",
        ] {
            for load in
                ["", "SELECT count(*) FROM audit.event", "LOAD 'audit'", "SELECT audit_match('a.b', '*')"]
            {
                assert_eq!(setting.after(&setting.plain, &[load, attempt]), ["mine"], "{load}; {attempt}");
                // A placeholder is in no view of settings.
                if !attempt.starts_with("UPDATE") || load.starts_with("SELECT") {
                    assert_eq!(
                        setting.after(&setting.writer, &[load, attempt]),
                        ["theirs"],
                        "{load}; {attempt}"
                    );
                }
            }
        }
    });
}

/// The library is loaded in the middle of a transaction whose settings would come back with a savepoint.
#[test]
fn set_local_around_savepoints() {
    Setting::each_way("local", |setting| {
        let attempt = |role: &str, statements: &[&str]| {
            let mut client = setting.database.connect_as(role);
            statements
                .iter()
                .map(|statement| {
                    if statement.starts_with("SELECT") {
                        return texts(&mut client, statement).concat();
                    }
                    // A refusal must not end the transaction.
                    let _ = client.batch_execute("SAVEPOINT attempt");
                    if client.batch_execute(statement).is_err() {
                        let _ = client.batch_execute("ROLLBACK TO attempt");
                    }
                    String::new()
                })
                .filter(|seen| !seen.is_empty())
                .collect::<Vec<_>>()
        };
        let statements = [
            "BEGIN",
            "SET LOCAL audit.actor_id = 'boss'",
            "SAVEPOINT one",
            "SET audit.actor_id = 'boss'",
            "SAVEPOINT two",
            "SET LOCAL audit.actor_id = 'boss'",
            SEEN,
            "ROLLBACK TO two",
            SEEN,
            "ROLLBACK TO one",
            SEEN,
            "RELEASE one",
            SEEN,
            "COMMIT",
            SEEN,
        ];
        assert_eq!(attempt(&setting.plain, &statements), ["mine"; 5]);
        assert_eq!(attempt(&setting.writer, &statements), ["theirs", "theirs", "theirs", "theirs", "mine"]);
    });
}

#[test]
fn connection_options() {
    Setting::each_way("options", |setting| {
        let name = &setting.database.name;
        for options in [
            "-c audit.actor_id=boss",
            "--audit.actor-id=boss",
            "-cAUDIT.actor_id=boss",
            "-c Audit.Actor_Id=boss",
        ] {
            let seen_by = |role: &str| {
                // Refusing the connection would do as well.
                let mut client = Cluster::shared().try_connect(name, role, options).ok()?;
                Some(seen(&mut client))
            };
            if let Some(seen) = seen_by(&setting.plain) {
                assert_eq!(seen, ["mine"], "{options}");
            }
            assert_eq!(seen_by(&setting.writer).expect("it may"), ["theirs"], "{options}");
        }
        // Nor does it become another role on the way in; a role that may become it does.
        for setting_name in ["role", "session_authorization"] {
            let options = format!("-c {setting_name}={}", setting.victim);
            if let Ok(mut client) = Cluster::shared().try_connect(name, &setting.plain, &options) {
                assert_eq!(seen(&mut client), ["mine"], "{options}");
            }
        }
        let become_victim = format!("-c role={}", setting.victim);
        let mut client = Cluster::shared().try_connect(name, "postgres", &become_victim).unwrap();
        assert_eq!(seen(&mut client), ["theirs"]);
        // And the setting's value does not pretend that it worked.
        if let Ok(mut client) = Cluster::shared().try_connect(name, &setting.plain, "-c audit.actor_id=boss")
        {
            assert_eq!(seen(&mut client), ["mine"]);
            assert_eq!(texts(&mut client, "SHOW audit.actor_id"), [""]);
        }
    });
}

#[test]
fn settings_of_roles_and_databases() {
    Setting::each_way("roles", |setting| {
        let (name, plain, writer) = (&setting.database.name, &setting.plain, &setting.writer);
        let mut superuser = setting.database.connect();
        superuser
            .batch_execute(&format!("ALTER DATABASE {name} OWNER TO {plain}; ALTER ROLE {plain} CREATEROLE"))
            .unwrap();
        for load in ["", "SELECT audit_match('a.b', '*')"] {
            let mut client = setting.database.connect_as(plain);
            client.batch_execute(load).unwrap();
            for target in [
                format!("ROLE {plain}"),
                format!("ROLE {plain} IN DATABASE {name}"),
                "ROLE CURRENT_USER".into(),
                "ROLE ALL".into(),
                format!("ROLE ALL IN DATABASE {name}"),
                format!("ROLE {writer}"),
                format!("DATABASE {name}"),
            ] {
                let (code, ..) =
                    refused(client.batch_execute(&format!("ALTER {target} SET audit.actor_id = 'boss'")));
                assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{target}");
                assert_eq!(setting.after(plain, &[]), ["mine"]);
            }
        }
        // PostgreSQL keeps this one, and does not obey it.
        let victim = &setting.victim;
        let become_victim = format!("ALTER ROLE {plain} SET role = {victim}");
        if setting.database.connect_as(plain).batch_execute(&become_victim).is_ok() {
            assert_eq!(setting.after(plain, &[]), ["mine"]);
            superuser.batch_execute(&format!("ALTER ROLE {plain} RESET role")).unwrap();
        }
        let mut client = setting.database.connect_as(writer);
        client.batch_execute(&format!("ALTER ROLE {writer} SET audit.actor_id = 'boss'")).unwrap();
        assert_eq!(setting.after(writer, &[]), ["theirs"]);
        client.batch_execute(&format!("ALTER ROLE {writer} RESET audit.actor_id")).unwrap();
        superuser
            .batch_execute(&format!(
                "ALTER DATABASE {name} OWNER TO postgres; ALTER ROLE {plain} NOCREATEROLE"
            ))
            .unwrap();
    });
}

#[test]
fn set_role() {
    Setting::each_way("set_role", |setting| {
        let (plain, writer, victim) = (&setting.plain, &setting.writer, &setting.victim);
        let mut superuser = setting.database.connect();
        let set_role = format!("SET ROLE {victim}");
        for attempt in
            [set_role.as_str(), &format!("SET ROLE {writer}"), "SET ROLE postgres", "SET ROLE audit_writer"]
        {
            let (code, ..) = refused(setting.database.connect_as(plain).batch_execute(attempt));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{attempt}");
            assert_eq!(setting.after(plain, &[attempt, "SET audit.actor_id = 'boss'"]), ["mine"]);
            let config = attempt.replace("SET ROLE ", "SELECT set_config('role', '") + "', false)";
            assert_eq!(setting.after(plain, &[&config]), ["mine"]);
        }
        // Being a member is not being the role, until one becomes it.
        superuser.batch_execute(&format!("GRANT {victim} TO {plain}")).unwrap();
        assert_eq!(setting.after(plain, &[]), ["mine"]);
        assert_eq!(setting.after(plain, &[&set_role]), ["theirs"]);
        assert_eq!(setting.after(plain, &[&set_role, "RESET ROLE"]), ["mine"]);
        superuser.batch_execute(&format!("REVOKE {victim} FROM {plain}")).unwrap();
        // A plain role inside the application's session can put the actor away, and is itself again.
        superuser.batch_execute(&format!("GRANT {plain} TO {writer}")).unwrap();
        let become_plain = format!("SET ROLE {plain}");
        let boss = "SET audit.actor_id = 'boss'";
        assert_eq!(setting.after(writer, &[boss, &become_plain]), ["theirs"], "the actor stays");
        assert_eq!(setting.after(writer, &[&become_plain, boss]), ["mine"]);
        // Another than itself it cannot become, whether PostgreSQL refuses at once or when the library is loaded.
        for load in ["", "LOAD 'audit'"] {
            let seen = setting.after(writer, &[load, "SET audit.actor_id = 'x'", &become_plain, boss]);
            assert!(seen.is_empty() || seen == ["mine"], "{seen:?}");
        }
        assert_eq!(setting.after(writer, &[boss, &become_plain, "RESET ALL"]), ["mine"]);
        superuser.batch_execute(&format!("REVOKE {plain} FROM {writer}")).unwrap();
    });
}

#[test]
fn set_session_authorization() {
    Setting::each_way("authorization", |setting| {
        for role in [&setting.victim, &setting.writer, "postgres"] {
            let attempt = format!("SET SESSION AUTHORIZATION {role}");
            let (code, ..) = refused(setting.database.connect_as(&setting.plain).batch_execute(&attempt));
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
            assert_eq!(setting.after(&setting.plain, &[&attempt, "SET audit.actor_id = 'boss'"]), ["mine"]);
        }
        let become_victim = format!("SET SESSION AUTHORIZATION {}", setting.victim);
        assert_eq!(setting.after("postgres", &[&become_victim]), ["theirs"]);
    });
}

#[test]
fn its_own_security_definer_function() {
    Setting::each_way("definer", |setting| {
        let (plain, writer, victim) = (&setting.plain, &setting.writer, &setting.victim);
        let make = |owner: &str, name: &str, clause: &str| {
            setting.database.connect_as(owner).batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION public.{name}() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER {clause}
                 AS $$ BEGIN RETURN QUERY {SEEN}; END $$"
            ))
        };
        let call = |role: &str, first: &str, name: &str| {
            let mut client = setting.database.connect_as(role);
            client.batch_execute(first).unwrap();
            texts(&mut client, &format!("SELECT * FROM public.{name}()"))
        };
        // It lends the caller its owner's rights, and takes none of the caller's.
        make(plain, "of_plain", "").unwrap();
        make(victim, "of_victim", "").unwrap();
        assert_eq!(call(plain, "", "of_plain"), ["mine"]);
        assert_eq!(call(victim, "", "of_plain"), ["mine"]);
        assert_eq!(call(plain, "", "of_victim"), ["theirs"], "what the victim gives away");
        assert_eq!(call(writer, "SET audit.actor_id = 'boss'", "of_plain"), ["theirs"], "the actor's rights");

        // A setting of the function's is set by its caller, and needs the right to.
        for clause in ["SET audit.actor_id = 'boss'", "SET \"audit.actor_id\" FROM CURRENT"] {
            let made = make(plain, "with_clause", clause);
            if clause.contains("boss") {
                assert_eq!(refused(made).0, SqlState::INSUFFICIENT_PRIVILEGE);
            }
        }
        make(writer, "with_boss", "SET audit.actor_id = 'boss'").unwrap();
        assert_eq!(call(writer, "", "with_boss"), ["theirs"]);
        setting
            .database
            .connect_as(writer)
            .batch_execute("ALTER FUNCTION with_boss() SECURITY INVOKER")
            .unwrap();
        let mut client = setting.database.connect_as(plain);
        if let Ok(rows) = client.query("SELECT * FROM with_boss()", &[]) {
            assert_eq!(
                rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(),
                ["mine"],
                "the caller may not"
            );
        }
        // Nor can it become another role inside.
        make(plain, "becomes", "").unwrap();
        setting
            .database
            .connect_as(plain)
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION becomes() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER
                 AS $$ BEGIN SET LOCAL ROLE {victim}; RETURN QUERY {SEEN}; END $$"
            ))
            .unwrap();
        assert!(setting.database.connect_as(plain).query("SELECT * FROM becomes()", &[]).is_err());
        assert!(setting.database.connect_as(victim).query("SELECT * FROM becomes()", &[]).is_err());
    });
}

/// What the policy and our own queries name is in `pg_catalog` or `audit`, whatever else is called the same.
const PLANT: &str = "
    CREATE FUNCTION $.readable_organisations() RETURNS text[] LANGUAGE sql AS $$SELECT '{theirs}'::pg_catalog.text[]$$;
    CREATE FUNCTION $.readable_from() RETURNS uuid LANGUAGE sql AS $$SELECT '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid$$;
    CREATE FUNCTION $.is_readable_pair(text[], text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION $.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT 'boss'::pg_catalog.text$$;
    CREATE FUNCTION $.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION $.yes(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION $.yes(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION $.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION $.yes(boolean, boolean) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR $.= (LEFTARG = text, RIGHTARG = text, FUNCTION = $.yes);
    CREATE OPERATOR $.= (LEFTARG = name, RIGHTARG = name, FUNCTION = $.yes);
    CREATE OPERATOR $.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = $.yes);
    CREATE OPERATOR $.>= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = $.yes);
    CREATE OPERATOR $.<> (LEFTARG = boolean, RIGHTARG = boolean, FUNCTION = $.yes);
    CREATE TABLE $.admin (actor_id pg_catalog.text, organisation_id pg_catalog.text, project_id pg_catalog.text, instance_owner boolean);
    CREATE TABLE $.admin_source (schema_name pg_catalog.text, source_name pg_catalog.text, owner pg_catalog.text);
    CREATE TABLE $.organisation (organisation_id pg_catalog.text, enterprise boolean);
    CREATE TABLE $.pg_authid (oid oid, rolname pg_catalog.name);
    INSERT INTO $.admin VALUES ('boss', 'theirs', NULL, true);
    CREATE DOMAIN $.text AS pg_catalog.text DEFAULT 'theirs';
    CREATE DOMAIN $.name AS pg_catalog.name DEFAULT 'boss';
    CREATE DOMAIN $.uuid AS pg_catalog.uuid;";

#[test]
fn what_is_planted_in_public_and_pg_temp() {
    Setting::each_way("planted", |setting| {
        for (schema, paths) in [
            ("public", ["public, pg_catalog", "public, audit, pg_catalog", "audit, public, pg_catalog"]),
            ("pg_temp", ["pg_temp, pg_catalog", "pg_temp, audit, pg_catalog", "audit, pg_temp, pg_catalog"]),
        ] {
            for path in paths {
                let mut client = setting.database.connect_as(&setting.plain);
                // Every other time the session has read before.
                if path.starts_with("audit") {
                    assert_eq!(seen(&mut client), ["mine"]);
                }
                client.batch_execute("BEGIN").unwrap();
                client.batch_execute(&PLANT.replace("$.", &format!("{schema}."))).unwrap();
                client.batch_execute(&format!("SET LOCAL search_path = {path}")).unwrap();
                assert_eq!(seen(&mut client), ["mine"], "{path}");
                assert_eq!(texts(&mut client, "SELECT unnest(audit.readable_organisations())"), ["mine"]);
                assert_eq!(client.query("TABLE audit.event", &[]).unwrap().len(), 3, "with two grants");
                // They are found by whoever does not qualify, functions and operators in public alone.
                if schema == "public" {
                    let fooled =
                        client.query_one("SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text", &[]).unwrap();
                    assert!(fooled.get::<_, bool>(0));
                }
                let rows = client.query(&format!("SELECT 1 FROM {schema}.admin"), &[]).unwrap();
                assert_eq!(rows.len(), 1);
                client.batch_execute("ROLLBACK").unwrap();
            }
        }
    });
}

#[test]
fn its_own_search_path() {
    Setting::each_way("path", |setting| {
        for path in
            ["''", "pg_temp", "public", "audit", "nowhere", "\"$user\"", "information_schema, pg_toast"]
        {
            let set = format!("SET search_path = {path}");
            assert_eq!(setting.after(&setting.plain, &[&set]), ["mine"], "{path}");
            assert_eq!(setting.after(&setting.victim, &[&set]), ["theirs"], "{path}");
        }
    });
}

/// What a superuser runs for it as its owner (REFRESH, ANALYZE, CREATE INDEX) does not read for the superuser's actor.
#[test]
fn what_others_run_in_its_name() {
    Setting::each_way("maintenance", |setting| {
        setting
            .database
            .connect_as(&setting.plain)
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS public.loot, public.bait CASCADE;
                 CREATE TABLE public.loot (seen text); CREATE TABLE public.bait (id int);
                 CREATE OR REPLACE FUNCTION public.take() RETURNS void LANGUAGE plpgsql AS
                     $$ BEGIN INSERT INTO public.loot {SEEN}; END $$;
                 CREATE FUNCTION public.spy(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                     $$ BEGIN PERFORM public.take(); RETURN $1; END $$;
                 INSERT INTO public.bait SELECT generate_series(1, 20);
                 CREATE INDEX bait_spy ON public.bait (public.spy(id));
                 CREATE MATERIALIZED VIEW public.copied AS {SEEN};
                 TRUNCATE public.loot",
            ))
            .unwrap();
        let mut superuser = setting.database.connect();
        superuser.batch_execute("SET audit.actor_id = 'boss'").unwrap();
        for command in
            ["ANALYZE public.bait", "REINDEX TABLE public.bait", "CLUSTER public.bait USING bait_spy"]
        {
            superuser.batch_execute(command).unwrap();
            let loot = texts(&mut superuser, "SELECT DISTINCT seen FROM public.loot");
            assert_eq!(loot, ["mine"], "{command}");
        }
        superuser.batch_execute("REFRESH MATERIALIZED VIEW public.copied").unwrap();
        assert_eq!(texts(&mut superuser, "TABLE public.copied"), ["mine"]);
        // The function reads for the actor where the superuser calls it.
        superuser
            .batch_execute(&format!("TRUNCATE public.loot; SET ROLE {}; SELECT public.spy(1)", setting.plain))
            .unwrap();
        assert_eq!(texts(&mut superuser, "SELECT DISTINCT seen FROM public.loot"), ["theirs"]);
        superuser
            .batch_execute(
                "RESET ROLE; DROP FUNCTION public.spy CASCADE; DROP MATERIALIZED VIEW public.copied",
            )
            .unwrap();
    });
}
