//! What row-level security cannot hide, and who stands above it: docs/security.md says so, and each test here shows one
//! of its claims. A test that fails is good news, and a sentence to take out.

use audit_client_tests::admins::{SEEN, Setting};
use audit_client_tests::{Database, SqlState, refused, texts};
use postgres::Client;

/// A tenant with SQL of its own, who reads "mine"; "secret-org" has 37 events, "mine" 500.
fn tenants(label: &str) -> (Database, String) {
    let database = Database::create(label);
    let tenant = database.role("tenant", &["audit_reader"]);
    database
        .connect()
        .batch_execute(&format!(
            "CALL audit.maintain();
             SELECT audit.grant_admin(db_role => '{tenant}', organisation_id => 'mine');
             SELECT audit.record('a.b', 't', 'r' || i, 'mine') FROM generate_series(1, 500) i;
             SELECT audit.record('a.b', 't', 'r' || i, 'secret-org', after_state => v)
             FROM generate_series(1, 37) i,
                  (SELECT jsonb_object_agg(j, md5(j::text)) v FROM generate_series(1, 300) j) large;
             ANALYZE audit.event;"
        ))
        .unwrap();
    (database, tenant)
}

/// How many rows a plan says that a filter removed: those that the index found and the policy did not let through.
fn removed(client: &mut Client, condition: &str) -> i64 {
    let query =
        format!("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT FROM audit.event WHERE {condition}");
    client
        .query(&query, &[])
        .unwrap()
        .iter()
        .filter_map(|row| {
            row.get::<_, String>(0).split_once("Rows Removed by Filter: ")?.1.trim().parse::<i64>().ok()
        })
        .sum()
}

#[test]
fn explain_counts_the_rows_it_hides_and_so_finds_ids() {
    let (database, tenant) = tenants("explain");
    let mut client = database.connect_as(&tenant);
    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off").unwrap();
    assert_eq!(removed(&mut client, "organisation_id = 'secret-org'"), 37);
    assert_eq!(removed(&mut client, "organisation_id = 'no-such-org'"), 0);
    // Nobody has told the id: each character is found by asking where rows are.
    let mut found = String::new();
    while let Some(next) = (b'a'..=b'z').chain([b'-']).find(|next| {
        let [next, after] = [*next, next + 1].map(char::from);
        let range = format!("organisation_id >= '{found}{next}' AND organisation_id < '{found}{after}'");
        removed(&mut client, &range) > 0
    }) {
        found.push(next.into());
    }
    assert_eq!(found, "secret-org");
}

#[test]
fn estimates_come_from_everybodys_rows() {
    let (database, tenant) = tenants("estimates");
    let mut client = database.connect_as(&tenant);
    let mut estimate = |organisation: &str| -> f64 {
        let query = format!(
            "EXPLAIN (FORMAT JSON) SELECT FROM audit.event, generate_series(1, 1000000) WHERE organisation_id = '{organisation}'"
        );
        let plan: serde_json::Value = client.query_one(&query, &[]).unwrap().get(0);
        plan[0]["Plan"]["Plan Rows"].as_f64().unwrap()
    };
    assert!(estimate("secret-org") > 2.0 * estimate("no-such-org"));
}

#[test]
fn buffers_tell_how_much_was_looked_at() {
    let (database, tenant) = tenants("buffers");
    database
        .connect()
        .batch_execute("SELECT audit.record('a.b', 't', 'busy', 'secret-org') FROM generate_series(1, 3000)")
        .unwrap();
    let mut client = database.connect_as(&tenant);
    let mut buffers = |resource: &str| -> i64 {
        let query = format!(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT FROM audit.history('t', '{resource}', max_rows => NULL)"
        );
        let plan: serde_json::Value = client.query_one(&query, &[]).unwrap().get(0);
        assert_eq!(plan[0]["Plan"]["Actual Rows"], 0);
        plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap()
    };
    // The first time it looks at catalogues, too.
    let mut least = |resource: &str| (0..3).map(|_| buffers(resource)).min().unwrap();
    assert!(least("busy") > 2 * least("idle"));
}

#[test]
fn pg_read_all_data_reads_toast_tables_and_statistics() {
    let (database, _) = tenants("toast");
    let snoop = database.role("snoop", &["pg_read_all_data"]);
    let toast = texts(
        &mut database.connect(),
        "SELECT reltoastrelid::regclass::text FROM pg_class JOIN (SELECT DISTINCT tableoid FROM audit.event) e ON e.tableoid = oid",
    );
    let mut client = database.connect_as(&snoop);
    let rows: i64 = client.query_one(&format!("SELECT count(*) FROM {}", toast[0]), &[]).unwrap().get(0);
    assert!(rows > 0);
    let ids = texts(
        &mut client,
        "SELECT stavalues1::text FROM pg_statistic WHERE starelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit.event'::regclass)
         AND stavalues1 IS NOT NULL",
    );
    assert!(ids.iter().any(|values| values.contains("secret-org")));
    assert!(client.query("SELECT * FROM audit.event", &[]).unwrap().is_empty(), "the table is closed");
}

#[test]
fn a_superusers_view_shows_everything_unless_it_is_a_security_invoker() {
    let (database, tenant) = tenants("views");
    let mut superuser = database.connect();
    superuser
        .batch_execute(
            "CREATE VIEW public.everything AS SELECT DISTINCT organisation_id FROM audit.event;
             CREATE VIEW public.own WITH (security_invoker) AS SELECT DISTINCT organisation_id FROM audit.event;
             GRANT SELECT ON public.everything, public.own TO PUBLIC",
        )
        .unwrap();
    let mut client = database.connect_as(&tenant);
    assert_eq!(texts(&mut client, "SELECT * FROM public.everything ORDER BY 1"), ["mine", "secret-org"]);
    assert_eq!(texts(&mut client, "SELECT * FROM public.own"), ["mine"]);
    // Another's view reads with the rights of who selects from it.
    superuser.batch_execute(&format!("ALTER VIEW public.everything OWNER TO {tenant}")).unwrap();
    let nobody = database.role("nobody", &[]);
    assert!(texts(&mut database.connect_as(&nobody), "SELECT * FROM public.everything").is_empty());
}

#[test]
fn who_bypasses_row_level_security_reads_everything() {
    let (database, _) = tenants("bypass");
    let bypass = database.role("bypass", &["audit_reader"]);
    let seen = "SELECT DISTINCT organisation_id FROM audit.event ORDER BY 1";
    assert!(texts(&mut database.connect_as(&bypass), seen).is_empty());
    database.connect().batch_execute(&format!("ALTER ROLE {bypass} BYPASSRLS")).unwrap();
    assert_eq!(texts(&mut database.connect_as(&bypass), seen), ["mine", "secret-org"]);
}

#[test]
fn createrole_takes_any_membership() {
    let (database, _) = tenants("createrole");
    let mut superuser = database.connect();
    superuser.batch_execute("SELECT audit.grant_admin('boss', organisation_id => 'secret-org')").unwrap();
    let creator = database.role("creator", &[]);
    let mut client = database.connect_as(&creator);
    let take = format!("GRANT audit_writer, audit_reader TO {creator}");
    assert_eq!(refused(client.batch_execute(&take)).0, SqlState::INSUFFICIENT_PRIVILEGE);
    superuser.batch_execute(&format!("ALTER ROLE {creator} CREATEROLE")).unwrap();
    client.batch_execute(&format!("{take}; SET audit.actor_id = 'boss'")).unwrap();
    assert_eq!(texts(&mut client, "SELECT DISTINCT organisation_id FROM audit.event"), ["secret-org"]);
}

#[test]
fn an_audit_writer_reads_as_whomever_it_names() {
    let setting = Setting::with_view("honest");
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"]);
    assert!(texts(&mut setting.actor("u2"), SEEN).is_empty());
}

#[test]
fn others_functions_write_in_the_name_of_whoever_runs_them() {
    let database = Database::create("others_functions");
    let owner = database.role("owner", &[]);
    let mut dba = database.connect();
    dba.batch_execute(&format!(
        "GRANT CREATE ON SCHEMA public TO {owner};
         CREATE TABLE seen (id int PRIMARY KEY); GRANT SELECT, INSERT ON seen TO {owner}; SELECT audit.track('seen', 'seen');
         SET SESSION AUTHORIZATION {owner};
         CREATE FUNCTION f(id int) RETURNS int LANGUAGE sql AS 'INSERT INTO public.seen VALUES ($1) RETURNING id';
         CREATE MATERIALIZED VIEW m AS SELECT f(0) WITH NO DATA;
         RESET SESSION AUTHORIZATION; REFRESH MATERIALIZED VIEW m",
    ))
    .unwrap();
    let writers = "SELECT session_role || ' ' || db_role FROM audit.event WHERE action = 'seen.created'";
    assert_eq!(texts(&mut dba, writers), ["postgres postgres"]);
    let refresh = format!("DELETE FROM seen; SET ROLE {owner}; REFRESH MATERIALIZED VIEW m; RESET ROLE");
    dba.batch_execute(&refresh).unwrap();
    assert_eq!(texts(&mut dba, writers)[1..], [format!("postgres {owner}")]);
}

#[test]
fn an_audit_admin_grants_itself_what_it_likes() {
    let (database, _) = tenants("self");
    let admin = database.role("admin", &["audit_admin"]);
    let mut client = database.connect_as(&admin);
    client
        .batch_execute("SELECT audit.grant_admin(db_role => CURRENT_USER::regrole, instance_owner => true)")
        .unwrap();
    let seen = "SELECT DISTINCT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY 1";
    assert_eq!(
        refused(client.query(seen, &[])).0,
        SqlState::INSUFFICIENT_PRIVILEGE,
        "reading takes audit_reader"
    );
    database.connect().batch_execute(&format!("GRANT audit_reader TO {admin}")).unwrap();
    assert_eq!(texts(&mut client, seen), ["mine", "secret-org"]);
}

#[test]
fn the_owner_of_the_source_decides_who_reads() {
    let setting = Setting::with_view("decides");
    setting.owner().batch_execute("INSERT INTO app.member VALUES ('u2', NULL, NULL, true)").unwrap();
    assert_eq!(texts(&mut setting.actor("u2"), SEEN), ["o1", "o2"]);
}

/// As with REFRESH MATERIALIZED VIEW: the view is its owner's, and so is what its functions do.
#[test]
fn functions_in_a_superusers_source_are_a_superusers() {
    let setting = Setting::new("superuser");
    let app = &setting.app;
    setting
        .owner()
        .batch_execute("CREATE FUNCTION app.flag() RETURNS boolean LANGUAGE sql AS 'SELECT false'")
        .unwrap();
    setting
        .database
        .connect()
        .batch_execute(
            "CREATE VIEW public.admins AS SELECT 'u1'::text actor_id, 'o1'::text organisation_id, NULL::text project_id, app.flag() instance_owner;
             SELECT audit.use_admins_from('public.admins')",
        )
        .unwrap();
    setting
        .owner()
        .batch_execute(&format!(
            "CREATE OR REPLACE FUNCTION app.flag() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE {app} SUPERUSER; RETURN false; END $$"
        ))
        .unwrap();
    assert_eq!(texts(&mut setting.actor("u1"), SEEN), ["o1"]);
    let gained: bool = setting
        .database
        .connect()
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = $1", &[app])
        .unwrap()
        .get(0);
    assert!(gained);
}

/// A function that has a search_path of its own, without pg_temp at its end, looks into the reader's temporary tables
/// first.
#[test]
fn a_function_of_the_sources_has_to_say_where_its_tables_are() {
    let setting = Setting::with(
        "temporary",
        "CREATE TABLE app.boss (actor text);
         CREATE FUNCTION app.is_boss(text) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = app AS
             $$ BEGIN RETURN EXISTS (SELECT FROM boss WHERE actor = $1); END $$;
         CREATE VIEW app.admins AS
             SELECT a actor_id, NULL::text organisation_id, NULL::text project_id, app.is_boss(a) instance_owner FROM unnest('{u1,u2}'::text[]) a",
    );
    let plant = format!(
        "CREATE TEMP TABLE boss (actor text); GRANT SELECT ON boss TO {}; INSERT INTO boss VALUES ('u1')",
        setting.app
    );
    let mut client = setting.actor("u1");
    assert!(texts(&mut client, SEEN).is_empty());
    client.batch_execute(&plant).unwrap();
    assert_eq!(texts(&mut client, SEEN), ["o1", "o2"]);
    setting.owner().batch_execute("ALTER FUNCTION app.is_boss(text) SET search_path = app, pg_temp").unwrap();
    let mut client = setting.actor("u1");
    client.batch_execute(&plant).unwrap();
    assert!(texts(&mut client, SEEN).is_empty());
}
