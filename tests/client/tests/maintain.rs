//! `CALL audit.maintain()` beside what a superuser did to the months, and what it says about it: its hints are followed here.

use std::sync::{Arc, Mutex};

use audit_client_tests::{Cluster, Database, texts};
use postgres::{Client, NoTls};

/// A superuser's session, and the warnings that it was given: message and hint.
struct Session {
    client: Client,
    warnings: Arc<Mutex<Vec<(String, String)>>>,
}

impl Session {
    /// Under settings that dates are read and written otherwise by.
    fn new(database: &Database) -> Self {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&warnings);
        let mut config = Cluster::shared().config(&database.name, "postgres", "");
        config.notice_callback(move |notice| {
            if notice.severity() == "WARNING" {
                let hint = notice.hint().unwrap_or_default().to_owned();
                seen.lock().unwrap().push((notice.message().to_owned(), hint));
            }
        });
        let mut client = config.connect(NoTls).unwrap();
        client.batch_execute("SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Kathmandu'").unwrap();
        Self { client, warnings }
    }

    fn run(&mut self, commands: &str) {
        self.client.batch_execute(commands).unwrap_or_else(|error| panic!("{commands}: {error:?}"));
    }

    /// Calls it, and returns what it warned of.
    fn maintain(&mut self) -> Vec<(String, String)> {
        self.warnings.lock().unwrap().clear();
        self.run("CALL audit.maintain()");
        self.warnings.lock().unwrap().clone()
    }

    /// The one warning's message; what it says to do is done, and then all is well.
    fn follows(&mut self, warnings: Vec<(String, String)>) -> String {
        let [(message, hint)] = <[_; 1]>::try_from(warnings).expect("one warning");
        let (_, commands) = hint.split_once("superuser: ").unwrap_or_else(|| panic!("{message}: {hint}"));
        self.run(commands);
        assert_eq!(self.maintain(), [], "{commands}");
        message
    }

    fn event(&mut self, when: &str, action: &str) {
        self.run(&format!(
            "INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
             VALUES (gen_random_uuid(), '{when}', '1', '{action}')"
        ));
    }

    /// The events of these actions, with the partitions that they are in.
    fn places(&mut self, actions: &str) -> Vec<String> {
        texts(
            &mut self.client,
            &format!(
                "SELECT concat_ws(' ', action, tableoid::regclass) FROM audit.event WHERE action ~ '{actions}' ORDER BY action"
            ),
        )
    }

    /// The month so many ahead, as in its partition's name.
    fn month(&mut self, ahead: i32) -> String {
        let this = "date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC'";
        texts(
            &mut self.client,
            &format!("SELECT to_char({this} + make_interval(months => {ahead}), 'YYYY_MM')"),
        )
        .remove(0)
    }
}

#[test]
fn a_detached_month_comes_back_with_what_was_written_meanwhile() {
    let database = Database::create("detached");
    let mut session = Session::new(&database);
    let detach = |month: &str| {
        format!(
            "SET audit.allow_destruction = on; ALTER TABLE audit.event DETACH PARTITION audit.event_{month};
             RESET audit.allow_destruction"
        )
    };
    let month = session.month(0);
    session.maintain();
    session.event("now", "it.was_there");
    session.run(&detach(&month));
    session.event("now", "it.is_between");
    let warnings = session.maintain();
    let message = session.follows(warnings);
    assert!(message.contains(&format!("audit.event_{month} is there, but is no partition")), "{message}");
    let place = format!("audit.event_{month}");
    session.event("now", "it.is_there");
    assert_eq!(
        session.places("^it"),
        ["it.is_between", "it.is_there", "it.was_there"].map(|action| format!("{action} {place}"))
    );

    // A month of which the catch-all holds nothing is just attached again.
    let later = session.month(2);
    session.run(&detach(&later));
    let warnings = session.maintain();
    assert!(warnings[0].1.contains("ATTACH PARTITION"), "{warnings:?}");
    session.follows(warnings);
}

#[test]
fn a_partition_is_its_month_under_any_name() {
    let database = Database::create("renamed");
    let mut session = Session::new(&database);
    let (month, later) = (session.month(0), session.month(2));
    session.maintain();
    session.run(&format!(
        "SET audit.allow_destruction = on;
         ALTER TABLE audit.event_{month} RENAME TO now;
         CREATE SCHEMA \"Old ones\";
         ALTER TABLE audit.event_{later} SET SCHEMA \"Old ones\";
         CREATE TABLE audit.long_ago PARTITION OF audit.event FOR VALUES FROM (MINVALUE) TO ('2020-01-01 UTC');
         CREATE TABLE audit.whole_year PARTITION OF audit.event FOR VALUES FROM ('2021-01-01 UTC') TO ('2022-01-01 UTC');
         CREATE TABLE audit.half PARTITION OF audit.event FOR VALUES FROM ('2022-01-01 UTC') TO ('2022-01-16 UTC');
         CREATE TABLE audit.other_half PARTITION OF audit.event FOR VALUES FROM ('2022-01-16 UTC') TO ('2022-02-01 UTC');
         RESET audit.allow_destruction"
    ));
    session.event("2020-02-02 UTC", "it.is_past");
    session.event("now", "it.is_now");
    assert_eq!(session.maintain(), []);
    assert_eq!(session.places("^it"), ["it.is_now audit.now", "it.is_past audit.event_2020_02"]);
}

#[test]
fn a_month_that_cannot_be_made_keeps_no_other_from_it() {
    let database = Database::create("overlap");
    let mut session = Session::new(&database);
    session.run("CREATE TABLE audit.part PARTITION OF audit.event FOR VALUES FROM ('2021-02-10 UTC') TO ('2021-02-20 UTC')");
    session.event("2021-02-05 UTC", "it.is_outside");
    session.event("2021-02-15 UTC", "it.is_inside");
    session.event("2021-03-01 UTC", "it.is_later");
    let warnings = session.maintain();
    assert_eq!(
        session.places("^it"),
        ["it.is_inside audit.part", "it.is_later audit.event_2021_03", "it.is_outside audit.event_default"]
    );
    let message = session.follows(warnings);
    assert!(message.contains("audit.part holds a part of 2021_02"), "{message}");
    assert_eq!(
        session.places("^it.*side"),
        ["it.is_inside audit.event_2021_02", "it.is_outside audit.event_2021_02"]
    );

    // Under the name of one month the partition of another.
    session.run("ALTER TABLE audit.event_2021_03 RENAME TO event_2021_04");
    session.event("2021-04-01 UTC", "it.is_april");
    let warnings = session.maintain();
    let message = session.follows(warnings);
    assert!(
        message.contains("audit.event_2021_04 is there, but is another partition of audit.event"),
        "{message}"
    );
    assert_eq!(session.places("it.is_april"), ["it.is_april audit.event_2021_04"]);

    // And what is no table.
    session.run("CREATE SEQUENCE audit.event_2021_05");
    session.event("2021-05-01 UTC", "it.is_may");
    let warnings = session.maintain();
    session.follows(warnings);
    assert_eq!(session.places("it.is_may"), ["it.is_may audit.event_2021_05"]);
}

#[test]
fn a_month_is_where_the_database_is_whatever_the_caller_set() {
    let cluster = Cluster::temporary("tablespace");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute("SET allow_in_place_tablespaces = on").unwrap();
    dba.batch_execute("CREATE TABLESPACE elsewhere LOCATION ''").unwrap();
    dba.batch_execute(
        "CREATE EXTENSION audit;
         CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
         CREATE ROLE maintainer LOGIN IN ROLE audit_admin;",
    )
    .unwrap();
    let mut maintainer = cluster.connect("postgres", "maintainer");
    maintainer
        .batch_execute("SET default_tablespace = elsewhere; SET default_table_access_method = other")
        .unwrap();
    maintainer.batch_execute("CALL audit.maintain()").unwrap();
    let places = "SELECT DISTINCT concat_ws(' ', c.reltablespace, m.amname) FROM pg_inherits i
                  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_am m ON m.oid = c.relam WHERE i.inhparent = 'audit.event'::regclass";
    assert_eq!(texts(&mut dba, places), ["0 heap"]);
    let count = "SELECT count(*)::text FROM pg_inherits WHERE inhparent = 'audit.event'::regclass";
    assert_eq!(texts(&mut dba, count), ["5"]);
}
