//! Reading on a hot standby, where nothing can be written: the same rights and pages as on the primary, as soon as
//! what changed there is replayed.

use std::time::{Duration, Instant};

use audit_client_tests::{Cluster, SqlState, refused, texts};
use postgres::Client;

/// Events of three months, three principals by `audit.grant_admin`, and one by the application's own tables.
const PRIMARY: &str = "
    CREATE EXTENSION audit;
    INSERT INTO audit.event (event_id, occurred_at, transaction_id, action, resource_type, resource_id, organisation_id, project_id)
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8' || substr(md5(i::text), 1, 15))::uuid,
               at, pg_current_xact_id(), (ARRAY['entity.created', 'entity.deleted', 'dataset.deleted'])[1 + i % 3], 'entity',
               (i % 5)::text, 'o' || i % 4, 'p' || i % 6
        FROM (SELECT i, now() - i * interval '5 hours' FROM generate_series(1, 400) i) past (i, at);
    CREATE ROLE reader LOGIN IN ROLE audit_reader, audit_writer;
    CREATE ROLE analyst LOGIN IN ROLE audit_reader;
    CREATE TABLE member (actor_id text, organisation_id text, project_id text, instance_owner boolean);
    CREATE VIEW members AS SELECT * FROM member;
    INSERT INTO member VALUES ('cleo', 'o3', 'p1');
    SELECT audit.use_admins_from('members'), audit.grant_admin(actor_id => 'ann', organisation_id => 'o1'),
           audit.grant_admin(actor_id => 'bob', instance_owner => true), audit.grant_admin(db_role => 'analyst', project_id => 'p2')";

struct Pair {
    _clusters: [Cluster; 2],
    dba: Client,
    primary: Client,
    replayed: Client,
    standby: Client,
    analyst: Client,
}

impl Pair {
    fn new() -> Self {
        let primary = Cluster::temporary("primary");
        let mut dba = primary.connect("postgres", "postgres");
        dba.batch_execute(PRIMARY).unwrap();
        let standby = primary.standby("standby");
        Self {
            dba,
            primary: primary.connect("postgres", "reader"),
            replayed: standby.connect("postgres", "postgres"),
            standby: standby.connect("postgres", "reader"),
            analyst: standby.connect("postgres", "analyst"),
            _clusters: [standby, primary],
        }
    }

    /// Runs `script` on the primary, and waits until the standby has replayed it.
    fn write(&mut self, script: &str) {
        self.dba.batch_execute(script).unwrap();
        let end: String = self.dba.query_one("SELECT pg_current_wal_lsn()::text", &[]).unwrap().get(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
        while !self.replayed.query_one(&replayed, &[]).unwrap().get::<_, bool>(0) {
            assert!(Instant::now() < deadline, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `actor` sees on the standby, the same as on the primary.
    #[track_caller]
    fn seen(&mut self, actor: &str) -> i64 {
        let [there, here] = [&mut self.primary, &mut self.standby].map(|client| pages(client, actor));
        assert_eq!(there, here, "{actor}");
        here[0]
    }
}

/// How many events `actor` finds in each way; pages of the log say what plain SQL says.
#[track_caller]
fn pages(client: &mut Client, actor: &str) -> Vec<i64> {
    client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
    [("*, -audit.*", "action NOT LIKE 'audit.%'"), ("*.deleted", "audit_match(action, $1)"), ("*", "resource_id = '3'")]
        .into_iter()
        .map(|(pattern, condition)| {
            let resource = if condition.contains("resource_id") { "'3'" } else { "NULL" };
            let row = client
                .query_one(
                    &format!(
                        "SELECT coalesce(array_agg(event_id ORDER BY event_id DESC), '{{}}') = ARRAY(
                                    SELECT event_id FROM audit.log(pattern => $1, max_rows => NULL, resource_id => {resource})),
                                count(*)
                         FROM audit.event WHERE {condition} AND $1::text IS NOT NULL"
                    ),
                    &[&pattern],
                )
                .unwrap();
            assert!(row.get::<_, bool>(0), "{actor}: {pattern} {condition}");
            row.get(1)
        })
        .collect()
}

#[test]
fn a_standby_shows_what_the_primary_shows() {
    let mut pair = Pair::new();
    for (actor, events) in [("ann", 100), ("bob", 400), ("cleo", 33), ("nobody", 0)] {
        assert_eq!(pair.seen(actor), events, "{actor}");
    }
    // Rights that change, in sessions that have asked before.
    let analyst = "SELECT count(*) FROM audit.log(pattern => '*, -audit.*', max_rows => NULL)";
    let by_role = |client: &mut Client| client.query_one(analyst, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(by_role(&mut pair.analyst), 67);
    pair.write(
        "SELECT audit.revoke_admin(actor_id => 'ann', organisation_id => 'o1'); DELETE FROM member;
         ALTER ROLE analyst RENAME TO other",
    );
    for actor in ["ann", "cleo"] {
        assert_eq!(pair.seen(actor), 0, "{actor}");
    }
    assert_eq!(by_role(&mut pair.analyst), 0);
    // Months: made, with the events moved out of the catch-all, and detached.
    pair.write("CALL audit.maintain()");
    assert_eq!(pair.seen("bob"), 400);
    pair.write("SET audit.allow_destruction = on");
    pair.write(
        "DO $$ BEGIN EXECUTE format('ALTER TABLE audit.event DETACH PARTITION audit.%I',
                                    to_char(now() - interval '1 month', '\"event_\"YYYY_MM')); END $$",
    );
    assert!(pair.seen("bob") < 400);
    // What is wrong: a month that was detached, and more.
    let health = "SELECT concat_ws(' ', severity, object, problem, remedy) FROM audit.health()";
    let [there, here] = [&mut pair.dba, &mut pair.replayed].map(|client| texts(client, health));
    assert_eq!(there, here);
    assert!(here.iter().any(|row| row.contains("no partition of audit.event")), "{here:#?}");
    // The extension made anew.
    pair.write(
        "SET client_min_messages = warning; DROP EXTENSION audit CASCADE; CREATE EXTENSION audit;
         GRANT audit_reader, audit_writer TO reader; SELECT audit.record('a.b', 't', '1', 'o1');
         SELECT audit.grant_admin(actor_id => 'ann', organisation_id => 'o1')",
    );
    for (actor, events) in [("ann", 1), ("bob", 0)] {
        assert_eq!(pair.seen(actor), events, "{actor}");
    }
    for (name, command) in [
        ("audit.record()", "SELECT audit.record('a.b', 't', '1')"),
        ("audit.maintain()", "CALL audit.maintain()"),
    ] {
        let (code, message, _) = refused(pair.replayed.batch_execute(command));
        assert_eq!(code, SqlState::READ_ONLY_SQL_TRANSACTION, "{command}: {message}");
        assert!(message.contains(name), "{message}");
    }
}
