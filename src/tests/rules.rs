//! Events that `audit.track` names by rules.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::{run, value};

    /// The events so far, one a line: action, resource and images.
    fn events() -> String {
        value(
            "SELECT coalesce(string_agg(concat_ws(' ', action, resource_type, resource_id, organisation_id, before_state,
                        after_state), E'\\n' ORDER BY event_id), '') FROM audit.row_event",
        )
    }

    fn rules(table: &str, rest: &str, rules: &str) {
        run(&format!("SELECT audit.track('{table}', 't', actions => $j${{\"rules\": [{rules}]}}$j${rest})"));
    }

    #[pg_test]
    fn the_first_rule_that_holds_names_a_row() {
        run("CREATE TABLE t (id int PRIMARY KEY, v int, p int)");
        rules(
            "t",
            "",
            r#"{"on": "insert", "if": "new.v > 10", "action": "t.big"},
               {"on": "insert", "if": "new.v > 5", "action": "t.medium"},
               {"on": "insert", "if": "new.v = 0", "action": null},
               {"on": "delete", "if": "old.p is not null", "action": "p.gone", "resource_type": "p", "resource_id": ["p"]}"#,
        );
        run("INSERT INTO t VALUES (1, 11, NULL), (2, 6, NULL), (3, 5, NULL), (4, 0, NULL), (5, NULL, 7)");
        run("DELETE FROM t WHERE id IN (1, 5)");
        assert_eq!(
            events(),
            [
                r#"t.big t 1 {"p": null, "v": 11, "id": 1}"#,
                r#"t.medium t 2 {"p": null, "v": 6, "id": 2}"#,
                r#"t.created t 3 {"p": null, "v": 5, "id": 3}"#,
                r#"t.created t 5 {"p": 7, "v": null, "id": 5}"#,
                r#"t.deleted t 1 {"p": null, "v": 11, "id": 1}"#,
                r#"p.gone p 7 {"p": 7, "v": null, "id": 5}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn rules_of_an_update_claim_columns_in_order() {
        run(
            "CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int, d int); INSERT INTO t VALUES (1, 0, 0, 0, 0)",
        );
        rules(
            "t",
            "",
            r#"{"on": "update", "columns": ["a", "b"], "if": "new.a > 1", "action": "t.ab"},
               {"on": "update", "columns": ["b", "c"], "action": "t.bc"},
               {"on": "update", "columns": ["d"], "action": null}"#,
        );
        run("UPDATE t SET a = 1, b = 1, c = 1, d = 1");
        run("UPDATE t SET a = 2, b = 2, c = 2, d = 2");
        run("UPDATE t SET d = 3");
        run("UPDATE t SET a = a");
        assert_eq!(
            events(),
            [
                r#"t.bc t 1 {"b": 0, "c": 0} {"b": 1, "c": 1}"#,
                r#"t.updated t 1 {"a": 0} {"a": 1}"#,
                r#"t.ab t 1 {"a": 1, "b": 1} {"a": 2, "b": 2}"#,
                r#"t.bc t 1 {"c": 1} {"c": 2}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn a_change_of_scope_makes_each_event_twice_and_keys_are_in_images() {
        run(
            "CREATE TABLE t (id int PRIMARY KEY, k text, org int, a int); INSERT INTO t VALUES (1, 'k', 1, 0)",
        );
        rules(
            "t",
            ", resource_id => '{k}', organisation_id => 'org'",
            r#"{"on": "update", "columns": ["a"], "action": "t.a"}, {"on": "update", "columns": ["k"], "action": "t.k", "resource_id": ["id"]}"#,
        );
        run("UPDATE t SET a = 1, k = 'l', org = 2");
        assert_eq!(
            events(),
            [
                r#"t.a t k 1 {"a": 0, "id": 1}"#,
                r#"t.a t l 2 {"a": 1, "id": 1}"#,
                r#"t.k t 1 1 {"k": "k"}"#,
                r#"t.k t 1 2 {"k": "l"}"#,
                r#"t.updated t k 1 {"id": 1, "org": 1}"#,
                r#"t.updated t l 2 {"id": 1, "org": 2}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn a_moved_row_is_judged_across_layouts() {
        run("CREATE TABLE p (id int, k int, v text, w text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
             CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
             CREATE TABLE p2 (w text, gone int, v text, k int NOT NULL, id int NOT NULL); ALTER TABLE p2 DROP gone;
             ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);
             CREATE FUNCTION is_moved(p) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT $1.v = 'moved' $$");
        rules(
            "p",
            ", resource_id => '{id}'",
            r#"{"on": "update", "if": "public.is_moved(new) and old is distinct from new", "columns": ["v"], "action": "p.moved"},
               {"on": "update", "if": "old.w = 'w'", "columns": ["w"], "action": "p.w"},
               {"on": "delete", "if": "public.is_moved(old)", "action": "p.gone"}"#,
        );
        run("INSERT INTO p VALUES (1, 1, 'v', 'w')");
        run("UPDATE p SET k = 2, v = 'moved', w = 'x'");
        run("UPDATE p SET k = 1, w = 'w'");
        run("DELETE FROM p");
        assert_eq!(
            events(),
            [
                r#"t.created t 1 {"k": 1, "v": "v", "w": "w", "id": 1}"#,
                r#"p.moved t 1 {"k": 1, "v": "v", "id": 1} {"k": 2, "v": "moved", "id": 1}"#,
                r#"p.w t 1 {"k": 1, "w": "w", "id": 1} {"k": 2, "w": "x", "id": 1}"#,
                r#"t.updated t 1 {"k": 1, "id": 1} {"k": 2, "id": 1}"#,
                r#"t.updated t 1 {"k": 2, "w": "x", "id": 1} {"k": 1, "w": "w", "id": 1}"#,
                r#"p.gone t 1 {"k": 1, "v": "moved", "w": "w", "id": 1}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn renamed_columns_are_followed_into_conditions() {
        run("CREATE TABLE t (id int PRIMARY KEY, a int, b int, bis int, null_ int)");
        rules("t", "", r#"{"on": "insert", "if": "new.\"a\"is null and new.b/**/> 0", "action": "t.named"}"#);
        // The name after the quotes is the next word, whatever the new name needs.
        run("ALTER TABLE t RENAME a TO c");
        run("ALTER TABLE t RENAME b TO a");
        run("ALTER TABLE t RENAME c TO b");
        run("ALTER TABLE t RENAME a TO \"x\"\".y z\"");
        run("INSERT INTO t (id, b, \"x\"\".y z\") VALUES (1, NULL, 1), (2, 1, 1), (3, NULL, -1)");
        assert_eq!(
            value::<String>("SELECT string_agg(action, ' ' ORDER BY event_id) FROM audit.row_event"),
            "t.named t.created t.created"
        );
    }

    #[pg_test]
    fn a_writers_settings_change_no_condition() {
        run("CREATE TABLE t (id int PRIMARY KEY, v text)");
        rules("t", "", r#"{"on": "insert", "if": "(new.v::text[])[1] is null", "action": "t.null"}"#);
        run("SET LOCAL array_nulls = off");
        run("INSERT INTO t VALUES (1, '{NULL}'), (2, '{x}')");
        assert_eq!(
            value::<String>("SELECT string_agg(action, ' ' ORDER BY event_id) FROM audit.row_event"),
            "t.null t.created"
        );
        assert_eq!(value::<String>("SELECT current_setting('array_nulls')"), "off");
    }

    #[pg_test]
    fn a_clients_settings_make_no_ddl_refused() {
        run("CREATE TABLE dated_by_rule (id int PRIMARY KEY, d date)");
        rules(
            "dated_by_rule",
            "",
            r#"{"on": "insert", "if": "new.d > date '32-01-02'", "action": "t.late"}"#,
        );
        // To this client the 32 would be a month.
        run("SET LOCAL DateStyle = 'ISO, MDY'");
        run("ALTER TABLE dated_by_rule ADD note text");
        run("INSERT INTO dated_by_rule VALUES (1, '2033-01-01'), (2, '2031-01-01')");
        assert_eq!(
            value::<String>("SELECT string_agg(action, ' ' ORDER BY event_id) FROM audit.row_event"),
            "t.late t.created"
        );
    }

    #[pg_test]
    fn a_condition_nested_too_deeply_is_an_error() {
        run("CREATE TABLE t (id int PRIMARY KEY)");
        run("DO $$ BEGIN
                 PERFORM audit.track('t', 't', actions => jsonb_build_object('rules', jsonb_build_array(
                     jsonb_build_object('on', 'insert', 'if', repeat('new.id > 0 = ', 1000) || repeat('not ', 9000) || 'true',
                         'action', 't.x'))));
             EXCEPTION WHEN OTHERS THEN NULL; END $$");
        assert_eq!(value::<i64>("SELECT count(*) FROM audit.tracked_table"), 0);
    }
}
