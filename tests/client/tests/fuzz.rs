//! Settings that somebody throws at `audit.track`: nothing crashes, nothing is half applied, and no condition runs with
//! more rights than the table's owner has.

use audit_client_tests::{Cluster, Database, Random, SqlState, refused, texts};

/// Everything that `audit.track` may change.
const STATE: &str = "SELECT jsonb_build_array(
    (SELECT jsonb_agg(t ORDER BY t::text) FROM audit.tracked_table t),
    (SELECT jsonb_agg(c ORDER BY c::text) FROM audit.catalogue c),
    (SELECT jsonb_agg(jsonb_build_array(tgrelid, tgname, tgenabled, tgargs) ORDER BY oid) FROM pg_trigger))::text";

/// A table of a plain administrator's, functions that lie about what they do, and what they try to touch.
const SCHEMA: &str = "
    CREATE TABLE public.canary (what text); GRANT SELECT ON public.canary TO PUBLIC;
    CREATE TABLE public.secret (what text); INSERT INTO public.secret VALUES ('secret');
    CREATE TABLE public.writers (who text); GRANT SELECT, INSERT ON public.writers TO PUBLIC;
    CREATE SCHEMA app; GRANT CREATE, USAGE ON SCHEMA app TO PUBLIC;
    CREATE SCHEMA evil; GRANT CREATE, USAGE ON SCHEMA evil TO PUBLIC;
    SET ROLE {owner};
    CREATE TABLE app.t (id int PRIMARY KEY, v int, s text, \"a\"\"b.c\" int, \"ü\" text[]);
    GRANT SELECT, INSERT, UPDATE, DELETE ON app.t TO PUBLIC;
    CREATE FUNCTION app.writes() RETURNS bool LANGUAGE plpgsql VOLATILE AS
        $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN true; END $$;
    CREATE FUNCTION app.stable_writes() RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN app.writes(); END $$;
    CREATE FUNCTION app.immutable_writes(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN true; END $$;
    CREATE FUNCTION app.wraps_writes(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN app.writes(); END $$;
    CREATE FUNCTION app.becomes(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN SET ROLE postgres; RETURN app.writes(); END $$;
    CREATE FUNCTION app.sets_role(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM set_config('role', 'postgres', false); RETURN app.writes(); END $$;
    CREATE FUNCTION app.resets(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RESET SESSION AUTHORIZATION; RETURN app.writes(); END $$;
    CREATE FUNCTION app.reads_file(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RETURN pg_read_file('PG_VERSION') IS NOT NULL; END $$;
    CREATE FUNCTION app.reads_secret(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RETURN EXISTS (SELECT FROM public.secret); END $$;
    CREATE FUNCTION app.changes_own(int) RETURNS bool LANGUAGE plpgsql VOLATILE AS
        $$ BEGIN INSERT INTO app.t VALUES ($1 + 1000000, 0); RETURN true; END $$;
    CREATE FUNCTION app.writes_own(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RETURN app.changes_own($1); END $$;
    CREATE FUNCTION app.fails(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1 / ($1 - $1) = 0; END $$;
    CREATE FUNCTION app.notes() RETURNS void LANGUAGE plpgsql VOLATILE AS
        $$ BEGIN INSERT INTO public.writers VALUES (current_user); END $$;
    CREATE FUNCTION app.who(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM app.notes(); RETURN true; END $$;
    CREATE DOMAIN app.checked AS text CHECK (app.who(length(value)));
    CREATE FUNCTION app.path(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower('A') = 'a'; END $$;
    RESET ROLE;
    CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.canary VALUES ('path ' || current_user); RETURN 'a'; END $$;
    GRANT INSERT ON public.canary TO {writer};";

/// What the owner may not do, and so no condition of the owner's either.
const FORBIDDEN: [&str; 11] = [
    "app.stable_writes()",
    "app.immutable_writes(new.id)",
    "app.wraps_writes(new.id)",
    "app.becomes(new.id)",
    "app.sets_role(new.id)",
    "app.resets(new.id)",
    "app.reads_file(new.id)",
    "app.reads_secret(new.id)",
    "app.writes_own(new.id)",
    "app.fails(new.id)",
    "new.id / (new.id - new.id) = 0",
];

const PIECES: [&str; 44] = [
    "new.id",
    "old.id",
    "new",
    "old",
    "new.*",
    "new.v > 0",
    "new.\"a\"\"b.c\"",
    "new.U&\"\\0076\"",
    "new.\"ü\"",
    "id",
    "nothing.x",
    "new.ctid",
    "tableoid",
    "null",
    "true",
    "1",
    "'x'",
    "'\\'",
    "$1",
    "(select 1)",
    "(select count(*) from public.secret)",
    "count(*)",
    "row_number() over ()",
    "generate_series(1, 9)",
    "pg_sleep(9)",
    "now()",
    "random()",
    "nextval('s')",
    "pg_read_file('PG_VERSION')",
    "set_config('role', 'postgres', false)",
    "app.writes()",
    "app.checked",
    "lo_import('/etc/passwd')",
    "1/0",
    "'a'::int",
    "array[1]",
    "new.id::app.checked",
    "; drop table app.t",
    "-- ",
    "/*",
    "\"",
    "$$",
    "default",
    "current_setting('audit.actor_id', true)",
];

const JOINTS: [&str; 12] = [
    " and ",
    " = ",
    " or ",
    " is distinct from ",
    "::text || ",
    ", ",
    " union select ",
    " from app.t where ",
    "(",
    ") ",
    " ",
    " limit ",
];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

fn condition(random: &mut Random) -> String {
    match random.below(20) {
        0 => return "(".repeat(random.below(20_000) as usize),
        1 => return format!("new.v = {}1", "1 + ".repeat(random.below(3000) as usize)),
        2 => return format!("{}true", "not ".repeat(random.below(30_000) as usize)),
        3 => return (0..random.below(30)).map(|_| char::from(32 + random.below(95) as u8)).collect(),
        _ => {}
    }
    let mut text = pick(random, &PIECES).to_owned();
    for _ in 0..random.below(4) {
        text += pick(random, &JOINTS);
        text += pick(random, &PIECES);
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Any JSON.
fn value(random: &mut Random, depth: u32) -> String {
    let names = [
        "",
        "id",
        "v",
        "nothing",
        "a\"b.c",
        "ü",
        "t.created",
        "audit.x",
        "T.Bad",
        "x'; drop table app.t; --",
        "%I$1",
    ];
    match random.below(if depth > 3 { 6 } else { 9 }) {
        0 => "null".into(),
        1 => "true".into(),
        2 => "-1e300".into(),
        3 => quoted(pick(random, &names)),
        4 => quoted(&"x".repeat(random.below(3000) as usize)),
        5 => quoted(&condition(random)),
        6 => {
            let depth = random.below(400) as usize;
            "[".repeat(depth) + &"]".repeat(depth)
        }
        7 => format!(
            "[{}]",
            (0..random.below(4)).map(|_| value(random, depth + 1)).collect::<Vec<_>>().join(",")
        ),
        _ => format!("{{{}: {}}}", quoted(pick(random, &names)), value(random, depth + 1)),
    }
}

/// A rule that is nearly right.
fn rule(random: &mut Random) -> String {
    let mut pairs = Vec::new();
    for (key, likely) in
        [("on", 19), ("action", 19), ("if", 15), ("columns", 4), ("resource_type", 2), ("resource_id", 2)]
    {
        if random.below(20) >= likely {
            continue;
        }
        let usual = match key {
            "on" => quoted(pick(random, &["insert", "update", "delete"])),
            "action" => pick(random, &["\"t.named\"", "null", "\"t.other\""]).to_owned(),
            "if" => quoted(&condition(random)),
            "resource_type" => "\"other\"".into(),
            _ => pick(random, &["[\"v\"]", "[\"id\", \"v\"]", "[\"a\\\"b.c\"]", "[]"]).to_owned(),
        };
        let given = if random.below(12) == 0 { value(random, 0) } else { usual };
        pairs.push(format!("{}: {given}", quoted(key)));
    }
    if random.below(30) == 0 {
        pairs.push(format!("\"unknown\": {}", value(random, 0)));
    }
    format!("{{{}}}", pairs.join(", "))
}

fn actions(random: &mut Random) -> String {
    match random.below(20) {
        0 => return value(random, 0),
        1 => {
            return format!(
                "{{{}: {}}}",
                pick(random, &["\"rules\"", "\"insert\"", "\"Insert\""]),
                value(random, 0)
            );
        }
        2 => {
            let depth = random.below(3000) as usize;
            return format!("{{\"rules\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        }
        3 => {
            let many = vec![r#"{"on": "insert", "action": "t.x"}"#; random.below(600) as usize];
            return format!("{{\"rules\": [{}]}}", many.join(","));
        }
        _ => {}
    }
    let rules: Vec<_> = (0..1 + random.below(3)).map(|_| rule(random)).collect();
    format!("{{\"rules\": [{}]}}", rules.join(", "))
}

/// The database, its owner of app.t and somebody who writes to it.
fn prepared(label: &str) -> (Database, String, String) {
    let database = Database::create(label);
    let owner = database.role("owner", &["audit_admin"]);
    let writer = database.role("writer", &[]);
    let schema = SCHEMA.replace("{owner}", &owner).replace("{writer}", &writer);
    database.connect().batch_execute(&schema).unwrap();
    (database, owner, writer)
}

#[test]
fn any_settings_are_taken_whole_or_refused_with_a_hint() {
    let (database, owner, _) = prepared("fuzz");
    let mut superuser = database.connect();
    let mut client = database.connect_as(&owner);
    client.batch_execute("SET statement_timeout = '5s'").unwrap();
    const PID: &str = "SELECT pg_backend_pid()::text";
    let pid = texts(&mut client, PID);
    let mut random = Random::seeded(20_261_125);
    let (mut before, mut taken, mut refusals) = (texts(&mut superuser, STATE), 0, 0);
    for round in 0..2000 {
        let actions = actions(&mut random);
        let tracked =
            client.execute("SELECT audit.track('app.t', 't', actions => $1::text::jsonb)", &[&actions]);
        match tracked {
            Ok(_) => {
                taken += 1;
                // What was taken can be used, or fails the write with a hint.
                let writes = "BEGIN; INSERT INTO app.t VALUES (1, 1); UPDATE app.t SET v = 2; DELETE FROM app.t; ROLLBACK";
                if let Err(error) = client.batch_execute(writes) {
                    let (state, message, hint) = refused::<()>(Err(error));
                    assert!(state != SqlState::INTERNAL_ERROR && !hint.is_empty(), "{actions}: {message}");
                    client.batch_execute("ROLLBACK").unwrap();
                }
                before = texts(&mut superuser, STATE);
            }
            Err(error) => {
                refusals += 1;
                // What is no JSON is PostgreSQL's to tell.
                let is_json = superuser.execute("SELECT $1::text::jsonb", &[&actions]).is_ok();
                let (state, message, hint) = refused::<()>(Err(error));
                let cut = actions.chars().take(300).collect::<String>();
                assert_ne!(state, SqlState::INTERNAL_ERROR, "{round}: {cut}: {message}");
                assert!(!is_json || !hint.is_empty(), "{round}: {cut}: {message}");
                assert_eq!(texts(&mut superuser, STATE), before, "{round}: {cut}");
            }
        }
    }
    assert_eq!(texts(&mut client, PID), pid);
    assert!(taken > 100 && refusals > 100, "{taken} taken, {refusals} refused");
    assert_eq!(texts(&mut superuser, "SELECT what FROM public.canary"), [""; 0]);
}

#[test]
fn a_condition_has_the_rights_of_the_tables_owner_whoever_writes() {
    let (database, owner, writer) = prepared("rights");
    let mut admin = database.connect_as(&owner);
    let mut superuser = database.connect();
    let mut other = database.connect_as(&writer);
    other.batch_execute("SET search_path = evil, public, pg_catalog").unwrap();
    superuser.batch_execute("SET search_path = evil, public, pg_catalog").unwrap();
    let rule = |condition: &str| {
        format!(
            "SELECT audit.track('app.t', 't', actions => jsonb_build_object('rules', jsonb_build_array(
                 jsonb_build_object('on', 'insert', 'if', $c${condition}$c$, 'action', 't.named'))))"
        )
    };
    for condition in FORBIDDEN {
        if let Err(error) = admin.batch_execute(&rule(condition)) {
            // It was evaluated already, since it depends on no row.
            let (_, message, hint) = refused::<()>(Err(error));
            assert!(!hint.is_empty(), "{condition}: {message}");
            continue;
        }
        for client in [&mut superuser, &mut other] {
            let (state, message, hint) = refused(client.batch_execute("INSERT INTO app.t VALUES (1)"));
            assert_ne!(state, SqlState::INTERNAL_ERROR, "{condition}: {message}");
            assert!(
                hint.contains("audit.track") && message.contains("actions.rules[0].if"),
                "{message}: {hint}"
            );
            // And in a block that goes on, again and again.
            client
                .batch_execute(
                    "DO $$ BEGIN FOR n IN 1..20 LOOP BEGIN INSERT INTO app.t VALUES (1);
                     EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$",
                )
                .unwrap();
        }
    }
    let count = |client: &mut postgres::Client| texts(client, "SELECT count(*)::text FROM app.t");
    assert_eq!(count(&mut superuser), ["0"]);

    // What writes as the owner may, it does as the owner; unqualified names are pg_catalog's.
    for (n, condition) in [
        "app.who(new.id)",
        "app.path(new.id)",
        "(new.s::app.checked) is not null",
        "jsonb_populate_record(null::app.pair, jsonb_build_object('x', new.s)) is not null",
    ]
    .iter()
    .enumerate()
    {
        if n == 3 {
            admin
                .batch_execute(
                    "CREATE FUNCTION app.plain(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
                         $$ BEGIN RETURN lower('A') = 'a'; END $$;
                     CREATE DOMAIN app.lowered AS text CHECK (app.plain(value)); CREATE TYPE app.pair AS (x app.lowered)",
                )
                .unwrap();
        }
        admin.batch_execute(&rule(condition)).unwrap();
        for (m, client) in [&mut superuser, &mut other].into_iter().enumerate() {
            client.batch_execute(&format!("INSERT INTO app.t VALUES ({}, 1, 'x')", 10 * n + m)).unwrap();
        }
    }
    assert_eq!(texts(&mut superuser, "SELECT DISTINCT who FROM public.writers"), [owner.as_str()]);
    assert_eq!(texts(&mut superuser, "SELECT what FROM public.canary"), [""; 0]);
    assert_eq!(
        texts(&mut superuser, "SELECT DISTINCT action FROM audit.event WHERE action NOT LIKE 'audit.%'"),
        ["t.named"]
    );
    assert_eq!(texts(&mut other, "SELECT current_user::text"), [writer.as_str()]);

    // In somebody else's partition, too.
    let setup = format!(
        "CREATE TABLE app.p (id int PRIMARY KEY) PARTITION BY LIST (id); ALTER TABLE app.p OWNER TO {owner};
         CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES IN (1);"
    );
    superuser.batch_execute(&setup).unwrap();
    admin.batch_execute(&rule("app.immutable_writes(new.id)").replace("'app.t'", "'app.p'")).unwrap();
    refused(superuser.batch_execute("INSERT INTO app.p VALUES (1)"));
    refused(superuser.batch_execute("INSERT INTO app.p1 VALUES (1)"));
    admin.batch_execute(&rule("app.who(new.id)").replace("'app.t'", "'app.p'")).unwrap();
    superuser.batch_execute("INSERT INTO app.p1 VALUES (1)").unwrap();
    assert_eq!(texts(&mut superuser, "SELECT DISTINCT who FROM public.writers"), [owner.as_str()]);
}

#[test]
fn ddl_does_not_run_anothers_condition() {
    let (database, owner, _) = prepared("ddl_runs");
    let mut admin = database.connect_as(&owner);
    admin
        .batch_execute(
            "CREATE TABLE app.flag (on_fire bool); INSERT INTO app.flag VALUES (false);
             CREATE FUNCTION app.trap() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                 IF (SELECT on_fire FROM app.flag) THEN RAISE 'trapped'; END IF; RETURN true; END $$;
             SELECT audit.track('app.t', 't', actions => '{\"rules\": [{\"on\": \"insert\", \"if\": \"app.trap()\", \"action\": \"t.x\"}]}');
             UPDATE app.flag SET on_fire = true;",
        )
        .unwrap();
    let mut superuser = database.connect();
    superuser
        .batch_execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT SELECT ON canary TO PUBLIC; DROP FUNCTION f()")
        .unwrap();
}

#[test]
fn a_dump_restores_conditions_whose_rights_it_grants_last() {
    let (database, owner, _) = prepared("rights_dump");
    let mut superuser = database.connect();
    superuser
        .batch_execute(&format!(
            "CREATE SCHEMA fn; CREATE FUNCTION fn.big(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 1';
             REVOKE ALL ON FUNCTION fn.big(int) FROM PUBLIC;
             GRANT USAGE ON SCHEMA fn TO {owner}; GRANT EXECUTE ON FUNCTION fn.big(int) TO {owner}"
        ))
        .unwrap();
    let mut admin = database.connect_as(&owner);
    admin
        .batch_execute(
            "SELECT audit.track('app.t', 't', actions =>
                 '{\"rules\": [{\"on\": \"insert\", \"if\": \"fn.big(new.id)\", \"action\": \"t.big\"}]}')",
        )
        .unwrap();
    let cluster = Cluster::shared();
    let dump = cluster.run("pg_dump", &[&database.name], None);
    let copy = Database::create_empty("rights_copy");
    cluster.run("psql", &["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &copy.name, "-f", "-"], Some(&dump));
    copy.connect_as(&owner).batch_execute("INSERT INTO app.t VALUES (1), (2)").unwrap();
    let actions = texts(
        &mut copy.connect(),
        "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
    );
    assert_eq!(actions, ["t.created", "t.big"]);
}
