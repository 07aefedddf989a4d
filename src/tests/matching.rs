//! `audit_match` in queries: as a condition on an index, estimated, and called in unusual ways.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;
    use serde_json::Value;

    use crate::tests::{run, value};

    /// A table with an index, and nothing else for the planner to choose.
    const LOG: &str = "
        CREATE TABLE log (id serial, action text COLLATE \"C\");
        INSERT INTO log (action) SELECT a || '.' || b FROM unnest('{entity,dataset,score}'::text[]) a, unnest('{created,deleted}'::text[]) b;
        CREATE INDEX ON log (action);
        SET LOCAL enable_seqscan = off;
        SET LOCAL plan_cache_mode = force_generic_plan;";

    /// The values of `key` in the plan of `query`, from the top down.
    fn in_plan(key: &str, query: &str) -> String {
        fn walk(plan: &Value, key: &str, found: &mut Vec<String>) {
            if let Some(of_this) = plan.get(key) {
                found.push(of_this.as_str().map_or_else(|| of_this.to_string(), str::to_owned));
            }
            for child in plan.get("Plans").and_then(Value::as_array).into_iter().flatten() {
                walk(child, key, found);
            }
        }
        let pgrx::Json(plans) = value(&format!("EXPLAIN (FORMAT JSON) {query}"));
        let mut found = Vec::new();
        walk(&plans[0]["Plan"], key, &mut found);
        found.join("; ")
    }

    /// The conditions on indexes, and then the filters, of a query of `log`.
    fn conditions(condition: &str) -> (String, String) {
        let query = format!("SELECT FROM log WHERE {condition}");
        (in_plan("Index Cond", &query), in_plan("Filter", &query))
    }

    #[pg_test]
    fn constant_patterns_become_conditions() {
        run(LOG);
        let condition = |pattern: &str| conditions(&format!("audit_match(action, '{pattern}')"));
        let all_of = |condition: &str| (condition.to_owned(), String::new());
        assert_eq!(condition("entity.created"), all_of("(action = 'entity.created'::text)"));
        assert_eq!(condition("entity.created, -*.deleted"), all_of("(action = 'entity.created'::text)"));
        assert_eq!(
            condition("score.created,entity.created, score.created"),
            all_of("(action = ANY ('{entity.created,score.created}'::text[]))")
        );
        assert_eq!(
            condition("entity.*"),
            all_of("((action >= 'entity.'::text) AND (action < 'entity/'::text))")
        );
        assert_eq!(
            condition(""),
            all_of("((action >= 'organisation.'::text) AND (action < 'organisation/'::text))")
        );
        for nothing in ["%", "-", "a b", "entity.created, -entity.*"] {
            assert_eq!(condition(nothing), all_of("(action = ANY ('{}'::text[]))"), "{nothing}");
        }
        let matched_again = |pattern: &str, low: &str, high: &str| {
            let range = format!("((action >= '{low}'::text) AND (action < '{high}'::text))");
            assert_eq!(condition(pattern), (range, format!("audit_match(action, '{pattern}'::text)")));
        };
        matched_again("entity.*, score.created", "entity.", "score.created\u{1}");
        matched_again("score.*, entity.*", "entity.", "score/");
        matched_again("entity.*d", "entity.", "entity/");
        matched_again("entity.*, -*.deleted", "entity.", "entity/");
        for anything in ["*", "*.deleted", "-entity.*", "entity.*, *.deleted"] {
            assert_eq!(condition(anything).0, "", "{anything}");
        }
        assert_eq!(conditions("audit_match(action, NULL)").0, "");
    }

    #[pg_test]
    fn patterns_known_at_execution_become_conditions() {
        run(LOG);
        let between = |pattern: &str| {
            (
                format!(
                    "((action >= audit.pattern_low({pattern})) AND (action < audit.pattern_high({pattern})))"
                ),
                format!("audit_match(action, {pattern})"),
            )
        };
        run("PREPARE by_pattern (text) AS SELECT FROM log WHERE audit_match(action, $1)");
        let query = "EXECUTE by_pattern ('entity.*')";
        assert_eq!((in_plan("Index Cond", query), in_plan("Filter", query)), between("$1"));
        assert_eq!(conditions("audit_match(action, (SELECT max('entity.*'::text)))"), between("$0"));
        run("SET LOCAL my.pattern = 'entity.*'");
        assert_eq!(
            conditions("audit_match(action, current_setting('my.pattern'))"),
            between("current_setting('my.pattern'::text)")
        );
        run("CREATE TABLE pattern (pattern text); SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
             SET LOCAL enable_material = off; INSERT INTO pattern VALUES ('entity.*'), ('*.deleted'), ('%'), (NULL)");
        let join = "SELECT pattern, count(*) FROM pattern p, log l WHERE audit_match(l.action, p.pattern) GROUP BY 1";
        assert_eq!(in_plan("Index Cond", join), between("p.pattern").0);
        assert_eq!(
            value::<String>(&format!("SELECT string_agg(j::text, ' ') FROM ({join}) j")),
            "(*.deleted,3) (entity.*,2)"
        );
        // A pattern that differs from row to row, or from look to look, is none that an index can be asked for.
        assert_eq!(conditions("audit_match(action, left(action, 3) || '*')").0, "");
        assert_eq!(conditions("audit_match(action, timeofday())").0, "");
        assert_eq!(conditions("audit_match('entity.created', action)").0, "");
    }

    #[pg_test]
    fn only_indexes_in_byte_order_are_asked() {
        let condition = |definition: &str, index: &str, argument: &str| {
            run(&format!(
                "CREATE TABLE log (action {definition}); CREATE INDEX ON log USING {index}; SET LOCAL enable_seqscan = off"
            ));
            let found = ["'entity.*'", "(SELECT 'entity.*'::text)"]
                .map(|pattern| conditions(&format!("audit_match({argument}, {pattern})")).0);
            run("DROP TABLE log");
            assert_eq!(found[0].is_empty(), found[1].is_empty(), "{definition} {index}");
            found[0].clone()
        };
        let range = "((action >= 'entity.'::text) AND (action < 'entity/'::text))";
        let cast = "(((action)::text >= 'entity.'::text) AND ((action)::text < 'entity/'::text))";
        let pattern_range = "((action ~>=~ 'entity.'::text) AND (action ~<~ 'entity/'::text))";
        assert_eq!(condition("text COLLATE \"C\"", "btree (action)", "action"), range);
        assert_eq!(condition("text COLLATE \"POSIX\"", "btree (action)", "action"), range);
        assert_eq!(
            condition("text COLLATE \"und-x-icu\"", "btree (action COLLATE \"C\" DESC)", "action"),
            range
        );
        assert_eq!(condition("varchar(99) COLLATE \"C\"", "btree (action)", "action"), cast);
        assert_eq!(
            condition("text COLLATE \"und-x-icu\"", "btree (action text_pattern_ops)", "action"),
            pattern_range
        );
        assert_eq!(
            condition("text COLLATE \"C\"", "btree (lower(action))", "lower(action)"),
            "((lower(action) >= 'entity.'::text) AND (lower(action) < 'entity/'::text))"
        );
        assert_eq!(condition("text COLLATE \"und-x-icu\"", "btree (action)", "action"), "");
        assert_eq!(condition("char(99) COLLATE \"C\"", "btree (action)", "action"), "");
        assert_eq!(condition("text COLLATE \"C\"", "hash (action)", "action"), "");
        assert_eq!(condition("text COLLATE \"C\"", "brin (action)", "action"), "");
        assert_eq!(condition("text COLLATE \"C\"", "spgist (action)", "action"), "");
    }

    #[pg_test]
    fn a_list_does_not_disturb_the_order_of_an_index() {
        run("CREATE TABLE log (id int, action text COLLATE \"C\");
             INSERT INTO log SELECT n, (ARRAY['a.x', 'b.x', 'c.x'])[1 + n % 3] FROM generate_series(1, 60) n;
             CREATE INDEX ON log (id, action); CREATE INDEX ON log (action DESC, id);
             SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off");
        for (order, index) in [("id", "log_id_action_idx"), ("action DESC, id", "log_action_id_idx")] {
            let query = format!(
                "SELECT id, action FROM log WHERE id > 7 AND audit_match(action, 'c.x, a.x') ORDER BY {order}"
            );
            assert_eq!(in_plan("Index Name", &query), index);
            let in_order = value::<bool>(&format!(
                "SELECT array_agg(q::text) = array_agg(q::text ORDER BY {order}) AND count(*) = 36 FROM ({query}) q"
            ));
            assert!(in_order, "{order}");
        }
    }

    #[pg_test]
    fn an_index_finds_what_a_scan_finds() {
        run("CREATE TABLE plain (action text COLLATE \"C\");
             INSERT INTO plain SELECT a || b || c
             FROM unnest(ARRAY['', 'a', 'ab', 'b.', 'a.b', '~', '-', 'é', U&'\\+10FFFF']) a,
                  unnest(ARRAY['', '.', 'a', '.a', '_', '~', E'\\x01', U&'\\+10FFFF']) b,
                  unnest(ARRAY['', 'a', '.b', 'zz', 'é']) c;
             INSERT INTO plain VALUES (NULL), (repeat(U&'\\+10FFFF', 200));
             CREATE TABLE indexed AS SELECT * FROM plain;
             CREATE INDEX ON indexed (action);
             SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan;
             PREPARE from_plain (text) AS SELECT count(*), md5(string_agg(action, ',' ORDER BY action)) FROM plain
                 WHERE audit_match(action, $1);
             PREPARE from_index (text) AS SELECT count(*), md5(string_agg(action, ',' ORDER BY action)) FROM indexed
                 WHERE audit_match(action, $1)");
        assert!(in_plan("Index Cond", "EXECUTE from_index ('')").contains("pattern_high"));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % limit
        };
        let (mut by_index, mut some) = (0, 0);
        for round in 0..300 {
            let parts = ["a", "b", ".", "*", "ab", "a.", "*", "zz", "a.b", ", ", ", -", "_", "-", "%", "é"];
            let pattern: String =
                (0..below(8)).map(|_| parts[below(if round % 20 == 0 { 15 } else { 13 })]).collect();
            let rows = |query: &str| -> (i64, Option<String>) {
                Spi::connect(|client| {
                    let rows = client.select(query, None, &[]).expect("the query runs");
                    rows.first()
                        .get_two()
                        .map(|(count, text)| (count.unwrap_or_default(), text))
                        .expect("two columns")
                })
            };
            let constant = format!(
                "SELECT count(*), md5(string_agg(action, ',' ORDER BY action)) FROM indexed WHERE audit_match(action, '{pattern}')"
            );
            let expected = rows(&format!("EXECUTE from_plain ('{pattern}')"));
            assert_eq!(rows(&constant), expected, "\"{pattern}\"");
            assert_eq!(
                rows(&format!("EXECUTE from_index ('{pattern}')")),
                expected,
                "\"{pattern}\" in a generic plan"
            );
            by_index += u32::from(!in_plan("Index Cond", &constant).is_empty());
            some += u32::from(expected.0 > 0);
        }
        assert!(by_index > 50 && some > 50, "{by_index} with a condition, {some} with rows");
    }

    #[pg_test]
    fn workers_are_given_the_same_end() {
        run(LOG);
        run("INSERT INTO log (action) VALUES ('~'), ('é');
             SET LOCAL force_parallel_mode = on;
             PREPARE by_pattern (text) AS SELECT count(*) FROM log WHERE audit_match(action, $1)");
        assert!(in_plan("Node Type", "EXECUTE by_pattern ('*')").contains("Gather"));
        assert!(in_plan("Index Cond", "EXECUTE by_pattern ('*')").contains("pattern_high"));
        assert_eq!(value::<i64>("EXECUTE by_pattern ('*')"), 8);
        // What comes after everything is no text, and nobody else is given it.
        assert_eq!(value::<String>("SELECT audit.pattern_high('*')"), "~");
    }
    #[pg_test]
    fn row_level_security_leaves_the_condition() {
        run(LOG);
        run("ALTER TABLE log ADD organisation text DEFAULT 'acme', ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON log USING (organisation = current_setting('my.organisation', true));
             CREATE ROLE matching_reader; GRANT SELECT ON log TO matching_reader;
             SET LOCAL my.organisation = 'acme'; SET LOCAL ROLE matching_reader");
        let leaky = conditions("action LIKE 'entity.%'");
        assert_eq!(leaky.0, "");
        assert_eq!(
            conditions("audit_match(action, 'entity.*')").0,
            "((action >= 'entity.'::text) AND (action < 'entity/'::text))"
        );
        // A role without any right to the extension's schema runs the functions in its condition.
        assert!(!value::<bool>("SELECT has_schema_privilege('audit', 'USAGE')"));
        run("PREPARE by_pattern (text) AS SELECT count(*) FROM log WHERE audit_match(action, $1)");
        assert!(in_plan("Index Cond", "EXECUTE by_pattern ('')").contains("pattern_high"));
        assert_eq!(value::<i64>("EXECUTE by_pattern ('entity.*')"), 2);
        run("SET LOCAL my.organisation = 'other'");
        assert_eq!(value::<i64>("EXECUTE by_pattern ('entity.*')"), 0);
    }

    /// How many rows of `FROM ...` the planner believes in.
    fn estimate(from: &str) -> f64 {
        let rows = in_plan("Plan Rows", &format!("SELECT FROM {from}"));
        rows.split(';').next().and_then(|rows| rows.parse().ok()).expect("a plan has rows")
    }

    #[pg_test]
    fn estimates_follow_the_statistics() {
        run("CREATE TABLE known (id int, action text COLLATE \"C\", organisation text) PARTITION BY RANGE (id);
             CREATE TABLE known_1 PARTITION OF known FOR VALUES FROM (0) TO (500);
             CREATE TABLE known_2 PARTITION OF known FOR VALUES FROM (500) TO (1000);
             INSERT INTO known SELECT n, CASE WHEN n % 10 = 0 THEN NULL
                     ELSE (ARRAY['entity.created', 'entity.deleted', 'score.created'])[1 + n % 3] END FROM generate_series(0, 999) n;
             ANALYZE known");
        for (pattern, rows) in [
            ("entity.created", 300),
            ("entity.*", 600),
            ("*.created", 600),
            ("*, -entity.*", 300),
            ("*", 900),
            ("entity.created, score.created", 600),
        ] {
            let estimate = estimate(&format!("known WHERE audit_match(action, '{pattern}')"));
            assert!((estimate - f64::from(rows)).abs() < 3.0, "{pattern}: {estimate}");
        }
        // At least one of each partition.
        assert_eq!(estimate("known WHERE audit_match(action, 'score.deleted')"), 2.0);
        assert_eq!(estimate("known WHERE audit_match(action, 'a b')"), 2.0);
        // Without knowing the pattern, or more of the column than its size.
        assert_eq!(estimate("known WHERE audit_match(action, (SELECT 'entity.*'::text))"), 100.0);
        assert_eq!(estimate("known WHERE audit_match(upper(action), 'entity.*')"), 50.0);
        assert_eq!(estimate("known WHERE audit_match(upper(action), '*.deleted')"), 200.0);
        assert_eq!(estimate("known WHERE audit_match('entity.created', action)"), 100.0);
        for odd in [
            "audit_match(action, action)",
            "audit_match(action || $1, $1)",
            "audit_match(tableoid::text, '*.x')",
        ] {
            run(&format!(
                "PREPARE odd (text) AS SELECT FROM known WHERE {odd}; EXPLAIN EXECUTE odd ('a'); DEALLOCATE odd"
            ));
        }
        run("EXPLAIN SELECT FROM known k, known_1 l WHERE audit_match(k.action, l.action);
             EXPLAIN SELECT FROM known k LEFT JOIN known_1 l ON audit_match(l.action, 'entity.*') WHERE audit_match(l.action, 'score.*')");
    }

    #[pg_test]
    fn a_histogram_stands_for_what_is_rare() {
        run("CREATE TABLE rare AS SELECT lpad(n::text, 4, '0') || CASE WHEN n * 31 % 101 < 25 THEN '.x' ELSE '.y' END COLLATE \"C\" AS action
             FROM generate_series(1, 1000) n;
             ANALYZE rare");
        for (pattern, rows) in [("00*", 99), ("0*", 999), ("*.x", 250)] {
            let estimate = estimate(&format!("rare WHERE audit_match(action, '{pattern}')"));
            assert!((estimate - f64::from(rows)).abs() < 80.0, "{pattern}: {estimate}");
        }
        assert_eq!(estimate("rare WHERE audit_match(action, '0001.y')"), 1.0);
    }

    #[pg_test]
    fn a_pattern_may_change_from_call_to_call() {
        run("CREATE FUNCTION shown(patterns text[]) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE p text; shown text := '';
             BEGIN
                 FOREACH p IN ARRAY patterns LOOP
                     IF audit_match('entity.created', p) THEN shown := shown || p || ' '; END IF;
                 END LOOP;
                 RETURN shown;
             END $$;
             CREATE OPERATOR ~~@ (LEFTARG = text, RIGHTARG = text, FUNCTION = audit_match);
             CREATE FUNCTION reversed(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN audit_match($2, $1)");
        assert_eq!(
            value::<String>("SELECT shown('{x*,entity.*,-entity.*,*.created,a b,*}')"),
            "entity.* *.created * "
        );
        for (patterns, shown) in
            [("x*,entity.*", true), ("entity.*,x*", true), ("x*,y*", false), ("x*,*.deleted,%", false)]
        {
            let query = format!(
                "SELECT action ~~@ ANY ('{{{patterns}}}') FROM (VALUES ('entity.created')) v (action)"
            );
            assert_eq!(value::<bool>(&query), shown, "{patterns}");
        }
        let both = "SELECT string_agg(p, ' ' ORDER BY p) FROM unnest('{*,a b,entity.*,x*}'::text[]) p WHERE";
        assert_eq!(value::<String>(&format!("{both} audit_match('entity.created', p)")), "* entity.*");
        assert_eq!(value::<String>(&format!("{both} reversed(p, 'entity.created')")), "* entity.*");
        // Texts as they are stored: compressed, and elsewhere.
        run("CREATE TABLE long (action text, elsewhere text); ALTER TABLE long ALTER elsewhere SET STORAGE EXTERNAL;
             INSERT INTO long SELECT repeat('a', 100000) || s, repeat('a', 100000) || s FROM unnest('{.x,.y}'::text[]) s");
        assert_eq!(
            value::<String>(
                "SELECT count(*) FILTER (WHERE audit_match(action, 'a*.x')) || ' ' || count(*) FILTER (WHERE audit_match(elsewhere, '*.y')) FROM long"
            ),
            "1 1"
        );
        assert_eq!(value::<i64>("SELECT count(*) FROM long WHERE audit_match(action, elsewhere)"), 0);
    }
}
