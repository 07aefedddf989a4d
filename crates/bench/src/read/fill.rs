//! Logs that differ in their length alone.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use audit_client_tests::Cluster;
use postgres::{Client, Statement};

/// How far the logs reach back: 24 months.
pub const SPAN: Duration = Duration::from_secs(730 * 24 * 3600);
/// The number of the largest project, which is in the largest organisation.
pub const LARGE: i32 = 0;
/// The number of a project in the middle: 7 of 100,000 events are its own, and 7 of 10,000 its organisation's.
pub const SMALL: i32 = 5000;
/// How many projects there are.
pub const PROJECTS: i32 = 10_000;
/// What happens so rarely that it is made apart, forty times in each of those two projects.
pub const RARE: &str = "retention.deleted";

/// Numbers of events that one statement makes.
const SLICE: i64 = 50_000;

/// A database with a log.
pub struct Log {
    /// The database.
    pub name: &'static str,
    /// Its events, but for the rare ones.
    pub events: i64,
    /// When the first one happened.
    pub begin: SystemTime,
}

impl Log {
    /// Makes the database and fills its log.
    pub fn fill(&self, cluster: &Cluster) {
        let start = Instant::now();
        let mut postgres = cluster.connect("postgres", "postgres");
        postgres.batch_execute(&format!("CREATE DATABASE {}", self.name)).expect("a database");
        let mut client = cluster.connect(self.name, "postgres");
        client.batch_execute("CREATE EXTENSION audit").expect("the extension");
        client.batch_execute(include_str!("world.sql")).expect("who and what there is");

        // What is rare comes first and lands in the catch-all: `audit.maintain` makes its months, and the rest finds
        // them.
        let mut filler = Filler::connect(cluster, self);
        filler.insert(0..self.events, self.events / 40, Some(RARE), Some(LARGE));
        filler.insert(0..self.events, self.events / 40, Some(RARE), Some(SMALL));
        filler.insert(0..self.events, self.events / 100, Some("instance_owner.assigned"), None);
        filler.insert(0..self.events, self.events / 100, Some("instance_owner.removed"), None);
        client.batch_execute("CALL audit.maintain()").expect("the months");

        let next = AtomicI64::new(0);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..processors {
                scope.spawn(|| {
                    let mut filler = Filler::connect(cluster, self);
                    loop {
                        let first = next.fetch_add(SLICE, Ordering::Relaxed);
                        if first >= self.events {
                            break;
                        }
                        filler.insert(first..self.events.min(first + SLICE), 1, None, None);
                    }
                });
            }
        });
        cluster.run("vacuumdb", &["--quiet", "--analyze", &format!("--jobs={processors}"), self.name], None);
        eprintln!("{}: {} events in {:.0} s", self.name, self.events, start.elapsed().as_secs_f64());
    }
}

/// A connection that makes events.
struct Filler<'a> {
    log: &'a Log,
    client: Client,
    statement: Statement,
}

impl<'a> Filler<'a> {
    fn connect(cluster: &Cluster, log: &'a Log) -> Self {
        let mut client = cluster.connect(log.name, "postgres");
        client.batch_execute("SET jit = off; SET work_mem = '64MB'").expect("settings can be set");
        let statement = client.prepare(include_str!("fill.sql")).expect("a statement");
        Self { log, client, statement }
    }

    /// Makes every `step`th event of `numbers`.
    fn insert(
        &mut self,
        numbers: std::ops::Range<i64>,
        step: i64,
        action: Option<&str>,
        project: Option<i32>,
    ) {
        let begin = self.log.begin.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        let gap = SPAN.as_micros() as i64 / self.log.events;
        // The same numbers give the same events, whoever makes them.
        let seed = numbers.start as f64 / self.log.events as f64;
        self.client
            .execute("SELECT setseed($1)", &[&seed])
            .and_then(|_| {
                self.client.execute(
                    &self.statement,
                    &[
                        &(begin.as_micros() as i64),
                        &gap,
                        &numbers.start,
                        &numbers.end,
                        &step,
                        &action,
                        &project,
                    ],
                )
            })
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.log.name));
    }
}
