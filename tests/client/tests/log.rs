//! `audit.log` and `audit.history` find what a plain query under row-level security finds, whichever index they read.

use audit_client_tests::{Database, Random, SqlState, refused, texts};
use postgres::Client;

/// A log of 14 months and more: small scopes and large ones, frequent actions and rare ones, columns that are NULL, and
/// events in the catch-all whose ids lie among those of a month.
fn with_events(label: &str) -> Database {
    let database = Database::create(label);
    let mut owner = database.connect();
    owner
        .batch_execute(
            "SELECT setseed(0.42);
             CREATE FUNCTION id_at(at timestamptz) RETURNS uuid LANGUAGE sql AS $$
                 SELECT (lpad(to_hex(us / 1000), 12, '0') || '7' || lpad(to_hex(us % 1000), 3, '0')
                         || '8' || substr(md5(random()::text), 1, 15))::uuid
                 FROM (SELECT (extract(epoch FROM at) * 1000000)::bigint) AS t (us) $$;
             CREATE TABLE action (number int, name text);
             INSERT INTO action VALUES (0, 'entity.created'), (1, 'entity.updated'), (2, 'entity.deleted'), (3, 'organisation.created'),
                 (4, 'organisation.user.added'), (5, 'organisation.user.role.assigned'), (6, 'organisations.created'),
                 (7, 'dataset.deleted'), (8, 'score.created'), (9, 'project.updated'), (10, 'project_member.added'), (11, 'rare.once');
             INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, resource_type, resource_id, actor_id,
                                      organisation_id, project_id, session_role, db_role)
             SELECT id_at(at), at, pg_current_xact_id(), a.name, CASE WHEN i % 7 > 0 THEN split_part(a.name, '.', 1) END,
                    CASE WHEN i % 9 > 0 THEN (i % 61)::text END,
                    CASE WHEN i % 3 = 0 THEN 'system' WHEN i % 5 > 0 THEN 'u' || i % 40 END,
                    CASE WHEN i % 13 > 0 THEN 'o' || floor(random() ^ 3 * 30) END,
                    CASE WHEN i % 4 > 0 THEN 'p' || floor(random() ^ 2 * 50) END, 'x', 'x'
             FROM (SELECT i, date_trunc('month', now()) + interval '20 days' - i * interval '17 minutes' - random() * interval '30 minutes'
                   FROM generate_series(1, 36000) AS i) AS e (i, at)
             JOIN action a ON a.number = CASE WHEN i % 5000 = 0 THEN 11 ELSE floor(random() ^ 2 * 11) END;
             CALL audit.maintain();
             -- What nobody's months fit, and what an import left with ids of another time.
             INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, organisation_id, project_id, session_role, db_role)
             SELECT id_at(date_trunc('month', now()) - i * interval '2 days'), 'epoch'::timestamptz - i * interval '1 day', pg_current_xact_id(),
                    'entity.created', 'o' || i % 30, 'p' || i % 50, 'x', 'x' FROM generate_series(1, 200) AS i;
             INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, organisation_id, project_id, session_role, db_role)
             SELECT id_at(date_trunc('month', now()) - i * interval '9 days'), (ARRAY['infinity', '-infinity'])[1 + i % 2]::timestamptz, pg_current_xact_id(),
                    'entity.created', 'o' || i % 30, 'p' || i % 50, 'x', 'x' FROM generate_series(1, 40) AS i;
             ANALYZE audit.event",
        )
        .unwrap();
    database
}

/// Who asks: everything, one organisation, projects, pairs, many scopes, nothing.
const GRANTS: &str = "
    SELECT audit.grant_admin('owner', instance_owner => true);
    SELECT audit.grant_admin('large', organisation_id => 'o0');
    SELECT audit.grant_admin('small', organisation_id => 'o29');
    SELECT audit.grant_admin('project', project_id => 'p1');
    SELECT audit.grant_admin('pair', organisation_id => 'o1', project_id => 'p2');
    SELECT audit.grant_admin('mixed', organisation_id => 'o2'), audit.grant_admin('mixed', project_id => 'p3'),
           audit.grant_admin('mixed', organisation_id => 'o4', project_id => 'p5');
    SELECT audit.grant_admin('many', project_id => 'p' || i) FROM generate_series(0, 39) AS i;
    SELECT audit.grant_admin('most', organisation_id => 'o' || i) FROM generate_series(0, 25) AS i";
const ACTORS: [&str; 9] = ["owner", "large", "small", "project", "pair", "mixed", "many", "most", "nobody"];
const PATTERNS: [&str; 14] = [
    "*",
    "",
    "organisation.*",
    "entity.*",
    "*.deleted",
    "entity.created",
    "rare.once",
    "nothing.*",
    "*.nothing",
    "organisation.*, -organisation.user.*",
    "-entity.*",
    "score.created, dataset.*, entity.u*",
    "*r*.*added",
    "e*, entity.*, *d",
];

/// One of `some`, or NULL, written as SQL.
fn maybe(random: &mut Random, some: &[String]) -> String {
    match random.below(3) {
        0 => format!("'{}'", some[random.below(some.len() as u64) as usize]),
        _ => "NULL".into(),
    }
}

#[test]
fn pages_are_those_of_a_plain_query() {
    let database = with_events("pages");
    database.connect().batch_execute(GRANTS).unwrap();
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let mut client = database.connect_as(&app);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut random = Random::seeded(seed);
    let numbered = |letter: &str, count: u32| (0..count).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    let (organisations, projects, actors) = (numbered("o", 31), numbered("p", 51), numbered("u", 41));
    let actors = [actors, vec!["system".into(); 15]].concat();
    let resources = numbered("", 62);
    let types = ["entity", "organisation", "rare", "none"].map(str::to_owned);
    let mut found = 0;
    for round in 0..500 {
        let who = ACTORS[random.below(ACTORS.len() as u64) as usize];
        let pattern = PATTERNS[random.below(PATTERNS.len() as u64) as usize];
        let [organisation, project] = [maybe(&mut random, &organisations), maybe(&mut random, &projects)];
        let [actor, kind] = [maybe(&mut random, &actors), maybe(&mut random, &types)];
        let resource = if random.below(3) == 0 { maybe(&mut random, &resources) } else { "NULL".into() };
        let instant = |random: &mut Random| match random.below(3) {
            0 => format!("(date_trunc('day', now()) - interval '{} hours')", random.below(10_000)),
            _ => "NULL".into(),
        };
        let (since, until) = (instant(&mut random), instant(&mut random));
        let before = match random.below(2) {
            0 => format!("id_at(date_trunc('day', now()) - interval '{} hours')", random.below(9_000)),
            _ => "NULL::uuid".into(),
        };
        let rows = ["0", "1", "7", "50", "400", "NULL"][random.below(6) as usize];
        let before: Option<String> =
            client.query_one(&format!("SELECT ({before})::text"), &[]).unwrap().get(0);
        let before = before.map_or("NULL".into(), |id| format!("'{id}'"));
        client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&who]).unwrap();
        let shown = if pattern.is_empty() && project != "NULL" { "*" } else { pattern };
        // The period of an event is that of its time and of its id, which differ in what an import left.
        let plain = format!(
            "SELECT event_id::text FROM audit.event
             WHERE audit_match(action, '{shown}') AND ({organisation} IS NULL OR organisation_id = {organisation})
               AND ({project} IS NULL OR project_id = {project}) AND ({actor} IS NULL OR actor_id = {actor})
               AND ({kind} IS NULL OR resource_type = {kind}) AND ({resource} IS NULL OR resource_id = {resource})
               AND ({before}::uuid IS NULL OR event_id < {before})
               AND ({since}::timestamptz IS NULL OR substr(event_id::text, 1, 18) >= substr(id_at({since})::text, 1, 18))
               AND ({until}::timestamptz IS NULL OR substr(event_id::text, 1, 18) < substr(id_at({until})::text, 1, 18))
               AND ({since}::timestamptz IS NULL OR occurred_at >= {since}) AND ({until}::timestamptz IS NULL OR occurred_at < {until})
             ORDER BY event_id DESC LIMIT {rows}"
        );
        let log = format!(
            "SELECT event_id::text FROM audit.log({organisation}, {project}, '{pattern}', {before}, {rows},
                                                  {actor}, {kind}, {resource}, {since}, {until})"
        );
        let expected = texts(&mut client, &plain);
        found += expected.len();
        assert_eq!(texts(&mut client, &log), expected, "seed {seed}, round {round}, as {who}: {log}");
    }
    assert!(found > 3_000, "{found} events are no test");
}

#[test]
fn the_history_of_a_resource_is_all_that_the_reader_may_see_of_it() {
    let database = with_events("history");
    database.connect().batch_execute(GRANTS).unwrap();
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let mut client = database.connect_as(&app);
    for who in ACTORS {
        client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&who]).unwrap();
        let mut expected = texts(
            &mut client,
            "SELECT event_id::text FROM audit.event WHERE resource_type = 'entity' AND resource_id = '7' ORDER BY event_id DESC",
        );
        let page = |client: &mut Client, before: &str| {
            texts(client, &format!("SELECT event_id::text FROM audit.history('entity', '7', {before}, 20)"))
        };
        let mut history = page(&mut client, "NULL");
        while history.len() % 20 == 0
            && let Some(last) = history.last().cloned()
        {
            let next = page(&mut client, &format!("'{last}'"));
            if next.is_empty() {
                break;
            }
            history.extend(next);
        }
        assert_eq!(history, expected, "{who}");
        expected.truncate(50);
        let mut fifty = texts(&mut client, "SELECT event_id::text FROM audit.history('entity', '7')");
        assert_eq!(fifty, expected, "fifty by default");
        fifty.truncate(1);
        assert_eq!(
            texts(&mut client, "SELECT event_id::text FROM audit.history('entity', '7', max_rows => 1)"),
            fifty
        );
    }
}

/// A partition made by hand: other places of the columns, a dropped one, and no index but the key.
#[test]
fn whole_rows_come_back_also_of_a_partition_with_another_layout() {
    let database = Database::create("layout");
    let mut owner = database.connect();
    let columns: Vec<String> = texts(
        &mut owner,
        "SELECT format('%I %s%s%s', attname, format_type(atttypid, atttypmod),
                       CASE WHEN attcollation = '\"C\"'::regcollation THEN ' COLLATE \"C\"' END, CASE WHEN attnotnull THEN ' NOT NULL' END)
         FROM pg_attribute WHERE attrelid = 'audit.event'::regclass AND attnum > 0 ORDER BY attnum DESC",
    );
    owner
        .batch_execute(&format!(
            "CREATE TABLE other (gone int, {});
             ALTER TABLE other DROP gone, ADD PRIMARY KEY (event_id);
             ALTER TABLE audit.event ATTACH PARTITION other FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
             INSERT INTO audit.event SELECT ('00e3f2b4-d280-7000-8000-0000000000' || i)::uuid, '2001-01-15', pg_current_xact_id(), 'a.b', 't', i::text,
                 'u', 'user', 'o', 'p' || i, '{{\"a\": 1}}', '{{\"b\": 2}}', '{{\"c\": 3}}', 's', 'd', 'app', '::1', 'public.t'
             FROM generate_series(10, 19) AS i;
             SELECT audit.record('a.b', 't', '20', 'o', 'p20')",
            columns.join(", ")
        ))
        .unwrap();
    for (log, plain) in [
        ("audit.log('o', pattern => '*')", "organisation_id = 'o'"),
        ("audit.log(NULL, 'p13')", "project_id = 'p13'"),
        ("audit.log(pattern => 'a.*', max_rows => NULL)", "action = 'a.b'"),
        ("audit.log(actor_id => 'u', pattern => 'a.*')", "actor_id = 'u'"),
        ("audit.history('t', '17')", "resource_id = '17'"),
    ] {
        let plain = format!("SELECT e::text FROM audit.event AS e WHERE {plain} ORDER BY event_id DESC");
        let expected = texts(&mut owner, &plain);
        assert_eq!(texts(&mut owner, &format!("SELECT e::text FROM {log} AS e")), expected, "{log}");
    }
    // A partition in which nothing leads to events by their id cannot be read in order.
    owner
        .batch_execute("SET audit.allow_destruction = on; ALTER TABLE other DROP CONSTRAINT other_pkey")
        .unwrap();
    let (code, message, hint) = refused(owner.query("SELECT FROM audit.log()", &[]));
    assert_eq!(code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(message, "partition public.other has no index on event_id");
    assert!(hint.contains("ADD PRIMARY KEY (event_id)"), "{hint}");
    // Nor can one that is partitioned again: the writer refuses it, too.
    owner
        .batch_execute(
            "ALTER TABLE other ADD PRIMARY KEY (event_id);
             CREATE TABLE divided (LIKE audit.event) PARTITION BY RANGE (occurred_at);
             CREATE INDEX ON divided (event_id);
             ALTER TABLE audit.event ATTACH PARTITION divided FOR VALUES FROM ('2031-01-01') TO ('2032-01-01')",
        )
        .unwrap();
    let (code, message, hint) = refused(owner.query("SELECT FROM audit.log(pattern => '*')", &[]));
    assert_eq!(code, SqlState::WRONG_OBJECT_TYPE);
    assert_eq!(message, "partition public.divided of audit.event is no ordinary table");
    assert!(hint.starts_with("Detach it"), "{hint}");
}

/// Writers commit late and out of order while someone turns the pages.
#[test]
fn pages_neither_skip_nor_repeat_while_writers_commit_late() {
    let database = Database::create("paging");
    let mut owner = database.connect();
    owner
        .batch_execute(
            "CALL audit.maintain();
             SELECT count(audit.record('entity.created', 'entity', i::text, 'o')) FROM generate_series(1, 500) AS i",
        )
        .unwrap();
    // Events older than some and newer than others, in a transaction that is still open.
    let mut late = database.connect();
    late.batch_execute("BEGIN; SELECT audit.record('entity.created', 'entity', 'late', 'o')").unwrap();
    owner
        .batch_execute("SELECT count(audit.record('entity.created', 'entity', i::text, 'o')) FROM generate_series(501, 1000) AS i")
        .unwrap();
    let committed = texts(&mut owner, "SELECT event_id::text FROM audit.event ORDER BY event_id DESC");
    let (mut seen, mut before) = (Vec::new(), "NULL".to_owned());
    loop {
        let page = texts(
            &mut owner,
            &format!(
                "SELECT event_id::text FROM audit.log('o', pattern => 'entity.*', before => {before}, max_rows => 37)"
            ),
        );
        let Some(last) = page.last() else { break };
        before = format!("'{last}'");
        seen.extend(page);
        // Newer events do not move the pages below.
        owner.batch_execute("SELECT audit.record('entity.created', 'entity', 'newer', 'o')").unwrap();
        if seen.len() == 37 * 5 {
            late.batch_execute("COMMIT").unwrap();
        }
    }
    let late_id = texts(&mut owner, "SELECT event_id::text FROM audit.event WHERE resource_id = 'late'");
    assert!(seen.contains(&late_id[0]), "what was committed before its page was read is on it");
    seen.retain(|id| *id != late_id[0]);
    assert_eq!(seen, committed);
}

#[test]
fn a_transaction_sees_its_own_events_and_a_snapshot_nothing_newer() {
    let database = Database::create("snapshot");
    let count = |client: &mut Client| -> i64 {
        client.query_one("SELECT count(*) FROM audit.log(pattern => '*')", &[]).unwrap().get(0)
    };
    let (mut one, mut other) = (database.connect(), database.connect());
    one.batch_execute("BEGIN; SAVEPOINT a; SELECT audit.record('a.b', 't', '1')").unwrap();
    assert_eq!((count(&mut one), count(&mut other)), (1, 0));
    one.batch_execute("ROLLBACK TO a").unwrap();
    assert_eq!(count(&mut one), 0);
    other.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    one.batch_execute("SELECT audit.record('a.b', 't', '2'); COMMIT").unwrap();
    assert_eq!((count(&mut one), count(&mut other)), (1, 0));
}

#[test]
fn it_goes_by_privileges_and_policies_as_any_query() {
    let database = Database::create("privileges");
    let mut owner = database.connect();
    let reader = database.role("reader", &["audit_reader"]);
    let column = database.role("column", &[]);
    owner
        .batch_execute(&format!(
            "SELECT audit.record('a.b', 't', '1', 'o'), audit.record('a.c', 't', '2', 'o');
             SELECT audit.grant_admin(db_role => '{reader}', organisation_id => 'o');
             GRANT USAGE ON SCHEMA audit TO {column};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA audit TO {column};
             GRANT SELECT (event_id, action) ON audit.event TO {column};"
        ))
        .unwrap();
    const LOG: &str = "SELECT action FROM audit.log(pattern => '*, -audit.*')";
    let (code, message, _) = refused(database.connect_as(&column).query(LOG, &[]));
    assert_eq!(
        (code, &*message),
        (SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for table audit.event")
    );

    let mut client = database.connect_as(&reader);
    assert_eq!(texts(&mut client, LOG), ["a.c", "a.b"]);
    assert_eq!(
        texts(&mut client, "SELECT (audit.log(pattern => '*, -audit.*')).action"),
        ["a.c", "a.b"],
        "as a list item too"
    );
    client.batch_execute("SET row_security = off").unwrap();
    let (code, ..) = refused(client.query(LOG, &[]));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "as for SELECT FROM audit.event");
    client.batch_execute("RESET row_security").unwrap();

    owner
        .batch_execute("CREATE POLICY less ON audit.event AS RESTRICTIVE FOR SELECT USING (action <> 'a.b')")
        .unwrap();
    let (code, _, hint) = refused(client.query(LOG, &[]));
    assert_eq!(code, SqlState::FEATURE_NOT_SUPPORTED);
    assert!(hint.starts_with("Select from audit.event"), "{hint}");
    assert_eq!(texts(&mut client, "SELECT action FROM audit.event WHERE action NOT LIKE 'audit.%'"), ["a.c"]);
    owner.batch_execute("DROP POLICY less ON audit.event").unwrap();
    assert_eq!(texts(&mut client, LOG), ["a.c", "a.b"]);
    // The extension's own policy, altered.
    for altered in ["TO pg_monitor", "USING (event_id >= (SELECT audit.readable_from()))"] {
        let mut session = database.connect();
        session.batch_execute(&format!("BEGIN; ALTER POLICY readable ON audit.event {altered}")).unwrap();
        session.batch_execute(&format!("SET ROLE {reader}")).unwrap();
        assert!(texts(&mut session, "SELECT action FROM audit.event").is_empty(), "{altered}");
        let (code, ..) = refused(session.query(LOG, &[]));
        assert_eq!(code, SqlState::FEATURE_NOT_SUPPORTED, "{altered}");
        session.batch_execute("ROLLBACK").unwrap();
        session.batch_execute(&format!("SET ROLE {reader}")).unwrap();
        assert_eq!(texts(&mut session, LOG), ["a.c", "a.b"]);
    }

    owner.batch_execute(&format!("REVOKE audit_reader FROM {reader}")).unwrap();
    refused(client.query(LOG, &[]));
}

#[test]
fn the_views_are_the_product_pages_columns_and_the_readers_rows() {
    let database = Database::create("views");
    let mut owner = database.connect();
    let analyst = database.role("analyst", &["audit_reader"]);
    owner
        .batch_execute(&format!(
            "SELECT audit.record('organisation.created', NULL, NULL, 'o');
             SET audit.actor_id = 'u';
             SELECT audit.record('entity.created', 'entity', '7', 'o', 'p'), audit.record('entity.created', 'entity', '8', 'x', 'q');
             SELECT audit.grant_admin(db_role => '{analyst}', organisation_id => 'o');"
        ))
        .unwrap();
    let mut client = database.connect_as(&analyst);
    let row = "concat_ws(' ', organisation_id, action, resource_type, resource_id, actor_id, coalesce(project_id, '-'))";
    let select = |view: &str| format!("SELECT {row} FROM audit.{view} ORDER BY \"timestamp\"");
    assert_eq!(
        texts(&mut client, &select("organisation_log")),
        [
            "o organisation.created N/A N/A N/A -",
            "o entity.created entity 7 u p",
            &format!("o audit.admin.granted admin {analyst} u -"),
        ]
    );
    assert_eq!(texts(&mut client, &select("project_log")), ["o entity.created entity 7 u p"]);
}

/// Whatever is asked, the log's indexes are opened and closed, and memory does not grow with the answers thrown away.
#[test]
fn it_can_be_cancelled_and_leaves_nothing_open() {
    let database = with_events("cancel");
    let mut client = database.connect();
    client.batch_execute("SET statement_timeout = '3ms'").unwrap();
    for _ in 0..50 {
        let result = client.query("SELECT count(*) FROM audit.log(pattern => '*', max_rows => NULL)", &[]);
        if let Err(error) = result {
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        }
    }
    client.batch_execute("SET statement_timeout = 0").unwrap();
    let all: i64 = client
        .query_one("SELECT count(*) FROM audit.log(pattern => '*', max_rows => NULL)", &[])
        .unwrap()
        .get(0);
    let plain: i64 = client.query_one("SELECT count(*) FROM audit.event", &[]).unwrap().get(0);
    assert_eq!(all, plain);
    // LIMIT stops asking: a set that is not read to its end is no leak either.
    client.query("SELECT FROM audit.log(pattern => '*', max_rows => NULL) LIMIT 1", &[]).unwrap();
}
