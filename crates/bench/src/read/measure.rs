//! Asks, and takes the time.

use std::time::Instant;

use audit_client_tests::Cluster;
use postgres::{Client, Row, Statement};
use serde::Serialize;
use uuid::Uuid;

use crate::fill::Log;
use crate::questions::{PAGE, Parameter, Question, Reader, Rights};

/// The role that the application's readers share.
const ROLE: &str = "application";

/// So many milliseconds are slow: what takes longer is measured less often.
pub const SLOW: f64 = 100.0;

/// What a query cost.
#[derive(Clone, Copy, Serialize)]
pub struct Cost {
    /// Milliseconds at the client, with its rows; the median of a few.
    pub millis: f64,
    /// Pages that executing it looked at, in memory or not.
    pub buffers: f64,
    /// The same, for planning it.
    pub planning_buffers: f64,
}

/// A log and those who read it.
pub struct Library<'a> {
    readers: &'a [Reader],
    clients: Vec<Seat>,
    superuser: Client,
}

/// A reader's connection.
struct Seat {
    client: Client,
    log: Statement,
    history: Statement,
}

impl<'a> Library<'a> {
    /// Makes the role of the cluster's readers.
    pub fn prepare(cluster: &Cluster) {
        cluster
            .connect("postgres", "postgres")
            .batch_execute(&format!("CREATE ROLE {ROLE} LOGIN IN ROLE audit_writer, audit_reader"))
            .expect("a role can be made");
    }

    /// Grants the readers their rights, and connects as each.
    pub fn open(cluster: &Cluster, log: &Log, readers: &'a [Reader]) -> Self {
        let mut superuser = cluster.connect(log.name, "postgres");
        // The best plan for just these parameters.
        superuser.batch_execute("SET plan_cache_mode = force_custom_plan").expect("a setting can be set");
        let clients = readers
            .iter()
            .map(|reader| {
                grant(&mut superuser, reader);
                Seat::take(cluster, log, reader)
            })
            .collect();
        Self { readers, clients, superuser }
    }

    /// The last event above the page that is asked for: nothing for a first page, `None` if there is no such page.
    pub fn before(&mut self, question: &Question) -> Option<Option<Uuid>> {
        if question.above == 0 {
            return Some(None);
        }
        let (query, parameters) = question.plain(&None, Some(&self.readers[question.reader].rights));
        let query = format!("SELECT event_id {query} OFFSET {} LIMIT 2", question.above - 1);
        let ids = ids(&self.superuser.query(&query, &parameters).expect("a plain query"));
        (ids.len() == 2).then(|| Some(ids[0]))
    }

    /// Milliseconds of a call, and what it found.
    pub fn ask(&mut self, question: &Question, before: &Option<Uuid>) -> (f64, Vec<Uuid>) {
        let Seat { client, log, history } = &mut self.clients[question.reader];
        let statement = if question.arguments.history.is_some() { history } else { log };
        time(client, statement, &question.call(before))
    }

    /// What a call costs, once it is warm.
    pub fn cost(&mut self, question: &Question, before: &Option<Uuid>) -> Cost {
        let seat = &mut self.clients[question.reader];
        let (query, statement) = match question.arguments.history {
            Some(_) => (HISTORY, &seat.history),
            None => (LOG, &seat.log),
        };
        cost(&mut seat.client, query, &statement.clone(), &question.call(before))
    }

    /// What the same in plain SQL costs a superuser, with the scope written out; and what it finds.
    pub fn by_hand(&mut self, question: &Question, before: &Option<Uuid>) -> (Cost, Vec<Uuid>) {
        plain(&mut self.superuser, question, before, Some(&self.readers[question.reader].rights))
    }

    /// What the same in plain SQL costs the reader, whose rights row-level security puts in; and what it finds.
    pub fn with_policies(&mut self, question: &Question, before: &Option<Uuid>) -> (Cost, Vec<Uuid>) {
        plain(&mut self.clients[question.reader].client, question, before, None)
    }
}

const LOG: &str = "SELECT * FROM audit.log(organisation_id => $1, project_id => $2, pattern => $3, before => $4, \
                   max_rows => $5, actor_id => $6, since => $7, until => $8)";
const HISTORY: &str = "SELECT * FROM audit.history($1, $2, $3, $4)";

impl Seat {
    fn take(cluster: &Cluster, log: &Log, reader: &Reader) -> Self {
        let mut client = cluster.connect(log.name, ROLE);
        client.batch_execute("SET plan_cache_mode = force_custom_plan").expect("a setting can be set");
        client
            .execute("SELECT set_config('audit.actor_id', $1, false)", &[&reader.actor])
            .expect("the application names its user");
        let log = client.prepare(LOG).expect("audit.log");
        let history = client.prepare(HISTORY).expect("audit.history");
        Self { client, log, history }
    }
}

/// Grants a reader what it may see.
fn grant(superuser: &mut Client, reader: &Reader) {
    let grant = "SELECT audit.grant_admin(actor_id => $1, organisation_id => $2, project_id => $3, instance_owner => $4)";
    let mut grant = |organisation: Option<&str>, project: Option<&str>, owner: bool| {
        superuser.execute(grant, &[&reader.actor, &organisation, &project, &owner]).expect("a grant");
    };
    match &reader.rights {
        Rights::Organisation(organisation) => grant(Some(organisation), None, false),
        Rights::Projects(projects) => projects.iter().for_each(|project| grant(None, Some(project), false)),
        Rights::Instance => grant(None, None, true),
    }
}

/// Asks in plain SQL: what it costs, and what it finds.
fn plain(
    client: &mut Client,
    question: &Question,
    before: &Option<Uuid>,
    rights: Option<&Rights>,
) -> (Cost, Vec<Uuid>) {
    let (query, parameters) = question.plain(before, rights);
    let query = format!("SELECT * {query} LIMIT {PAGE}");
    let statement = client.prepare(&query).expect("a plain query");
    let found = time(client, &statement, &parameters).1;
    (cost(client, &query, &statement, &parameters), found)
}

/// Three times, or once if it is slow, and once more to see the pages.
fn cost(client: &mut Client, query: &str, statement: &Statement, parameters: &[Parameter]) -> Cost {
    let mut millis = vec![time(client, statement, parameters).0];
    while millis.len() < 3 && millis[0] < SLOW {
        millis.push(time(client, statement, parameters).0);
    }
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}");
    let plan: serde_json::Value = client.query_one(&explain, parameters).expect("a plan").get(0);
    let buffers = |part: &str| {
        ["Shared Hit Blocks", "Shared Read Blocks"]
            .iter()
            .map(|blocks| plan[0][part][blocks].as_f64().expect("a number of blocks"))
            .sum()
    };
    Cost {
        millis: audit_bench::results::median(millis).expect("three times"),
        buffers: buffers("Plan"),
        planning_buffers: buffers("Planning"),
    }
}

/// Milliseconds of an execution with all its rows, and their ids.
fn time(client: &mut Client, statement: &Statement, parameters: &[Parameter]) -> (f64, Vec<Uuid>) {
    let start = Instant::now();
    let rows = client.query(statement, parameters).unwrap_or_else(|error| panic!("{error:?}"));
    (start.elapsed().as_secs_f64() * 1e3, ids(&rows))
}

fn ids(rows: &[Row]) -> Vec<Uuid> {
    rows.iter().map(|row| row.get("event_id")).collect()
}
