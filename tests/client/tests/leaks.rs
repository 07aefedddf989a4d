//! No value, identifier or count of another tenant's events comes through: errors, leaky functions, partitions,
//! statistics, COPY and the rest. Each script is run by those who must learn nothing, and by a superuser, who must
//! learn something, or the script would prove nothing.

use audit_client_tests::{Cluster, Database, SqlState, refused, texts};

struct Setting {
    database: Database,
    /// Reads "mine"; may make functions and temporary tables.
    tenant: String,
    /// The same, and a member of pg_read_all_data, pg_read_all_stats and pg_monitor.
    snoop: String,
}

impl Setting {
    fn new(label: &str) -> Self {
        let database = Database::create(label);
        let tenant = database.role("tenant", &["audit_reader"]);
        let snoop =
            database.role("snoop", &["audit_reader", "pg_read_all_data", "pg_read_all_stats", "pg_monitor"]);
        database
            .connect()
            .batch_execute(&format!(
                "CALL audit.maintain();
                 SET audit.actor_id = 'secret-actor'; SET audit.metadata = '{{\"from\": \"secret-ip\"}}';
                 SELECT audit.record('a.secret-action', 'secret-type', 'secret-key-' || i, 'secret-org', 'secret-project',
                                     '{{\"a\": \"secret-before\"}}', '{{\"a\": \"secret-after\"}}')
                 FROM generate_series(1, 40) i;
                 SET audit.actor_id = 'me'; RESET audit.metadata;
                 SELECT audit.record('a.b', 't', 'key-' || i, 'mine', 'p', '{{\"a\": \"1\"}}', '{{\"a\": \"2\"}}')
                 FROM generate_series(1, 40) i;
                 -- After the events, so that what stops at the first row finds one of those.
                 SELECT audit.grant_admin(db_role => '{tenant}', organisation_id => 'mine');
                 SELECT audit.grant_admin(db_role => '{snoop}', organisation_id => 'mine');
                 SELECT audit.grant_admin('secret-actor', organisation_id => 'secret-org', project_id => 'secret-project');
                 SELECT audit.set_organisation('secret-org', true);
                 GRANT CREATE ON SCHEMA public TO PUBLIC;
                 ANALYZE audit.event; ANALYZE audit.admin; ANALYZE audit.organisation;",
            ))
            .unwrap();
        Self { database, tenant, snoop }
    }

    /// Everything that a client is shown: rows, notices, errors with their context.
    fn shown(&self, role: &str, script: &str) -> String {
        let script = format!("\\set VERBOSITY verbose\n\\set ECHO none\n\\pset pager off\n{script}");
        let arguments = ["-X", "-d", &self.database.name, "-U", role, "-f", "-"];
        let output = Cluster::shared().program("psql", &arguments, Some(&script));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// `script` shows a superuser what is secret, and nobody else.
    #[track_caller]
    fn silent(&self, script: &str) {
        assert!(!script.contains("secret"), "what is echoed is no leak");
        for role in [&self.tenant, &self.snoop] {
            let shown = self.shown(role, script);
            assert!(!shown.contains("secret"), "{role}: {script}\n{shown}");
        }
        let shown = self.shown("postgres", script);
        assert!(shown.contains("secret"), "a superuser sees nothing either: {script}\n{shown}");
    }

    /// `statement` is refused for want of rights.
    #[track_caller]
    fn denied(&self, role: &str, statement: &str) {
        let (code, message, _) = refused(self.database.connect_as(role).batch_execute(statement));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{role}: {statement}: {message}");
    }

    fn partitions(&self) -> Vec<String> {
        let partitions = texts(
            &mut self.database.connect(),
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit.event'::regclass ORDER BY 1",
        );
        assert!(partitions.len() >= 5);
        partitions
    }
}

/// A function that says what it is given, and looks cheaper than any check.
const LEAKY: &str = "
    CREATE FUNCTION pg_temp.leak(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 PARALLEL SAFE
        AS $$ BEGIN RAISE NOTICE 'leak: %', $1; RETURN true; END $$;
    CREATE FUNCTION pg_temp.leak2(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001
        AS $$ BEGIN RAISE NOTICE 'leak: %', $1; RETURN false; END $$;
    CREATE OPERATOR pg_temp.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.leak2, RESTRICT = eqsel, JOIN = eqjoinsel);
    CREATE OPERATOR pg_temp.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.leak2, RESTRICT = scalarltsel);
    CREATE TEMP TABLE t AS SELECT i FROM generate_series(1, 3) i;
    CREATE TEMP VIEW v WITH (security_barrier = off) AS SELECT * FROM audit.event;
    CREATE TEMP VIEW w WITH (security_invoker = on) AS SELECT * FROM v;
";

#[test]
fn leaky_functions_see_only_what_the_policy_lets_through() {
    let setting = Setting::new("leaky");
    for query in [
        "SELECT count(*) FROM audit.event WHERE pg_temp.leak(resource_id)",
        "SELECT count(*) FROM audit.event e WHERE pg_temp.leak(e)",
        "SELECT count(*) FROM audit.event WHERE pg_temp.leak(after_state) AND false IS DISTINCT FROM true",
        "SELECT count(*) FROM audit.event WHERE pg_temp.leak(organisation_id) OR organisation_id = 'x'",
        "SELECT count(*) FROM audit.event WHERE pg_temp.leak(project_id) AND organisation_id > 'n' AND audit_match(action, '*')",
        "SELECT count(*) FROM audit.event WHERE resource_id OPERATOR(pg_temp.===) 'x'",
        "EXPLAIN SELECT FROM audit.event WHERE organisation_id OPERATOR(pg_temp.===) 'x'",
        "EXPLAIN SELECT FROM audit.event WHERE resource_id OPERATOR(pg_temp.<<<) 'x'",
        "EXPLAIN SELECT FROM v WHERE actor_id OPERATOR(pg_temp.===) 'x'",
        "SELECT count(*) FROM audit.event WHERE resource_id OPERATOR(pg_temp.<<<) 'x'",
        "SELECT count(*) FROM v WHERE pg_temp.leak(resource_id)",
        "SELECT count(*) FROM w WHERE pg_temp.leak(resource_id)",
        "SELECT count(*) FROM audit.organisation_log WHERE pg_temp.leak(resource_id)",
        "SELECT count(*) FROM audit.project_log l WHERE pg_temp.leak(l)",
        "SELECT count(*) FROM audit.log(pattern => '*', max_rows => NULL) l WHERE pg_temp.leak(l)",
        "SELECT count(*) FROM audit.history('secr' || 'et-type', 'secr' || 'et-key-1') h WHERE pg_temp.leak(h)",
        "SELECT count(*) FROM t JOIN audit.event e ON pg_temp.leak(e.resource_id)",
        "SELECT count(*) FROM audit.event e RIGHT JOIN t ON pg_temp.leak(e.resource_id)",
        "SELECT count(*) FROM audit.event a JOIN audit.event b ON a.action = b.action AND pg_temp.leak(b.metadata || b.after_state)",
        "SELECT 1 FROM audit.event ORDER BY pg_temp.leak(resource_id) LIMIT 1",
        "SELECT pg_temp.leak(resource_id), count(*) FROM audit.event GROUP BY 1",
        "SELECT count(*) FROM audit.event GROUP BY action HAVING pg_temp.leak(action)",
        "SELECT count(*) FILTER (WHERE pg_temp.leak(actor_id)) FROM audit.event",
        "SELECT DISTINCT ON (pg_temp.leak(resource_type)) 1 FROM audit.event",
        "SELECT 1 FROM t WHERE EXISTS (SELECT FROM audit.event e WHERE pg_temp.leak(e.resource_id) AND t.i > 0)",
        "SELECT bool_and(l.l) FROM audit.event, LATERAL (SELECT pg_temp.leak(resource_id) l) l",
        "SELECT count(*) FROM audit.event TABLESAMPLE BERNOULLI (100) WHERE pg_temp.leak(resource_id)",
        "SELECT count(*) FROM (SELECT *, 1 x FROM audit.event OFFSET 0) e WHERE pg_temp.leak(e.resource_id)",
        "DO 'DECLARE e record; BEGIN FOR e IN SELECT * FROM audit.event WHERE pg_temp.leak(resource_id) LOOP END LOOP; END'",
    ] {
        setting.silent(&format!(
            "{LEAKY} {query}; SET enable_seqscan = off; SET jit = off; {query};
             RESET enable_seqscan; SET force_parallel_mode = on; {query};"
        ));
    }
}

#[test]
fn nobody_but_a_superuser_calls_a_function_leakproof() {
    let setting = Setting::new("leakproof");
    for role in [&setting.tenant, &setting.snoop] {
        setting.denied(
            role,
            "CREATE FUNCTION public.f(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'",
        );
        setting.denied(
            role,
            "CREATE FUNCTION public.f(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             ALTER FUNCTION public.f(text) LEAKPROOF",
        );
    }
}

#[test]
fn errors_show_no_value() {
    let setting = Setting::new("errors");
    for query in [
        "SELECT resource_id::int FROM audit.event ORDER BY organisation_id DESC",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND organisation_id::int = 1",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND organisation_id::uuid IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND actor_id::timestamptz IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND resource_id::json IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND (after_state ->> 'a')::inet IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND (metadata ->> 'from')::boolean",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND resource_type::regclass IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND resource_type::regrole IS NULL",
        "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND query_to_xml('x ' || resource_id, true, true, '') IS NULL",
    ] {
        setting.silent(&format!("{query}; SET enable_seqscan = off; SET jit = off; {query};"));
    }
}

#[test]
fn a_division_by_zero_tells_of_no_other_row() {
    let setting = Setting::new("division");
    let query = "SELECT count(*) FROM audit.event WHERE organisation_id > 'n' AND 1 / (length(organisation_id) - 10) = 1";
    for role in [&setting.tenant, &setting.snoop] {
        let rows: i64 = setting.database.connect_as(role).query_one(query, &[]).unwrap().get(0);
        assert_eq!(rows, 0);
    }
    let (code, ..) = refused(setting.database.connect().query_one(query, &[]));
    assert_eq!(code, SqlState::DIVISION_BY_ZERO);
}

#[test]
fn ways_to_copy_the_log() {
    let setting = Setting::new("copies");
    for script in [
        "COPY (TABLE audit.event) TO STDOUT",
        "COPY (SELECT resource_id, after_state FROM audit.event) TO STDOUT (FORMAT csv)",
        "\\copy (table audit.event) to stdout",
        "TABLE audit.event",
        "CREATE TEMP TABLE mine AS TABLE audit.event; TABLE mine",
        "BEGIN; DECLARE c CURSOR FOR TABLE audit.event; FETCH ALL FROM c; COMMIT",
        "BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR TABLE audit.event; COMMIT; FETCH BACKWARD ALL FROM c; FETCH FORWARD ALL FROM c; FETCH ABSOLUTE -1 FROM c",
        "PREPARE p AS TABLE audit.event; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p",
        "SELECT table_to_xml('audit.event', true, true, '')",
        "SELECT schema_to_xml('audit', true, true, '')",
        "SELECT query_to_xml('TABLE audit.event', true, true, '')",
        "BEGIN; DECLARE c CURSOR FOR TABLE audit.event; SELECT cursor_to_xml('c', 1000, true, true, ''); COMMIT",
        "SELECT * FROM ts_stat('SELECT to_tsvector(''simple'', resource_type) FROM audit.event')",
        "SELECT audit.to_json(e) FROM audit.event e",
        "SELECT * FROM audit.log(pattern => '*', max_rows => NULL)",
        "SELECT audit.to_json(e) FROM audit.log(pattern => '*', max_rows => NULL) e",
        "SELECT * FROM audit.log('secr' || 'et-org', pattern => '*')",
        "SELECT * FROM audit.log(project_id => 'secr' || 'et-project')",
        "SELECT * FROM audit.log(actor_id => 'secr' || 'et-actor', pattern => '*')",
        "SELECT * FROM audit.log(resource_type => 'secr' || 'et-type', pattern => '*')",
        "SELECT * FROM audit.history('secr' || 'et-type', 'secr' || 'et-key-1')",
        "SELECT (audit.history('secr' || 'et-type', 'secr' || 'et-key-' || i)).* FROM generate_series(1, 3) i",
        "TABLE audit.organisation_log",
        "TABLE audit.project_log",
        "SELECT to_jsonb(e), e::text, hstore_to_nothing FROM audit.event e, (SELECT 1) x (hstore_to_nothing)",
        "SELECT string_agg(e::text, '') FROM audit.event e TABLESAMPLE SYSTEM (100)",
        "SELECT max(resource_id), min(resource_id), max(organisation_id), max(actor_id), max(action) FROM audit.event",
        "SELECT percentile_disc(array[0, 0.5, 1]) WITHIN GROUP (ORDER BY resource_id) FROM audit.event",
        "SELECT * FROM pg_stats WHERE schemaname = 'audit' AND tablename LIKE 'event%'",
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename LIKE 'event%'",
    ] {
        setting.silent(&format!("{script};"));
    }
    // Without policies PostgreSQL copies no partitioned table; with them, what the table itself holds, which is nothing.
    for script in [
        "COPY audit.event TO STDOUT;",
        "COPY audit.event (resource_id, organisation_id) TO STDOUT (FORMAT csv);",
    ] {
        for role in [&setting.tenant, &setting.snoop] {
            let shown = setting.shown(role, script);
            assert!(!shown.contains("secret") && !shown.contains("mine"), "{script}: {shown}");
        }
    }
}

#[test]
fn partitions_show_nothing_to_whoever_may_select_from_all_tables() {
    let setting = Setting::new("partitions");
    for partition in setting.partitions() {
        setting.denied(&setting.tenant, &format!("TABLE {partition}"));
        setting.denied(&setting.tenant, &format!("COPY {partition} TO STDOUT"));
        let mut client = setting.database.connect_as(&setting.snoop);
        for query in [
            format!("SELECT count(*) FROM {partition}"),
            format!("SELECT count(*) FROM ONLY {partition} TABLESAMPLE SYSTEM (100)"),
            format!(
                "SELECT count(*) FROM (SELECT * FROM {partition} UNION ALL SELECT * FROM audit.event WHERE false) e"
            ),
        ] {
            assert_eq!(client.query_one(&query, &[]).unwrap().get::<_, i64>(0), 0, "{query}");
        }
        let rows = client.query(&format!("SELECT 1 FROM {partition} WHERE ctid = '(0,1)'"), &[]).unwrap();
        assert!(rows.is_empty());
        for query in [format!("COPY {partition} TO STDOUT"), format!("TABLE {partition}")] {
            assert!(!setting.shown(&setting.snoop, &query).contains("a.b"), "{query}");
        }
    }
    let full =
        texts(&mut setting.database.connect(), "SELECT DISTINCT tableoid::regclass::text FROM audit.event");
    setting.silent(&format!("TABLE {};", full[0]));
}

#[test]
fn commands_that_would_touch_rows_are_refused() {
    let setting = Setting::new("commands");
    let values = "(event_id, occurred_at, transaction_id, action) SELECT event_id, occurred_at, transaction_id, action FROM audit.event";
    for role in [&setting.tenant, &setting.snoop] {
        for table in ["audit.event".to_owned()].into_iter().chain(setting.partitions()) {
            for statement in [
                format!("SELECT 1 FROM {table} FOR UPDATE"),
                format!("SELECT 1 FROM {table} FOR NO KEY UPDATE SKIP LOCKED"),
                format!("SELECT 1 FROM {table} FOR SHARE"),
                format!("SELECT 1 FROM {table} FOR KEY SHARE NOWAIT"),
                format!("INSERT INTO {table} {values} RETURNING *"),
                format!("INSERT INTO {table} {values} ON CONFLICT DO NOTHING"),
                format!("UPDATE {table} SET action = action RETURNING *"),
                format!("DELETE FROM {table} RETURNING *"),
                format!("MERGE INTO {table} e USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE"),
                format!("TRUNCATE {table}"),
                format!("BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE"),
                format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT"),
                format!("CREATE POLICY mine ON {table} USING (true)"),
                format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
                format!("ALTER TABLE {table} OWNER TO CURRENT_USER"),
                format!(
                    "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger()"
                ),
                format!("CREATE RULE mine AS ON UPDATE TO {table} DO ALSO NOTIFY mine"),
                format!("CREATE INDEX ON {table} (action)"),
                format!("CREATE STATISTICS public.mine ON action, actor_id FROM {table}"),
                format!("CREATE TABLE public.mine () INHERITS ({table})"),
                format!("CREATE TABLE public.mine (id uuid REFERENCES {table} (event_id))"),
                format!("CREATE PUBLICATION mine FOR TABLE {table}"),
                format!("COPY {table} FROM STDIN"),
            ] {
                let error =
                    setting.database.connect_as(role).batch_execute(&statement).expect_err(&statement);
                let code = error.code().expect("an error of the server").clone();
                // Some of them PostgreSQL does for no partitioned table, or for none without a key.
                let unheard = [
                    SqlState::FEATURE_NOT_SUPPORTED,
                    SqlState::WRONG_OBJECT_TYPE,
                    SqlState::INVALID_FOREIGN_KEY,
                    SqlState::SYNTAX_ERROR,
                ];
                assert!(
                    code == SqlState::INSUFFICIENT_PRIVILEGE || unheard.contains(&code),
                    "{role}: {statement}: {error:?}"
                );
            }
        }
        for statement in [
            "SELECT pg_create_logical_replication_slot('s', 'test_decoding')",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT lo_import('PG_VERSION')",
            "COPY audit.event TO PROGRAM 'cat'",
            "SET session_replication_role = replica",
            "SET log_statement = 'all'",
            "ALTER ROLE CURRENT_USER BYPASSRLS",
        ] {
            setting.denied(role, statement);
        }
    }
    // Row-level security that is switched off is an error, not a way around it.
    let mut client = setting.database.connect_as(&setting.tenant);
    client.batch_execute("SET row_security = off").unwrap();
    for query in [
        "TABLE audit.event",
        "TABLE audit.organisation_log",
        "SELECT * FROM audit.log(pattern => '*')",
        "SELECT * FROM audit.history('t', 'key-1')",
    ] {
        assert_eq!(refused(client.query(query, &[])).0, SqlState::INSUFFICIENT_PRIVILEGE, "{query}");
    }
}

#[test]
fn the_policys_functions_tell_only_ones_own_rights() {
    let setting = Setting::new("functions");
    for role in [&setting.tenant, &setting.snoop] {
        let mut client = setting.database.connect_as(role);
        let row = client
            .query_one(
                "SELECT audit.readable_organisations(), audit.readable_projects(), audit.readable_pairs(), audit.readable_from()::text",
                &[],
            )
            .unwrap();
        assert_eq!(row.get::<_, Vec<String>>(0), ["mine"]);
        assert!(row.get::<_, Vec<String>>(1).is_empty());
        assert!(row.get::<_, Vec<String>>(2).is_empty());
        assert_eq!(row.get::<_, Option<String>>(3), None);
    }
    let mut superuser = setting.database.connect();
    superuser.batch_execute("SET audit.actor_id = 'secret-actor'").unwrap();
    assert_eq!(
        texts(&mut superuser, "SELECT unnest(audit.readable_pairs())"),
        ["secret-org", "secret-project"]
    );
}

#[test]
fn the_tables_of_rights_are_for_who_configures() {
    let setting = Setting::new("tables");
    setting
        .database
        .connect()
        .batch_execute(
            "CREATE VIEW public.secret_source AS SELECT NULL::text actor_id, NULL::text organisation_id, NULL::text project_id, false instance_owner;
             SELECT audit.use_admins_from('public.secret_source')",
        )
        .unwrap();
    let admin = setting.database.role("admin", &["audit_admin"]);
    let snoop = setting.database.role("quiet", &["pg_read_all_data", "pg_monitor"]);
    let all = setting.database.role("all", &["pg_read_all_data", "pg_write_all_data", "audit_admin"]);
    for table in ["admin", "admin_source", "organisation"] {
        setting.denied(&setting.tenant, &format!("TABLE audit.{table}"));
        setting.denied(&setting.tenant, &format!("COPY audit.{table} TO STDOUT"));
        for role in [&setting.snoop, &snoop] {
            let mut client = setting.database.connect_as(role);
            assert!(client.query(&format!("TABLE audit.{table}"), &[]).unwrap().is_empty(), "{table}");
            for script in [
                format!("COPY audit.{table} TO STDOUT;"),
                format!("SELECT * FROM pg_stats WHERE schemaname = 'audit' AND tablename = '{table}';"),
                format!("SELECT table_to_xml('audit.{table}', true, true, '');"),
            ] {
                let shown = setting.shown(role, &script);
                assert!(!shown.contains("secret-") && !shown.contains("mine"), "{script}: {shown}");
            }
        }
        assert!(setting.shown(&admin, &format!("TABLE audit.{table};")).contains("secret"), "{table}");
        for statement in [
            format!("DELETE FROM audit.{table}"),
            format!("TRUNCATE audit.{table}"),
            format!("INSERT INTO audit.{table} DEFAULT VALUES"),
            format!("ALTER TABLE audit.{table} DISABLE ROW LEVEL SECURITY"),
        ] {
            setting.denied(&admin, &statement);
            setting.denied(&snoop, &statement);
        }
        // Nor does pg_write_all_data grant: the functions alone write.
        let mut client = setting.database.connect_as(&all);
        let row = format!("SELECT * FROM audit.{table}");
        let count = client.query(&row, &[]).unwrap().len();
        assert!(count > 0);
        setting.denied(&all, &format!("INSERT INTO audit.{table} {row}"));
        setting.denied(&all, &format!("TRUNCATE audit.{table}"));
        assert_eq!(client.execute(&format!("DELETE FROM audit.{table}"), &[]).unwrap(), 0);
        let column = if table == "admin_source" { "owner" } else { "organisation_id" };
        assert_eq!(client.execute(&format!("UPDATE audit.{table} SET {column} = 'x'"), &[]).unwrap(), 0);
        assert_eq!(client.query(&row, &[]).unwrap().len(), count);
    }
}

#[test]
fn what_everybody_may_look_up_names_no_tenant() {
    let setting = Setting::new("catalogue");
    let mut superuser = setting.database.connect();
    superuser
        .batch_execute(
            "CREATE TABLE public.thing (id int PRIMARY KEY, organisation text); INSERT INTO public.thing VALUES (1, 'mine');
             SELECT audit.track('public.thing', 'thing', organisation_id => 'organisation');
             INSERT INTO public.thing VALUES (2, 'secret-org'), (3, NULL);",
        )
        .unwrap();
    for role in [&setting.tenant, &setting.snoop] {
        let mut client = setting.database.connect_as(role);
        assert!(
            texts(&mut client, "SELECT pattern FROM audit.catalogue").contains(&"thing.created".to_owned())
        );
        assert!(
            texts(&mut client, "SELECT c::text FROM audit.catalogue c WHERE c::text LIKE '%secret%'")
                .is_empty()
        );
    }
    // When something last happened tells of all tenants: it is for who configures, whoever may select.
    let admin = setting.database.role("admin", &["audit_admin"]);
    setting.denied(&setting.tenant, "TABLE audit.tracked_table");
    let last_seen = "SELECT COALESCE(last_seen ->> 'thing.created', '') FROM audit.tracked_table";
    assert_eq!(texts(&mut setting.database.connect_as(&setting.snoop), last_seen), [""]);
    for role in [&admin, "postgres"] {
        assert_ne!(texts(&mut setting.database.connect_as(role), last_seen), [""], "{role}");
    }
}
