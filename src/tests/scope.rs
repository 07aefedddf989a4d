//! Organisation and project: by column or along foreign keys, also when the parent goes or changes.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::{run, value};

    const TABLES: &str = "
        CREATE TABLE project (id int PRIMARY KEY, org varchar(20), code text UNIQUE);
        CREATE TABLE dataset (id bigint PRIMARY KEY, project_id int REFERENCES project ON DELETE CASCADE ON UPDATE CASCADE
                              DEFERRABLE, name text);
        CREATE TABLE item (id int PRIMARY KEY, dataset_id int REFERENCES dataset ON DELETE CASCADE,
                           code text REFERENCES project (code) ON DELETE SET NULL ON UPDATE CASCADE);
        SELECT audit.track('dataset', 'dataset', organisation_id => 'project_id.org', project_id => 'project_id'),
               audit.track('item', 'item', organisation_id => 'dataset_id.project_id.org', project_id => 'code.id');
        INSERT INTO project VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, NULL, 'three');
        INSERT INTO dataset VALUES (10, 1), (20, 2), (30, 3), (40, NULL);
        INSERT INTO item VALUES (100, 10, 'one'), (200, 20, 'two'), (300, 30, NULL);";

    fn scopes(condition: &str) -> String {
        value(&format!(
            "SELECT string_agg(concat_ws(' ', action, resource_id, coalesce(organisation_id, '-') || '/' || coalesce(project_id, '-'),
                                         before_state, after_state), E'\n' ORDER BY event_id)
             FROM audit.row_event WHERE {condition}"
        ))
    }

    #[pg_test]
    fn paths_of_any_length() {
        run(TABLES);
        assert_eq!(
            scopes("action = 'item.created'"),
            [
                r#"item.created 100 a/1 {"id": 100, "code": "one", "dataset_id": 10}"#,
                r#"item.created 200 b/2 {"id": 200, "code": "two", "dataset_id": 20}"#,
                r#"item.created 300 -/- {"id": 300, "code": null, "dataset_id": 30}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn foreign_keys_of_several_columns() {
        run("CREATE TABLE project (dropped int, tenant int, id text, org text, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
             CREATE TABLE project_1 (org text, id text NOT NULL, dropped int, tenant int NOT NULL);
             ALTER TABLE project ATTACH PARTITION project_1 FOR VALUES IN (1);
             CREATE TABLE project_2 PARTITION OF project FOR VALUES IN (2);
             ALTER TABLE project DROP dropped;
             CREATE TABLE dataset (name text, project text, tenant int, id int, UNIQUE (id, tenant),
                                   FOREIGN KEY (tenant, project) REFERENCES project (tenant, id) ON DELETE CASCADE);
             CREATE TABLE item (id int PRIMARY KEY, tenant int, dataset int,
                                FOREIGN KEY (tenant, dataset) REFERENCES dataset (tenant, id) ON DELETE CASCADE ON UPDATE CASCADE);
             SELECT audit.track('item', 'item', organisation_id => 'dataset.project.org', project_id => 'dataset.project');
             INSERT INTO project (tenant, id, org) VALUES (1, 'p', 'one'), (2, 'p', 'two');
             INSERT INTO dataset (tenant, id, project) VALUES (1, 10, 'p'), (2, 10, 'p'), (2, 20, NULL);
             INSERT INTO item VALUES (100, 1, 10), (200, 2, 10), (300, NULL, 10), (400, 2, 20);
             UPDATE item SET tenant = 2 WHERE id = 100;
             DELETE FROM project WHERE tenant = 2;");
        assert_eq!(
            scopes("action <> 'item.deleted'"),
            [
                r#"item.created 100 one/p {"id": 100, "tenant": 1, "dataset": 10}"#,
                r#"item.created 200 two/p {"id": 200, "tenant": 2, "dataset": 10}"#,
                r#"item.created 300 -/- {"id": 300, "tenant": null, "dataset": 10}"#,
                r#"item.created 400 -/- {"id": 400, "tenant": 2, "dataset": 20}"#,
                r#"item.updated 100 one/p {"tenant": 1}"#,
                r#"item.updated 100 two/p {"tenant": 2}"#,
            ]
            .join("\n")
        );
        assert_eq!(
            scopes("action = 'item.deleted'"),
            [
                r#"item.deleted 200 two/p {"id": 200, "tenant": 2, "dataset": 10}"#,
                r#"item.deleted 100 two/p {"id": 100, "tenant": 2, "dataset": 10}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn the_parent_is_deleted_by_the_same_statement() {
        run(TABLES);
        run("DELETE FROM project WHERE id < 3");
        assert_eq!(
            scopes("action LIKE '%.deleted'"),
            [
                r#"dataset.deleted 10 a/1 {"id": 10, "name": null, "project_id": 1}"#,
                r#"dataset.deleted 20 b/2 {"id": 20, "name": null, "project_id": 2}"#,
                r#"item.deleted 100 a/- {"id": 100, "code": null, "dataset_id": 10}"#,
                r#"item.deleted 200 b/- {"id": 200, "code": null, "dataset_id": 20}"#,
            ]
            .join("\n")
        );
        // SET NULL took the project away: one event where it was, one where it is.
        assert_eq!(
            scopes("action = 'item.updated' AND resource_id = '100'"),
            [r#"item.updated 100 a/1 {"code": "one"}"#, r#"item.updated 100 a/- {"code": null}"#].join("\n")
        );
    }

    #[pg_test]
    fn the_parent_was_changed_and_deleted_earlier_in_the_transaction() {
        run(TABLES);
        run("ALTER TABLE dataset ALTER CONSTRAINT dataset_project_id_fkey DEFERRABLE INITIALLY DEFERRED;
             ALTER TABLE dataset DROP CONSTRAINT dataset_project_id_fkey,
                   ADD FOREIGN KEY (project_id) REFERENCES project DEFERRABLE INITIALLY DEFERRED;
             UPDATE project SET org = 'moved' WHERE id = 1;
             UPDATE project SET org = 'moved on' WHERE id = 1;
             DELETE FROM item WHERE id = 100;
             DELETE FROM project WHERE id = 1;
             DELETE FROM dataset WHERE id = 10;");
        assert_eq!(
            scopes("action = 'dataset.deleted'"),
            r#"dataset.deleted 10 moved on/1 {"id": 10, "name": null, "project_id": 1}"#
        );
    }

    #[pg_test]
    fn the_parent_is_made_by_the_same_statement() {
        run(TABLES);
        run("WITH p AS (INSERT INTO project VALUES (5, 'e', 'five') RETURNING id),
                  d AS (INSERT INTO dataset SELECT 50, id FROM p RETURNING id)
             INSERT INTO item SELECT 500, id, 'five' FROM d");
        assert_eq!(
            scopes("resource_id IN ('50', '500')"),
            [
                r#"dataset.created 50 e/5 {"id": 50, "name": null, "project_id": 5}"#,
                r#"item.created 500 e/5 {"id": 500, "code": "five", "dataset_id": 50}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn a_changed_scope_is_two_events_that_show_only_their_own() {
        run(TABLES);
        run("UPDATE dataset SET project_id = 2, name = 'secret of b' WHERE id = 10;
             UPDATE dataset SET project_id = NULL WHERE id = 20;
             UPDATE dataset SET name = 'stays' WHERE id = 30;
             UPDATE dataset SET id = 41, project_id = 1 WHERE id = 40;");
        assert_eq!(
            scopes("action = 'dataset.updated'"),
            [
                r#"dataset.updated 10 a/1 {"name": null, "project_id": 1}"#,
                r#"dataset.updated 10 b/2 {"name": "secret of b", "project_id": 2}"#,
                r#"dataset.updated 20 b/2 {"project_id": 2}"#,
                r#"dataset.updated 20 -/- {"project_id": null}"#,
                r#"dataset.updated 30 -/3 {"name": null} {"name": "stays"}"#,
                r#"dataset.updated 40 -/- {"id": 40, "project_id": null}"#,
                r#"dataset.updated 41 a/1 {"id": 41, "project_id": 1}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn a_bulk_statement_remembers_and_the_next_one_looks_again() {
        run(TABLES);
        run("INSERT INTO dataset SELECT n, 1 + n % 2 FROM generate_series(1000, 3000) n;
             UPDATE project SET org = 'c' WHERE id = 1;
             INSERT INTO dataset VALUES (5000, 1);
             DO $$ BEGIN
                 UPDATE project SET org = 'rolled back' WHERE id = 1;
                 INSERT INTO dataset VALUES (5001, 1);
                 RAISE EXCEPTION 'back';
             EXCEPTION WHEN raise_exception THEN NULL;
             END $$;
             INSERT INTO dataset VALUES (5002, 1);");
        let counts: String = value(
            "SELECT string_agg(organisation_id || ' ' || n, ', ' ORDER BY organisation_id)
             FROM (SELECT organisation_id, count(*) n FROM audit.row_event WHERE resource_id::int >= 1000 AND action = 'dataset.created' GROUP BY 1) c",
        );
        assert_eq!(counts, "a 1000, b 1001, c 2".replace("a 1000, b 1001", "a 1001, b 1000"));
    }

    #[pg_test]
    fn a_partitioned_parent() {
        run("CREATE TABLE project (id int PRIMARY KEY, org text) PARTITION BY HASH (id);
             CREATE TABLE project_0 PARTITION OF project FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE project_1 (org text, gone int, id int NOT NULL);
             ALTER TABLE project_1 DROP gone;
             ALTER TABLE project ATTACH PARTITION project_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             CREATE TABLE dataset (id int PRIMARY KEY, project_id int REFERENCES project ON DELETE CASCADE);
             SELECT audit.track('dataset', 'dataset', organisation_id => 'project_id.org');
             INSERT INTO project SELECT n, 'o' || n FROM generate_series(1, 20) n;
             INSERT INTO dataset SELECT n, n FROM generate_series(1, 20) n;
             DELETE FROM project;");
        let right: i64 =
            value("SELECT count(*) FROM audit.row_event WHERE organisation_id = 'o' || resource_id");
        assert_eq!(right, 40);
    }

    #[pg_test]
    fn of_several_foreign_keys_the_whole_and_the_one_that_leads_on() {
        run("CREATE TABLE whole (id int PRIMARY KEY, org text) PARTITION BY RANGE (id);
             CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
             CREATE TABLE whole_2 PARTITION OF whole FOR VALUES FROM (10) TO (20);
             CREATE TABLE other (id int PRIMARY KEY, org text, extra text);
             CREATE TABLE t (id int PRIMARY KEY, parent int, CONSTRAINT z FOREIGN KEY (parent) REFERENCES whole);
             INSERT INTO whole VALUES (1, 'a'), (11, 'b'); INSERT INTO other VALUES (1, 'wrong', 'x'), (11, 'wrong', 'y');
             SELECT audit.track('t', 't', organisation_id => 'parent.org');
             INSERT INTO t VALUES (100, 1), (200, 11);
             ALTER TABLE t ADD CONSTRAINT a FOREIGN KEY (parent) REFERENCES other;
             INSERT INTO t VALUES (300, 1);
             SELECT audit.track('t', 't', organisation_id => 'parent.org', project_id => 'parent.extra');
             INSERT INTO t VALUES (400, 11);");
        assert_eq!(
            value::<String>(
                "SELECT string_agg(concat_ws(' ', resource_id, organisation_id, project_id), ', ' ORDER BY event_id) FROM audit.row_event"
            ),
            "100 a, 200 b, 300 a, 400 b y"
        );
    }

    #[pg_test]
    fn keys_of_another_type_than_what_they_refer_to() {
        // Names of their own: tests run side by side, and two that make the same tables in another order deadlock.
        run("CREATE TABLE by_numeric (id numeric PRIMARY KEY, org text); INSERT INTO by_numeric VALUES (1, 'numeric');
             CREATE TABLE by_float (id float8 PRIMARY KEY, org text); INSERT INTO by_float VALUES (1, 'float8');
             CREATE TABLE by_text (id text PRIMARY KEY, org text); INSERT INTO by_text VALUES ('ab', 'text');
             CREATE DOMAIN small AS int2;
             CREATE TABLE cast_key (id int PRIMARY KEY, n int REFERENCES by_numeric, f numeric REFERENCES by_float,
                                    c char(5) REFERENCES by_text, d small REFERENCES by_numeric);
             SELECT audit.track('cast_key', 'cast_key', organisation_id => 'n.org', project_id => 'f.org');
             INSERT INTO cast_key VALUES (1, 1, 1, 'ab', 1);
             SELECT audit.track('cast_key', 'cast_key', organisation_id => 'c.org', project_id => 'd.org');
             INSERT INTO cast_key VALUES (2, 1, 1, 'ab', 1);
             CREATE TABLE by_int (id int PRIMARY KEY, org text); INSERT INTO by_int VALUES (1, 'became numeric');
             CREATE TABLE cast_later (id int PRIMARY KEY, p int REFERENCES by_int);
             SELECT audit.track('cast_later', 'cast_later', organisation_id => 'p.org');
             INSERT INTO cast_later VALUES (3, 1); ALTER TABLE by_int ALTER id TYPE numeric; INSERT INTO cast_later VALUES (4, 1);");
        assert_eq!(
            value::<String>(
                "SELECT string_agg(concat_ws(' ', resource_id, organisation_id, project_id), ', ' ORDER BY event_id) FROM audit.row_event"
            ),
            "1 numeric float8, 2 text numeric, 3 became numeric, 4 became numeric"
        );
    }

    #[pg_test]
    fn of_a_parent_that_is_gone_the_last_version() {
        run("CREATE TABLE gone (id int PRIMARY KEY, org text); INSERT INTO gone VALUES (1, 'a'), (7, 'filler');
             CREATE TABLE left_over (id int PRIMARY KEY, p int REFERENCES gone DEFERRABLE INITIALLY DEFERRED);
             SELECT audit.track('left_over', 'left_over', organisation_id => 'p.org'); INSERT INTO left_over VALUES (1, 1), (2, 1);
             UPDATE gone SET org = 'b' WHERE id = 1; UPDATE gone SET id = 2 WHERE id = 1; DELETE FROM left_over WHERE id = 1;
             INSERT INTO gone VALUES (1, 'c'); DELETE FROM gone WHERE id = 1; INSERT INTO gone VALUES (1, 'd'); DELETE FROM gone WHERE id = 1;
             DELETE FROM left_over;");
        assert_eq!(
            scopes("action = 'left_over.deleted'"),
            "left_over.deleted 1 b/- {\"p\": 1, \"id\": 1}\nleft_over.deleted 2 d/- {\"p\": 1, \"id\": 2}"
        );
    }

    #[pg_test]
    fn renames_along_the_path_are_followed() {
        run(TABLES);
        run("ALTER TABLE project RENAME org TO tenant; ALTER TABLE dataset RENAME project_id TO project;
             ALTER TABLE project ADD more text;
             INSERT INTO item VALUES (400, 10);");
        assert_eq!(
            scopes("resource_id = '400'"),
            r#"item.created 400 a/- {"id": 400, "code": null, "dataset_id": 10}"#
        );
    }

    #[pg_test(error = "the audit of public.item would lose its organisation_id")]
    fn a_foreign_key_of_a_path_cannot_be_dropped() {
        run(TABLES);
        run("SELECT audit.untrack('dataset'); ALTER TABLE dataset DROP CONSTRAINT dataset_project_id_fkey");
    }
}
