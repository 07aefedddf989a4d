//! Partitioned tables: rows that move, partitions that come and go, TRUNCATE of one or all.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::{run, value};

    /// Two partitions with different layouts, one of them partitioned itself.
    const TABLES: &str = "
        CREATE TABLE p (id int, name text, region text, big text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE eu PARTITION OF p FOR VALUES IN ('eu');
        CREATE TABLE us (region text NOT NULL, gone int, big text, name text, id int NOT NULL) PARTITION BY RANGE (id);
        ALTER TABLE us DROP gone;
        CREATE TABLE us_low PARTITION OF us FOR VALUES FROM (0) TO (100);
        CREATE TABLE us_high PARTITION OF us FOR VALUES FROM (100) TO (200);
        ALTER TABLE us ADD PRIMARY KEY (id, region);
        ALTER TABLE p ATTACH PARTITION us FOR VALUES IN ('us');
        SELECT audit.track('p', 'p');";

    /// What was recorded since the last call, in order.
    fn events() -> String {
        let events = value(
            "SELECT coalesce(string_agg(concat_ws(' ', action, resource_id, table_name, before_state - 'big', after_state - 'big'),
                                        E'\n' ORDER BY event_id), '')
             FROM audit.row_event WHERE event_id > coalesce(current_setting('seen.up_to', true), '00000000-0000-0000-0000-000000000000')::uuid",
        );
        run(
            "SELECT set_config('seen.up_to', (SELECT event_id FROM audit.row_event ORDER BY event_id DESC LIMIT 1)::text, true)",
        );
        events
    }

    /// How many tables' triggers there are, but for the audit system's own.
    fn triggers_left() -> i64 {
        value(
            "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             WHERE t.tgfoid = 'audit.capture()'::regprocedure AND c.relnamespace <> 'audit'::regnamespace",
        )
    }

    #[pg_test]
    fn a_row_that_moves_is_one_update() {
        run(TABLES);
        run("INSERT INTO p SELECT n, 'n' || n, 'eu', repeat(md5(n::text), 500) FROM generate_series(1, 3) n");
        events();
        run("UPDATE p SET region = 'us', name = 'moved' WHERE id = 1");
        assert_eq!(
            events(),
            r#"p.updated 1:us public.us_low {"name": "n1", "region": "eu"} {"name": "moved", "region": "us"}"#
        );
        run("UPDATE p SET id = id + 100 WHERE region = 'us'");
        assert_eq!(events(), r#"p.updated 101:us public.us_high {"id": 1} {"id": 101}"#);
        run("UPDATE us SET id = 2 WHERE id = 101");
        assert_eq!(events(), r#"p.updated 2:us public.us_low {"id": 101} {"id": 2}"#);
        // Several rows in one statement, some of them staying.
        run(
            "UPDATE p SET region = CASE WHEN id = 3 THEN 'us' ELSE region END, name = name || '!' WHERE region = 'eu'",
        );
        assert_eq!(
            events(),
            [
                r#"p.updated 2:eu public.eu {"name": "n2"} {"name": "n2!"}"#,
                r#"p.updated 3:us public.us_low {"name": "n3", "region": "eu"} {"name": "n3!", "region": "us"}"#,
            ]
            .join("\n")
        );
        run("MERGE INTO p USING (VALUES (3, 'us'), (9, 'eu')) v (id, region) ON p.id = v.id AND p.region = v.region
             WHEN MATCHED THEN UPDATE SET region = 'eu', id = 33
             WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'new', v.region)");
        assert_eq!(
            events(),
            [
                r#"p.updated 33:eu public.eu {"id": 3, "region": "us"} {"id": 33, "region": "eu"}"#,
                r#"p.created 9:eu public.eu {"id": 9, "name": "new", "region": "eu"}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn a_row_whose_arrival_is_swallowed_was_deleted() {
        run(TABLES);
        run("INSERT INTO p SELECT n, 'n', 'eu' FROM generate_series(1, 4) n;
             CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RETURN CASE WHEN NEW.id % 2 = 1 THEN NULL ELSE NEW END; END $$;
             CREATE TRIGGER swallow BEFORE INSERT ON us_low FOR EACH ROW EXECUTE FUNCTION swallow();");
        events();
        run("UPDATE p SET region = 'us' WHERE id < 4");
        assert_eq!(
            events(),
            [
                r#"p.deleted 1:eu public.eu {"id": 1, "name": "n", "region": "eu"}"#,
                r#"p.updated 2:us public.us_low {"region": "eu"} {"region": "us"}"#,
                r#"p.deleted 3:eu public.eu {"id": 3, "name": "n", "region": "eu"}"#,
            ]
            .join("\n")
        );
        // The last one too is there for the next statement, and dies with its savepoint.
        run("DO $$ BEGIN
                 UPDATE p SET id = 5, region = 'us' WHERE id = 4;
                 ASSERT (SELECT count(*) FROM audit.row_event WHERE action = 'p.deleted' AND resource_id = '4:eu') = 1;
                 RAISE EXCEPTION 'back';
             EXCEPTION WHEN raise_exception THEN NULL;
             END $$;
             INSERT INTO p VALUES (6, 'n', 'us');");
        assert_eq!(events(), r#"p.created 6:us public.us_low {"id": 6, "name": "n", "region": "us"}"#);
    }

    #[pg_test]
    fn a_merge_that_moves_a_row_and_inserts_another() {
        run("CREATE TABLE t (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2);
             SELECT audit.track('t', 't', resource_id => '{id}');
             CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RETURN CASE WHEN new.v <> 'swallow' THEN new END; END $$;
             CREATE TRIGGER swallow BEFORE INSERT ON t_2 FOR EACH ROW EXECUTE FUNCTION swallow();
             INSERT INTO t VALUES (100, 1, 'old'), (300, 1, 'old');
             MERGE INTO t USING (VALUES (100, 2, 'swallow'), (200, 1, 'new'), (300, 2, 'moved'), (400, 2, 'new')) s (id, k, v) ON t.id = s.id
             WHEN MATCHED THEN UPDATE SET k = s.k, v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.k, s.v);");
        assert_eq!(
            value::<String>(
                "SELECT string_agg(concat_ws(' ', action, resource_id), ', ' ORDER BY resource_id, event_id) FROM audit.row_event"
            ),
            "t.created 100, t.deleted 100, t.created 200, t.created 300, t.updated 300, t.created 400"
        );
    }

    #[pg_test]
    fn another_triggers_writes_come_between() {
        run(TABLES);
        run("CREATE TABLE side (id int PRIMARY KEY); SELECT audit.track('side', 'side');
             CREATE FUNCTION side() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO side VALUES (OLD.id);
                 UPDATE p SET name = 'side' WHERE id = 7;
                 UPDATE p SET region = 'us' WHERE id = 8 AND region = 'eu';
                 RETURN NULL;
             END $$;
             INSERT INTO p VALUES (1, 'n', 'eu'), (7, 'n', 'eu'), (8, 'n', 'eu');
             CREATE TRIGGER side AFTER DELETE ON eu FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION side();");
        events();
        run("UPDATE p SET region = 'us' WHERE id = 1");
        assert_eq!(
            events(),
            [
                r#"side.created 1 public.side {"id": 1}"#,
                r#"p.updated 7:eu public.eu {"name": "n"} {"name": "side"}"#,
                r#"p.updated 8:us public.us_low {"region": "eu"} {"region": "us"}"#,
                r#"p.updated 1:us public.us_low {"region": "eu"} {"region": "us"}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn truncate_is_one_event_wherever_it_is_aimed() {
        run(TABLES);
        run("TRUNCATE p");
        assert_eq!(events(), "p.truncated public.p");
        run("TRUNCATE us");
        assert_eq!(events(), "p.truncated public.us");
        run("TRUNCATE us_low, eu");
        assert_eq!(events(), "p.truncated public.us_low\np.truncated public.eu");
        run("TRUNCATE p; TRUNCATE eu");
        assert_eq!(events(), "p.truncated public.p\np.truncated public.eu");
    }

    #[pg_test]
    fn partitions_come_and_go() {
        run(TABLES);
        run("CREATE TABLE asia PARTITION OF p FOR VALUES IN ('asia');
             CREATE TABLE africa (LIKE p);
             ALTER TABLE p ATTACH PARTITION africa FOR VALUES IN ('africa');
             CREATE SCHEMA s CREATE TABLE oceania PARTITION OF public.p FOR VALUES IN ('oceania');
             INSERT INTO p VALUES (1, 'n', 'asia'), (2, 'n', 'africa');
             INSERT INTO s.oceania VALUES (3, 'n', 'oceania');
             TRUNCATE asia; TRUNCATE africa; TRUNCATE s.oceania;");
        assert_eq!(
            events(),
            [
                r#"p.created 1:asia public.asia {"id": 1, "name": "n", "region": "asia"}"#,
                r#"p.created 2:africa public.africa {"id": 2, "name": "n", "region": "africa"}"#,
                r#"p.created 3:oceania s.oceania {"id": 3, "name": "n", "region": "oceania"}"#,
                "p.truncated public.asia",
                "p.truncated public.africa",
                "p.truncated s.oceania",
            ]
            .join("\n")
        );
        run(
            "ALTER TABLE p DETACH PARTITION africa; INSERT INTO africa VALUES (4, 'n', 'africa'); TRUNCATE africa;",
        );
        assert_eq!(events(), "");
        run("SELECT audit.untrack('p')");
        assert_eq!(triggers_left(), 0);
    }

    #[pg_test]
    fn a_partition_tracked_by_itself() {
        run(TABLES);
        run("SELECT audit.untrack('p'); SELECT audit.track('eu', 'eu');
             INSERT INTO p VALUES (1, 'n', 'eu'), (2, 'n', 'us');
             UPDATE p SET region = 'us' WHERE id = 1;
             UPDATE p SET region = 'eu' WHERE id = 2;");
        assert_eq!(
            events(),
            [
                r#"eu.created 1:eu public.eu {"id": 1, "name": "n", "region": "eu"}"#,
                r#"eu.deleted 1:eu public.eu {"id": 1, "name": "n", "region": "eu"}"#,
                r#"eu.created 2:eu public.eu {"id": 2, "name": "n", "region": "eu"}"#,
            ]
            .join("\n")
        );
    }

    /// A partitioned table, and a server for foreign tables that nobody reads.
    const FOREIGN: &str = "
        CREATE TABLE q (id int, k int, name text) PARTITION BY LIST (k);
        CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1);
        CREATE TABLE q2 PARTITION OF q FOR VALUES IN (2, 3) PARTITION BY LIST (k);
        CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;";

    /// The SQLSTATE, message and whether there is a hint, of what must be an error.
    fn complaint(command: &str) -> String {
        run("CREATE OR REPLACE FUNCTION complaint(command text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE hint text;
             BEGIN EXECUTE command; RETURN 'no error';
             EXCEPTION WHEN OTHERS THEN
                 GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
                 RETURN concat_ws(' ', SQLSTATE, SQLERRM, CASE WHEN hint <> '' THEN '(hint)' END);
             END $$");
        Spi::get_one_with_args("SELECT complaint($1)", &[command.into()]).unwrap().unwrap()
    }

    #[pg_test]
    fn a_foreign_table_is_no_partition_of_a_tracked_table() {
        run(FOREIGN);
        run("SELECT audit.track('q', 'q', resource_id => '{id}');
             CREATE FOREIGN TABLE loose (id int, k int, name text) SERVER far;
             CREATE TABLE branch (id int, k int, name text) PARTITION BY LIST (k);
             CREATE FOREIGN TABLE leaf PARTITION OF branch FOR VALUES IN (9) SERVER far;");
        let refused = |table: &str| {
            format!(
                "42809 {table} is a foreign table, which cannot be a partition of tracked table public.q (hint)"
            )
        };
        for (command, table) in [
            ("CREATE FOREIGN TABLE qf PARTITION OF q FOR VALUES IN (9) SERVER far", "public.qf"),
            ("CREATE FOREIGN TABLE qf PARTITION OF q2 FOR VALUES IN (3) SERVER far", "public.qf"),
            ("ALTER TABLE q ATTACH PARTITION loose FOR VALUES IN (9)", "public.loose"),
            ("ALTER TABLE q ATTACH PARTITION branch FOR VALUES IN (9)", "public.leaf"),
        ] {
            assert_eq!(complaint(command), refused(table), "{command}");
        }
        // What nobody tracks may have them, until somebody would track it.
        run("SELECT audit.untrack('q');
             CREATE FOREIGN TABLE qf PARTITION OF q2 FOR VALUES IN (3) SERVER far;");
        assert_eq!(complaint("SELECT audit.track('q', 'q', resource_id => '{id}')"), refused("public.qf"));
        assert_eq!(value::<i64>("SELECT count(*) FROM audit.tracked_table"), 0);
    }

    #[pg_test]
    fn a_foreign_partition_made_behind_our_back_is_in_nobodys_way() {
        run(FOREIGN);
        run("SELECT audit.track('q', 'q', resource_id => '{id}');
             ALTER EVENT TRIGGER audit_follow_ddl DISABLE;
             CREATE FOREIGN TABLE qf PARTITION OF q FOR VALUES IN (9) SERVER far;
             CREATE TABLE missed PARTITION OF q2 FOR VALUES IN (2);
             ALTER EVENT TRIGGER audit_follow_ddl ENABLE ALWAYS;");
        run("CREATE SCHEMA other CREATE TABLE t (id int);
             CREATE TABLE r (id int) PARTITION BY LIST (id);
             CREATE TABLE r1 PARTITION OF r DEFAULT;
             ALTER TABLE q ADD note text;
             CREATE TABLE q4 PARTITION OF q FOR VALUES IN (4);
             ALTER FOREIGN TABLE qf OPTIONS (ADD note 'seen');
             ALTER TABLE q RENAME id TO number;
             INSERT INTO q VALUES (1, 4); TRUNCATE q4, missed;");
        assert_eq!(
            events(),
            [
                r#"q.created 1 public.q4 {"k": 4, "name": null, "note": null, "number": 1}"#,
                "q.truncated public.q4",
            ]
            .join("\n")
        );
        assert!(!value::<bool>("SELECT alive FROM audit.tracked_table"), "its TRUNCATE leaves no event");
        // Other partitions' DDL does not mend it.
        run(
            "ALTER TABLE q DETACH PARTITION qf; SELECT audit.track('q', 'q', resource_id => '{number}'); TRUNCATE missed",
        );
        assert_eq!(events(), "q.truncated public.missed");
        assert!(value::<bool>("SELECT alive FROM audit.tracked_table WHERE target = 'q'::regclass"));
        run("SELECT audit.untrack('q')");
        assert_eq!(triggers_left(), 0);
    }

    #[pg_test]
    fn the_view_looks_at_every_partition() {
        let alive = || value::<bool>("SELECT alive FROM audit.tracked_table");
        run(TABLES);
        assert!(alive());
        for (table, trigger) in [
            ("p", "!audit_end"),
            ("eu", "!audit_row"),
            ("eu", "!audit_truncate"),
            ("us", "!audit_end"),
            ("us", "!audit_truncate"),
            ("us_low", "!audit_row"),
            ("us_low", "!audit_truncate"),
        ] {
            run(&format!("ALTER TABLE ONLY {table} DISABLE TRIGGER \"{trigger}\""));
            assert!(!alive(), "{trigger} of {table} is disabled");
            run(&format!("ALTER TABLE ONLY {table} ENABLE REPLICA TRIGGER \"{trigger}\""));
            assert!(!alive(), "{trigger} of {table} is a replica's");
            run(&format!("ALTER TABLE ONLY {table} ENABLE TRIGGER \"{trigger}\""));
            assert!(alive(), "{trigger} of {table} is enabled");
        }
        run("DROP TRIGGER \"!audit_truncate\" ON us_high");
        assert!(!alive(), "a partition's statement trigger is missing");
        run("SELECT audit.track('p', 'p', on_replica => true)");
        assert!(alive(), "audit.track makes them anew");
        run("CREATE TABLE asia PARTITION OF p FOR VALUES IN ('asia')");
        assert!(alive(), "a new partition's triggers fire where its table's do");
        run("ALTER TABLE us_low ENABLE TRIGGER \"!audit_row\"");
        assert!(!alive(), "an ordinary trigger of a partition does not see what replication applies");
    }
}
