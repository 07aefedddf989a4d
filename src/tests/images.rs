//! What events hold of a row, against what PostgreSQL's own `to_jsonb` says.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::{run, value};

    /// A table with a column of many types, and values at their edges.
    const MANY_TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TYPE pair AS (z int, \"long name\" text, gone int, a numeric);
    ALTER TYPE pair DROP ATTRIBUTE gone;
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE DOMAIN pairs AS pair[];
    CREATE TABLE many (
        id int PRIMARY KEY, b boolean, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar(9),
        c char(5), ch \"char\", nm name, u uuid, d date, ts timestamp, tz timestamptz, tm time, ttz timetz, iv interval,
        by bytea, j json, jb jsonb, m mood, p pair, po positive, ps pairs, ia int[], ta text[], tza timestamptz[],
        r int4range, mr nummultirange, trz tstzrange, ip inet, cd cidr, mac macaddr, bt bit(3), vb varbit, pt point, x xml,
        ts_v tsvector, ln pg_lsn, oi oid, iv2 int2vector, mny money, jp jsonpath, p2 pair[]
    )";

    const ROWS: [&str; 4] = [
    "1",
    "2, true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', 'NaN', 'é\"\\', 'x', 'ab', 'c', 'nm',
     '00112233-4455-6677-8899-aabbccddeeff', '0044-03-15 BC', 'infinity', '2024-02-29 23:59:59.999999+05:30', '24:00',
     '12:00:00.5-11', '1 mon -2 days 03:04:05.6', '\\xdeadbeef', '{\"b\": 1, \"a\": [1.50, 1e3, null], \"b\": 2}', '\"scalar\"',
     'happy', '(1,\"x y\",1.10)', 7, '{\"(1,a,2)\",\"(,,)\"}', '{{1,2},{3,NULL}}', '{\"a,b\",NULL,\"\"}', '{2024-01-01 00:00+05}',
     '[1,5)', '{[1.5,2],[3,)}', '[2024-01-01 00:00+03,)', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '101', '10', '(1.5,2)',
     '<a>&amp;</a>', 'fat:1 cat', '16/B374D848', 4294967295, '1 2 3', '1234.50', '$.a[*]', '{\"(1,,0.1)\"}'",
    "3, false, 0, 0, 0, 1e-7, 1e300, 0.00010, '', '', '', '', '', NULL, 'infinity', '-infinity', '-infinity', '00:00', NULL,
     '-1 year', '', 'null', '{}', 'sad', NULL, NULL, '{}', '{}', '{}', '{}', 'empty', '{}', 'empty', '::1', '::/0', NULL, '000', '',
     NULL, '', '', '0/0', 0, '', '0', '$', NULL",
    "4, NULL, 32767, 9999, 10000, 0.1, -0.0, -12345678901234567890.1230, NULL, NULL, NULL, NULL, NULL, NULL, '5874897-12-31',
     '294276-12-31 23:59:59.999999', '4713-11-24 BC', NULL, NULL, '178000000 years', NULL, '[]', '[[], {}, 1]', NULL, NULL, NULL,
     NULL, '[0:1]={7,8}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     '{}'",
];

    /// `to_jsonb` depends on these; events must not.
    const FIXED: &str =
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
                     SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1;";
    const HOSTILE: &str = "SET LOCAL TimeZone = 'Asia/Kathmandu'; SET LOCAL DateStyle = 'SQL, DMY';
                       SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = -15;";

    #[pg_test]
    fn images_equal_to_jsonb_whatever_the_client_set() {
        run(MANY_TYPES);
        run("SELECT audit.track('many', 'many')");
        run(FIXED);
        for row in ROWS {
            run(&format!(
                "CREATE TEMPORARY TABLE literal (LIKE many);
                      INSERT INTO literal VALUES ({row})"
            ));
            run(HOSTILE);
            run("INSERT INTO many SELECT * FROM literal");
            run(FIXED);
            run("DROP TABLE literal");
        }
        let differences: i64 = value(
            "SELECT count(*) FROM many whole JOIN audit.row_event e ON e.resource_id = whole.id::text
         WHERE e.after_state::text IS DISTINCT FROM to_jsonb(whole)::text",
        );
        let shown: String = value(
        "SELECT coalesce(string_agg(format('%s: %s is not %s', k, e.after_state -> k, to_jsonb(whole) -> k), E'\n'), '')
         FROM many whole JOIN audit.row_event e ON e.resource_id = whole.id::text, jsonb_object_keys(to_jsonb(whole)) k
         WHERE (e.after_state -> k)::text IS DISTINCT FROM (to_jsonb(whole) -> k)::text",
    );
        assert_eq!(differences, 0, "{shown}");
        assert_eq!(value::<i64>("SELECT count(*) FROM audit.row_event"), ROWS.len() as i64);

        run(HOSTILE);
        run("DELETE FROM many");
        run(FIXED);
        let unequal: i64 = value(
        "SELECT count(*) FROM audit.row_event c JOIN audit.row_event d USING (resource_id)
         WHERE c.action = 'many.created' AND d.action = 'many.deleted' AND c.after_state::text <> d.before_state::text",
    );
        assert_eq!(unequal, 0);
        assert_eq!(value::<String>("SHOW IntervalStyle"), "postgres");
        // The settings themselves were left as they were.
        run(HOSTILE);
        assert_eq!(value::<String>("SELECT (interval '1 day')::text"), "P1D");
        assert_eq!(value::<String>("SELECT '\\x01'::bytea::text"), "\\001");
        assert_eq!(
            value::<String>("SELECT timestamptz '2024-01-01 00:00+00'::text"),
            "01/01/2024 05:45:00 +0545"
        );
    }

    #[pg_test]
    fn the_bytes_are_those_of_to_jsonb() {
        // Three hundred columns pass every 32nd entry's offset many times over.
        run("DO $$ BEGIN
             EXECUTE (SELECT format('CREATE TABLE wide (%s)', string_agg(format('%I %s', 'c' || n,
                          (ARRAY['int', 'text', 'numeric', 'boolean', 'jsonb', 'int[]'])[1 + n % 6]), ', '))
                      FROM generate_series(1, 300) n);
         END $$;
         ALTER TABLE wide ADD PRIMARY KEY (c6);
         SELECT audit.track('wide', 'wide');");
        run("DO $$ BEGIN
             EXECUTE (SELECT format('INSERT INTO wide SELECT %s FROM generate_series(1, 3) g', string_agg(
                          (ARRAY['g * 1000', 'repeat(''x'', g * 7)', 'g + 0.50', 'g % 2 = 0', '''{\"a\": [1, \"b\"]}''', 'ARRAY[g, NULL]'])[1 + n % 6], ', ' ORDER BY n))
                      FROM generate_series(1, 300) n);
         END $$");
        let same: bool = value(
            "SELECT bool_and(jsonb_send(e.after_state) = jsonb_send(to_jsonb(w))
                         AND pg_column_size(e.after_state || '{}') = pg_column_size(to_jsonb(w) || '{}')
                         AND e.after_state = to_jsonb(w)
                         AND hash_record(ROW(e.after_state)) = hash_record(ROW(to_jsonb(w))))
         FROM wide w JOIN audit.row_event e ON e.resource_id = w.c6::text",
        );
        assert!(same);
        // Every key can be found by its offset.
        let found: bool = value(
            "SELECT bool_and((e.after_state -> k)::text = (to_jsonb(w) -> k)::text)
         FROM wide w JOIN audit.row_event e ON e.resource_id = w.c6::text, jsonb_object_keys(to_jsonb(w)) k",
        );
        assert!(found);
    }

    #[pg_test]
    fn json_that_jsonb_cannot_hold_is_a_string() {
        run("CREATE TABLE odd (id int PRIMARY KEY, j json, a json[]); SELECT audit.track('odd', 'odd');");
        for (id, json) in [r#"{"a": "\u0000"}"#, r#"["\ud800"]"#, "1e400000"].iter().enumerate() {
            run(&format!("INSERT INTO odd VALUES ({id}, '{json}', ARRAY['{json}', '[1]']::json[])"));
        }
        let kept: bool = value(
        "SELECT bool_and(e.after_state ->> 'j' = o.j::text AND jsonb_typeof(e.after_state -> 'j') = 'string'
                         AND e.after_state -> 'a' -> 1 = '[1]')
         FROM odd o JOIN audit.row_event e ON e.resource_id = o.id::text",
    );
        assert!(kept);
    }

    #[pg_test]
    fn an_update_stores_only_what_changed() {
        run("CREATE TABLE t (id int PRIMARY KEY, n numeric, big text, j json, p point, a int[], secret text, noise int);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         SELECT audit.track('t', 't', mask => '{secret}', exclude => '{noise}');
         INSERT INTO t VALUES (1, 1.0, repeat('x', 2000000), '{\"a\":1}', '(1,2)', '{1}', 'pw', 1);
         UPDATE t SET n = 1.00;
         UPDATE t SET j = '{\"a\": 1}', p = '(1,3)';
         UPDATE t SET a = '{1,2}', noise = 2;
         UPDATE t SET noise = 3;
         UPDATE t SET n = n, big = big;
         UPDATE t SET big = repeat('x', 2000000) || '';
         UPDATE t SET secret = 'other';
         UPDATE t SET secret = NULL;
         UPDATE t SET big = repeat('y', 2000000);
         UPDATE t SET id = 2;");
        let updates: String = value(
        "SELECT string_agg(format('%s %s>%s', resource_id, left(before_state::text, 40), left(after_state::text, 40)), E'\n' ORDER BY event_id)
         FROM audit.row_event WHERE action = 't.updated'",
    );
        let x = "x".repeat(31);
        let y = "y".repeat(31);
        assert_eq!(
            updates,
            [
                r#"1 {"n": 1.0}>{"n": 1.00}"#.to_owned(),
                r#"1 {"j": {"a": 1}, "p": "(1,2)"}>{"j": {"a": 1}, "p": "(1,3)"}"#.to_owned(),
                r#"1 {"a": [1]}>{"a": [1, 2]}"#.to_owned(),
                r#"1 {"secret": "[masked]"}>{"secret": "[masked]"}"#.to_owned(),
                r#"1 {"secret": "[masked]"}>{"secret": "[masked]"}"#.to_owned(),
                format!(r#"1 {{"big": "{x}>{{"big": "{y}"#),
                r#"2 {"id": 1}>{"id": 2}"#.to_owned(),
            ]
            .join("\n")
        );
        let whole: i32 =
            value("SELECT length(after_state ->> 'big') FROM audit.row_event WHERE action = 't.created'");
        assert_eq!(whole, 2_000_000);
    }

    #[pg_test]
    fn columns_come_and_go() {
        run("CREATE TABLE t (gone int, id int PRIMARY KEY, a int);
         SELECT audit.track('t', 't');
         INSERT INTO t VALUES (0, 1, 1);
         ALTER TABLE t DROP gone;
         ALTER TABLE t ADD later text DEFAULT 'default';
         UPDATE t SET a = 2;
         ALTER TABLE t ALTER a TYPE text USING 'n' || a;
         ALTER TABLE t ADD doubled text GENERATED ALWAYS AS (a || a) STORED;
         UPDATE t SET a = 'm';
         DELETE FROM t;");
        let images: String = value(
            "SELECT string_agg(format('%s>%s', before_state, after_state), ' ' ORDER BY event_id) FROM audit.row_event",
        );
        assert_eq!(
            images,
            r#">{"a": 1, "id": 1, "gone": 0} {"a": 1}>{"a": 2} {"a": "n2", "doubled": "n2n2"}>{"a": "m", "doubled": "mm"} {"a": "m", "id": 1, "later": "default", "doubled": "mm"}>"#
        );
    }

    #[pg_test]
    fn casts_to_json_are_followed_as_they_come_and_go() {
        run("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int PRIMARY KEY, m mood, zz timestamptz);
             SELECT audit.track('t', 't');
             INSERT INTO t VALUES (1, 'sad', '2026-01-01 00:00+00');
             CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql SET timezone = 'Asia/Tokyo' AS
                 $f$ BEGIN RETURN '{\"mood\": true}'; END $f$;
             CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
             SET LOCAL timezone = 'America/New_York';
             INSERT INTO t VALUES (2, 'sad', '2026-01-01 00:00+00');
             DROP CAST (mood AS json); DROP FUNCTION mood_json;
             INSERT INTO t VALUES (3, 'sad', '2026-01-01 00:00+00');");
        let images: String =
            value("SELECT string_agg(after_state::text, E'\n' ORDER BY event_id) FROM audit.row_event");
        assert_eq!(
            images,
            [
                r#"{"m": "sad", "id": 1, "zz": "2026-01-01T00:00:00+00:00"}"#,
                r#"{"m": {"mood": true}, "id": 2, "zz": "2026-01-01T00:00:00+00:00"}"#,
                r#"{"m": "sad", "id": 3, "zz": "2026-01-01T00:00:00+00:00"}"#,
            ]
            .join("\n")
        );
    }

    #[pg_test]
    fn identifiers_that_no_index_holds_are_shortened() {
        run("CREATE TABLE t (id int PRIMARY KEY, org text, c char(10)); SELECT audit.track('t', 't', organisation_id => 'org');
             INSERT INTO t SELECT n, string_agg(md5((n * k)::text), 'é') FROM generate_series(1, 2) n, generate_series(1, 300) k GROUP BY n;
             SELECT audit.record('a.b', 'x', repeat(md5('r'), 1000));
             CREATE TABLE padded (id char(10) PRIMARY KEY); SELECT audit.track('padded', 'padded');
             INSERT INTO padded VALUES ('ab');
             SELECT set_config('audit.actor_id', string_agg(md5(k::text), ''), true) FROM generate_series(1, 300) k;
             SELECT audit.record('by.one', 'x', 'y');");
        let told_apart: bool = value(
            "SELECT count(DISTINCT organisation_id) = 2 AND bool_and(length(organisation_id) < 800 AND organisation_id ~ ' md5:[0-9a-f]{32}$'
                    AND length(after_state ->> 'org') > 9000)
             FROM audit.row_event WHERE action = 't.created'",
        );
        assert!(told_apart);
        assert_eq!(
            value::<i32>("SELECT octet_length(resource_id) FROM audit.row_event WHERE action = 'a.b'"),
            800
        );
        assert_eq!(
            value::<String>("SELECT resource_id FROM audit.row_event WHERE action = 'padded.created'"),
            "ab"
        );
        assert_eq!(
            value::<i32>("SELECT octet_length(actor_id) FROM audit.row_event WHERE action = 'by.one'"),
            800
        );
    }

    #[pg_test]
    fn long_images_are_compressed_as_fast_as_the_server_can() {
        run("CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.track('t', 't');
             CALL audit.maintain();
             INSERT INTO t VALUES (1, repeat('some text ', 2000));");
        let best: String = value(
            "SELECT CASE WHEN 'lz4' = ANY (enumvals) THEN 'lz4' ELSE 'pglz' END FROM pg_settings
             WHERE name = 'default_toast_compression'",
        );
        assert_eq!(value::<String>("SELECT pg_column_compression(after_state) FROM audit.row_event"), best);
    }

    #[pg_test]
    fn what_no_jsonb_holds_is_told_by_its_size() {
        run("CREATE TABLE t (id int PRIMARY KEY, large text, small text); ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
             SELECT audit.track('t', 't');
             INSERT INTO t VALUES (1, repeat('x', 270 * 1000 * 1000), 'y');");
        assert_eq!(
            value::<String>("SELECT after_state::text FROM audit.row_event"),
            r#"{"id": 1, "large": "[too large: 270000004 bytes]", "small": "y"}"#
        );
    }

    #[pg_test]
    fn a_cast_to_json_may_be_replaced() {
        run("CREATE TYPE mood AS ENUM ('ok'); CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;
             CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
             CREATE TABLE t (id int PRIMARY KEY, m mood); SELECT audit.track('t', 't'); INSERT INTO t VALUES (1, 'ok');
             CREATE OR REPLACE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RETURN '2'; END $$;
             INSERT INTO t VALUES (2, 'ok');
             CREATE OR REPLACE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             INSERT INTO t VALUES (3, 'ok');");
        assert_eq!(
            value::<String>(
                "SELECT string_agg(after_state ->> 'm', ',' ORDER BY event_id) || count(*) FROM audit.row_event WHERE after_state ? 'm'"
            ),
            "1,23"
        );
    }

    #[pg_test]
    fn json_deeper_than_jsonb_goes_is_a_string() {
        run("CREATE TABLE deep (id int PRIMARY KEY, j json);
             INSERT INTO deep VALUES (1, (repeat('[', 6000) || repeat(']', 6000))::json);
             SELECT audit.track('deep', 'deep'); SET LOCAL max_stack_depth = '300kB';
             DELETE FROM deep;");
        assert_eq!(value::<i32>("SELECT length(before_state ->> 'j') FROM audit.row_event"), 12000);
    }
}
