//! Causing what `audit.health()` tells, and curing it by what it says.

use std::collections::BTreeSet;

use postgres::Client;

use crate::Cluster;

/// A cluster in which all is well, with what the problems are made of.
pub fn healthy(name: &str) -> (Cluster, Client) {
    let cluster = Cluster::temporary_with(name, "session_preload_libraries = 'audit'");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute(
        "CREATE EXTENSION audit;
         CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
         CREATE ROLE plain LOGIN;
         CREATE ROLE \"odd \"\"role\" LOGIN IN ROLE audit_reader;
         CREATE SCHEMA \"App\";
         CREATE TABLE \"App\".\"thi'ng\" (id int PRIMARY KEY, name text);
         SELECT audit.track('\"App\".\"thi''ng\"', 'thing', mask => '{name}', actions => '{\"update\": \"thing.renamed\"}');
         CREATE TABLE copied (id int PRIMARY KEY);
         SELECT audit.track('copied', 'copied', on_replica => true);
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
         SELECT audit.track('parted', 'parted');",
    )
    .unwrap();
    // In a transaction of its own, so that the log's months commit.
    dba.batch_execute("CALL audit.maintain()").unwrap();
    (cluster, dba)
}

/// What a member of pg_monitor is told: severity, object, problem, remedy.
pub fn told(cluster: &Cluster) -> Vec<[String; 4]> {
    // A new session, as monitoring has: settings of databases and roles hold for it.
    let mut monitor = cluster.connect("postgres", "monitor");
    let rows = monitor.query("SELECT * FROM audit.health()", &[]).unwrap();
    rows.iter().map(|row| [0, 1, 2, 3].map(|at| row.get(at))).collect()
}

/// What a problem is made of: how it is caused, its severity, its object, and what is said of it.
pub type Case<'a> = (String, &'a str, String, &'a str);

/// Causes a problem, finds it told, and types its remedies until all is well; `also` is what has to be undone besides.
pub fn cause_and_cure(cluster: &Cluster, (cause, severity, object, problem): &Case<'_>, also: &str) {
    let mut hand = cluster.connect("postgres", "postgres");
    hand.batch_execute(cause).unwrap_or_else(|error| panic!("{cause}: {error:?}"));
    let rows = told(cluster);
    let found = rows.iter().find(|row| row[1] == *object && row[2].contains(problem));
    let found = found.unwrap_or_else(|| panic!("{cause}: {object}: {problem} is not among {rows:#?}"));
    assert_eq!(found[0], *severity, "{cause}");
    for remedy in rows.iter().map(|row| &*row[3]).collect::<BTreeSet<_>>() {
        let mut cure = cluster.connect("postgres", "postgres");
        cure.batch_execute(remedy).unwrap_or_else(|error| panic!("{cause}: {remedy}: {error:?}"));
    }
    cluster
        .connect("postgres", "postgres")
        .batch_execute(also)
        .unwrap_or_else(|error| panic!("{also}: {error:?}"));
    let left = told(cluster);
    assert!(left.is_empty(), "{cause}: {rows:#?} leaves {left:#?}");
}
