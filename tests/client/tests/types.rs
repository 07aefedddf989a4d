//! Every type that PostgreSQL brings: its values, arrays, domains and composites are stored as `to_jsonb` writes them.

use audit_client_tests::Database;

const ROUNDS: i32 = 1000;

/// A random value of each type, as SQL; `n` is the row's number. Types named here with an empty text have no input.
const VALUES: &[(&str, &str)] = &[
    ("bool", "random() < 0.5"),
    ("bytea", "substr(decode(md5(random()::text), 'hex'), 1, (random() * 16)::int)"),
    ("char", "chr(1 + (random() * 126)::int)::\"char\""),
    ("name", "left(md5(random()::text) || md5(n::text), (random() * 63)::int)::name"),
    (
        "int8",
        "(ARRAY[-9223372036854775808, 9223372036854775807, 0, (random() * 1e18)::int8, (random() * 20000)::int8 - 10000])[1 + n % 5]",
    ),
    ("int2", "((random() * 65535)::int - 32768)::int2"),
    ("int2vector", "concat_ws(' ', n % 100, (random() * 100)::int)::int2vector"),
    ("int4", "(ARRAY[-2147483648, 2147483647, (random() * 1e9)::int, -n])[1 + n % 4]"),
    ("regproc", "(SELECT oid FROM pg_proc WHERE oid > n ORDER BY oid LIMIT 1)::regproc"),
    (
        "text",
        "(SELECT string_agg(chr(1 + (random() * (CASE WHEN n % 2 = 0 THEN 126 ELSE 40000 END))::int + k * 0), '') FROM generate_series(1, (random() * 20)::int) k)",
    ),
    ("oid", "(random() * 4294967295)::int8::oid"),
    ("tid", "format('(%s,%s)', n, (random() * 100)::int)::tid"),
    ("xid", "n::text::xid"),
    ("cid", "n::text::cid"),
    ("oidvector", "concat_ws(' ', n, (random() * 100000)::int)::oidvector"),
    (
        "json",
        "(ARRAY[json_build_object('b', random(), 'a', ARRAY[n, NULL], 'a', md5(n::text)), '1e3'::json, '\"x\\u00e9\\ud83d\\ude00\"', 'null', '[ {} , [] ]', ('{\"z\": -0.0, \"y\": 1.' || n || '0, \"z\": 1E-' || n % 50 || '}')::json])[1 + n % 6]",
    ),
    ("xml", "xmlelement(name a, xmlattributes(n AS b), md5(n::text))"),
    ("pg_node_tree", ""),
    ("pg_ndistinct", ""),
    ("pg_dependencies", ""),
    ("pg_mcv_list", ""),
    ("pg_brin_bloom_summary", ""),
    ("pg_brin_minmax_multi_summary", ""),
    ("pg_ddl_command", ""),
    ("gtsvector", ""),
    ("xid8", "n::text::xid8"),
    ("point", "point(random() * 10 ^ (n % 30 - 15), CASE WHEN n % 50 = 0 THEN 'NaN' ELSE random() END)"),
    ("lseg", "lseg(point(random(), n), point(n, random()))"),
    ("path", "(ARRAY['[(0,0),(1,' || n || ')]', '((0,0),(1,1),(' || n || ',0))'])[1 + n % 2]::path"),
    ("box", "box(point(random(), n), point(n, random()))"),
    ("polygon", "polygon(3 + n % 4, circle(point(0, 0), random()))"),
    ("line", "line(point(0, random()), point(n, 2 + random()))"),
    (
        "float4",
        "(ARRAY['NaN', 'Infinity', '-Infinity', '-0', '1e-45', '3.4e38', random()::text, (random() * 10 ^ (n % 70 - 35))::float8::float4::text])[1 + n % 8]::float4",
    ),
    (
        "float8",
        "(ARRAY['NaN', 'Infinity', '-Infinity', '-0', '5e-324', '1.7976931348623157e308', random()::text, (random() * 10::float8 ^ (n % 600 - 300))::text])[1 + n % 8]::float8",
    ),
    ("unknown", ""),
    ("circle", "circle(point(random(), n), random())"),
    ("money", "((random() * 1e12)::int8 - 500000000000)::money"),
    ("macaddr", "substr(md5(n::text), 1, 12)::macaddr"),
    (
        "inet",
        "(ARRAY[format('10.%s.2.3/%s', n % 256, n % 33), format('2001:db8::%s', to_hex(n))])[1 + n % 2]::inet",
    ),
    (
        "cidr",
        "(ARRAY[format('10.%s.0.0/16', n % 256), format('2001:db8:%s::/48', to_hex(n))])[1 + n % 2]::cidr",
    ),
    ("macaddr8", "substr(md5(n::text), 1, 16)::macaddr8"),
    ("aclitem", "makeaclitem(10, 10, 'SELECT', n % 2 = 0)"),
    ("bpchar", "repeat('é ', n % 4)::bpchar"),
    ("varchar", "left(md5(n::text), n % 33)::varchar"),
    (
        "date",
        "(ARRAY['infinity', '-infinity', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', (date '2000-01-01' + n * 37)::text])[1 + n % 6]::date",
    ),
    ("time", "(ARRAY['24:00', '00:00', (interval '1 us' * (random() * 8e10)::int8)::text])[1 + n % 3]::time"),
    (
        "timestamp",
        "(ARRAY['infinity', '-infinity', '4713-01-01 BC', '294276-12-31 23:59:59.999999', (timestamp '2000-01-01' + n * interval '36.123456 days')::text])[1 + n % 5]::timestamp",
    ),
    (
        "timestamptz",
        "(ARRAY['infinity', '-infinity', '4713-11-25 BC UTC', '294276-12-31 23:59:59.999999 UTC', (timestamp '2000-01-01' + n * interval '36.123456 days')::text || ' UTC'])[1 + n % 5]::timestamptz",
    ),
    (
        "interval",
        "(random() * 1000)::int * interval '1 month' - (random() * 100)::int * interval '1 day' + random() * interval '40 hours'",
    ),
    (
        "timetz",
        "format('%s:%s:%s%s:%s', n % 24, n % 60, n % 60, to_char(n % 15 - 7, 'SG09'), n % 60)::timetz",
    ),
    ("bit", "(n % 2)::bit(1)"),
    ("varbit", "(random() * 1e9)::int::bit(32)::varbit"),
    (
        "numeric",
        "(ARRAY['NaN', 'Infinity', '-Infinity', '0', '0.000', '-0.00100', repeat('9', n % 300 + 1) || '.' || repeat('1', n % 100 + 1), (random() * 1e15)::numeric::text, '1' || repeat('0', n % 200)])[1 + n % 9]::numeric",
    ),
    ("refcursor", "md5(n::text)::refcursor"),
    ("regprocedure", "(SELECT oid FROM pg_proc WHERE oid > n ORDER BY oid LIMIT 1)::regprocedure"),
    ("regoper", "(SELECT oid FROM pg_operator WHERE oid > n ORDER BY oid LIMIT 1)::regoper"),
    ("regoperator", "(SELECT oid FROM pg_operator WHERE oid > n ORDER BY oid LIMIT 1)::regoperator"),
    (
        "regclass",
        "(SELECT oid FROM pg_class WHERE relnamespace = 11 ORDER BY oid LIMIT 1 OFFSET n % 100)::regclass",
    ),
    ("regcollation", "(SELECT oid FROM pg_collation ORDER BY oid LIMIT 1 OFFSET n % 5)::regcollation"),
    (
        "regtype",
        "(SELECT oid FROM pg_type WHERE typnamespace = 11 ORDER BY oid LIMIT 1 OFFSET n % 100)::regtype",
    ),
    ("regrole", "'postgres'::regrole"),
    ("regnamespace", "(ARRAY['pg_catalog', 'public'])[1 + n % 2]::regnamespace"),
    ("regconfig", "'english'::regconfig"),
    ("regdictionary", "'simple'::regdictionary"),
    ("uuid", "md5(n::text)::uuid"),
    ("pg_lsn", "format('%s/%s', to_hex(n), to_hex((random() * 1e9)::int))::pg_lsn"),
    ("tsvector", "to_tsvector('simple', md5(n::text) || ' fat cats ' || n)"),
    ("tsquery", "to_tsquery('simple', 'fat & (cat | ' || md5(n::text) || ')')"),
    (
        "jsonb",
        "(ARRAY[jsonb_build_object('b', random(), 'a', ARRAY[n, NULL]), '1e3'::jsonb, '\"s\"', 'null', 'true', '[ {} , [] ]', to_jsonb(repeat('x', n)), to_jsonb(n + 0.50)])[1 + n % 8]",
    ),
    ("jsonpath", "('$.a[*] ? (@ > ' || n || ')')::jsonpath"),
    ("txid_snapshot", "format('%s:%s:', n, n + 10)::txid_snapshot"),
    ("pg_snapshot", "format('%s:%s:%s', n, n + 10, n + 3)::pg_snapshot"),
    ("int4range", "(ARRAY['empty', '(,)', format('[%s,%s)', n, n + 10)])[1 + n % 3]::int4range"),
    ("numrange", "numrange(n, n + random()::numeric, '[]')"),
    ("tsrange", "tsrange(timestamp '2000-01-01' + n * interval '1.5 days', NULL)"),
    ("tstzrange", "tstzrange(timestamptz '2000-01-01 UTC' + n * interval '1.5 days', 'infinity', '(]')"),
    ("daterange", "daterange(date '2000-01-01' + n, date '2000-02-01' + n)"),
    ("int8range", "int8range(n, n + 5)"),
    ("int4multirange", "int4multirange(int4range(n, n + 2), int4range(n + 5, n + 6))"),
    ("nummultirange", "nummultirange(numrange(n, n + 0.50))"),
    (
        "tsmultirange",
        "tsmultirange(tsrange(timestamp '2000-01-01', timestamp '2000-01-02' + n * interval '1 hour'))",
    ),
    (
        "tstzmultirange",
        "tstzmultirange(tstzrange(timestamptz '2000-01-01 UTC', timestamptz '2000-01-02 UTC' + n * interval '1 hour'))",
    ),
    ("datemultirange", "datemultirange(daterange(date '2000-01-01', date '2000-01-02' + n))"),
    ("int8multirange", "int8multirange(int8range(n, n + 2))"),
];

const FIXED: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
                     SET bytea_output = 'hex'; SET extra_float_digits = 1";
const HOSTILE: &str =
    "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard';
                       SET bytea_output = 'escape'; SET extra_float_digits = -15";

/// How many updates there are, how many of them have another image than `to_jsonb` of the row before and after (of the
/// columns whose bytes changed, as text and as a value), and one of these.
const UPDATES: &str = "
    WITH expected AS (
        SELECT t.id, to_jsonb(w) AS before, to_jsonb(t) AS after,
               ARRAY[CASE WHEN record_image_ne(ROW(w.v), ROW(t.v)) THEN 'v' END,
                     CASE WHEN record_image_ne(ROW(w.a), ROW(t.a)) THEN 'a' END,
                     CASE WHEN record_image_ne(ROW(w.d), ROW(t.d)) THEN 'd' END,
                     CASE WHEN record_image_ne(ROW(w.p), ROW(t.p)) THEN 'p' END,
                     CASE WHEN record_image_ne(ROW(w.nested), ROW(t.nested)) THEN 'nested' END] AS changed
        FROM t JOIN was w ON w.id = t.id
    ), images AS (
        SELECT e.before_state, (SELECT jsonb_object_agg(key, value) FROM jsonb_each(x.before) WHERE key = ANY (changed)) AS before,
               e.after_state, (SELECT jsonb_object_agg(key, value) FROM jsonb_each(x.after) WHERE key = ANY (changed)) AS after
        FROM expected x JOIN audit.event e ON e.resource_id = x.id::text AND e.action = 't.updated'
    ), wrong AS (
        SELECT * FROM images
        WHERE before_state::text IS DISTINCT FROM before::text OR before_state IS DISTINCT FROM before
           OR after_state::text IS DISTINCT FROM after::text OR after_state IS DISTINCT FROM after
    )
    SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM wrong),
           (SELECT min(format('%s, %s is not %s, %s', before_state, after_state, before, after)) FROM wrong)";

#[test]
fn every_type_is_stored_as_to_jsonb_writes_it() {
    let database = Database::create("types");
    let mut client = database.connect();
    let known: Vec<String> = client
        .query(
            "SELECT typname::text FROM pg_type
             WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'e', 'r', 'm') AND typcategory <> 'A'
                OR typname IN ('int2vector', 'oidvector') ORDER BY oid",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let unknown: Vec<&String> =
        known.iter().filter(|name| !VALUES.iter().any(|(listed, _)| listed == name)).collect();
    assert!(unknown.is_empty(), "types without values here: {unknown:?}");
    assert!(known.len() > 70);

    client.batch_execute("SELECT setseed(0.5)").unwrap();
    for (name, value) in
        VALUES.iter().filter(|(name, value)| !value.is_empty() && known.iter().any(|k| k == name))
    {
        let quoted = format!("pg_catalog.\"{name}\"");
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS t, was; DROP TYPE IF EXISTS pair; DROP DOMAIN IF EXISTS dom;
                 CREATE DOMAIN dom AS {quoted}; CREATE TYPE pair AS (z {quoted}, a {quoted}[]);
                 CREATE TABLE t (id int PRIMARY KEY, v {quoted}, a {quoted}[], d dom, p pair, nested pair[]);
                 {FIXED};
                 ALTER TABLE audit.event_default DISABLE TRIGGER \"!audit_statement_guard\"; TRUNCATE audit.event_default;
                 ALTER TABLE audit.event_default ENABLE ALWAYS TRIGGER \"!audit_statement_guard\";
                 DROP TABLE IF EXISTS made;
                 CREATE TEMPORARY TABLE made AS SELECT n AS id, {value} AS v FROM generate_series(1, {ROUNDS}) n;
                 SELECT audit.track('t', 't');
                 {HOSTILE};
                 INSERT INTO t SELECT id, v, ARRAY[v, NULL, v], v, ROW(v, ARRAY[v])::pair, ARRAY[ROW(v, NULL)::pair] FROM made;
                 {FIXED}"
            ))
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let row = client
            .query_one(
                "SELECT count(*), count(*) FILTER (WHERE e.after_state::text IS DISTINCT FROM to_jsonb(t)::text
                                                   OR e.after_state IS DISTINCT FROM to_jsonb(t)),
                        min(format('%s is not %s', e.after_state, to_jsonb(t))) FILTER (WHERE e.after_state::text IS DISTINCT FROM to_jsonb(t)::text)
                 FROM t JOIN audit.event e ON e.resource_id = t.id::text AND e.action = 't.created'",
                &[],
            )
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::from(ROUNDS), "{name}");
        assert_eq!(row.get::<_, i64>(1), 0, "{name}: {:?}", row.get::<_, Option<String>>(2));

        // Every row to the next row's value: the columns whose bytes changed are told, on both sides, and no others.
        client
            .batch_execute(&format!(
                "CREATE TEMPORARY TABLE was AS TABLE t;
                 {HOSTILE};
                 UPDATE t SET v = m.v, a = ARRAY[NULL, m.v, m.v], d = m.v, p = ROW(m.v, ARRAY[m.v, NULL])
                 FROM made m WHERE m.id = t.id % {ROUNDS} + 1;
                 {FIXED}"
            ))
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let row = client.query_one(UPDATES, &[]).unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::from(ROUNDS), "{name}");
        assert_eq!(row.get::<_, i64>(1), 0, "{name}: {:?}", row.get::<_, Option<String>>(2));
        client.batch_execute("SELECT audit.untrack('t')").unwrap();
    }
}
