//! Behind pgbouncer in transaction mode: 200 clients share 8 connections to the server, each request has its own actor.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use audit_client_tests::{Cluster, POOL, Random, SqlState, refused, texts};
use postgres::types::{ToSql, Type};
use postgres::{Client, Config, Error, NoTls, Row};

const CLIENTS: u64 = 200;
const CONNECTIONS: u64 = 8;
const REQUESTS: u64 = 25;
const ACTORS: u64 = 40;

/// A cluster with a tracked table, a role `app`, and a pool of this many connections before it.
fn pooled(name: &str, connections: u64) -> (Cluster, Client) {
    let cluster =
        Cluster::temporary_with(name, "session_preload_libraries = 'audit'\nsynchronous_commit = off");
    let mut owner = cluster.connect("postgres", "postgres");
    owner
        .batch_execute(
            "CREATE EXTENSION audit;
             CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request text, author text,
                                organisation_id text, project_id text);
             SELECT audit.track('note', 'note', organisation_id => 'organisation_id', project_id => 'project_id');
             CREATE ROLE app LOGIN;
             GRANT SELECT, INSERT ON note TO app;
             GRANT audit_writer, audit_reader TO app;",
        )
        .unwrap();
    cluster.pool(&format!(
        "pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = {}",
        2 * CLIENTS
    ));
    (cluster, owner)
}

/// A client of the pool. Some are of one name, so that actors are told apart where nothing else differs.
fn connect_nth(cluster: &Cluster, number: u64) -> Client {
    connect(cluster, &format!("client-{}", number % 2))
}

fn connect(cluster: &Cluster, name: &str) -> Client {
    let mut config = Config::new();
    config.host(cluster.socket()).port(POOL).user("app").dbname("postgres").application_name(name);
    config.connect(NoTls).expect("pgbouncer accepts connections")
}

/// Runs a query by an unnamed statement: named ones stay with the connection that the next transaction may not get.
fn query(client: &mut Client, query: &str, values: &[&str]) -> Result<Vec<Row>, Error> {
    let values: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
    client.query_typed(query, &values)
}

/// What an actor administers, as organisation and project: one, the other, the pair, or with neither everything.
fn scopes(actor: u64) -> Vec<(Option<String>, Option<String>)> {
    let organisation = Some(format!("o-{}", actor / 5 % 5));
    let project = Some(format!("p-{}", (actor + 3) % 10));
    match actor % 5 {
        _ if actor == 0 => vec![(None, None)],
        0 => vec![(organisation, None)],
        1 => vec![(None, project)],
        2 => vec![(organisation, project)],
        3 => vec![(organisation, None), (None, project)],
        _ => vec![],
    }
}

/// Ways to read a page, and the events of one note.
const PLAIN: (&str, &str) = (
    "SELECT organisation_id, project_id FROM audit.event WHERE audit_match(action, $1) ORDER BY event_id DESC LIMIT 50",
    "SELECT FROM audit.event WHERE resource_type = 'note' AND resource_id = $1",
);
const FUNCTIONS: (&str, &str) = (
    "SELECT organisation_id, project_id FROM audit.log(pattern => $1)",
    "SELECT FROM audit.history('note', $1)",
);

/// What a client does after it wrote and read.
enum Ending {
    Commit,
    Rollback,
    /// A statement fails, and the client rolls back as applications do.
    Fail,
    /// The client closes its connection in the midst of the transaction.
    Leave,
    /// The server's connection is killed, and the client's goes with it.
    Terminate,
}

/// A client's request: a note, written by its author.
struct Request {
    name: String,
    /// Nobody, where the application forgot.
    author: Option<u64>,
    /// Whether the client says which request it was.
    metadata: bool,
    organisation: String,
    project: String,
}

impl Request {
    fn random(client: u64, number: u64, random: &mut Random) -> Self {
        let project = random.below(10);
        Self {
            name: format!("{client}-{number}"),
            metadata: number.is_multiple_of(2),
            author: (random.below(8) > 0).then(|| random.below(ACTORS)),
            organisation: format!("o-{}", random.below(5)),
            project: format!("p-{project}"),
        }
    }

    /// Whether the author may read an event of this scope.
    fn allows(&self, organisation: &str, project: &str) -> bool {
        let within = |scope: &Option<String>, id| scope.as_deref().is_none_or(|scope| scope == id);
        self.author.is_some_and(|author| {
            scopes(author).iter().any(|scope| within(&scope.0, organisation) && within(&scope.1, project))
        })
    }

    fn begin(&self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("BEGIN")?;
        if let Some(author) = self.author {
            query(
                client,
                "SELECT set_config('audit.actor_id', 'u-' || $1, true), set_config('audit.actor_type', 'user', true)",
                &[&author.to_string()],
            )?;
        }
        if self.metadata {
            query(
                client,
                "SELECT set_config('audit.metadata', jsonb_build_object('request', $1)::text, true)",
                &[&self.name],
            )?;
        }
        Ok(())
    }

    /// Writes the note; its id.
    fn write(&self, client: &mut Client) -> Result<String, Error> {
        let author = self.author.map(|author| format!("u-{author}")).unwrap_or_default();
        let note = query(
            client,
            "INSERT INTO note (request, author, organisation_id, project_id)
             VALUES ($1, nullif($2, ''), $3, $4) RETURNING id::text",
            &[&self.name, &author, &self.organisation, &self.project],
        )?;
        Ok(note[0].get(0))
    }

    /// The author's page of the log and its note's history. There is the note if the author may read it, and nothing that
    /// the author may not.
    fn read(&self, client: &mut Client, note: &str, (page, history): (&str, &str)) -> Result<(), Error> {
        for event in query(client, page, &["note.*"])? {
            let (organisation, project) = (event.get(0), event.get(1));
            assert!(self.allows(organisation, project), "{:?} read {organisation} {project}", self.author);
        }
        let events = query(client, history, &[note])?;
        let expected = usize::from(self.allows(&self.organisation, &self.project));
        assert_eq!(events.len(), expected, "{:?} and its note of {}", self.author, self.name);
        Ok(())
    }

    /// Serves it on a connection, which is gone afterwards if that is how it ends; whether it was committed.
    fn serve(&self, mut client: Client, ending: &Ending) -> Result<(Option<Client>, bool), Error> {
        self.begin(&mut client)?;
        let note = self.write(&mut client)?;
        self.read(&mut client, &note, PLAIN)?;
        // Somebody else for a while: the name goes back with the savepoint.
        client
            .batch_execute("SAVEPOINT a; SELECT set_config('audit.actor_id', 'u-0', true); ROLLBACK TO a")?;
        self.read(&mut client, &note, FUNCTIONS)?;
        match ending {
            Ending::Commit => client.batch_execute("COMMIT")?,
            Ending::Rollback => client.batch_execute("ROLLBACK")?,
            Ending::Fail => {
                let (code, ..) = refused(query(&mut client, "SELECT 1 / length($1)", &[""]));
                assert_eq!(code, SqlState::DIVISION_BY_ZERO);
                client.batch_execute("ROLLBACK")?;
            }
            Ending::Leave => return Ok((None, false)),
            Ending::Terminate => {
                let terminated = query(&mut client, "SELECT pg_terminate_backend(pg_backend_pid())", &[]);
                assert!(terminated.is_err());
                return Ok((None, false));
            }
        }
        Ok((Some(client), matches!(ending, Ending::Commit)))
    }
}

/// What one of many clients does; the requests that it committed.
fn work(cluster: &Cluster, number: u64, client: Client) -> BTreeSet<String> {
    let mut random = Random::new(number);
    let mut client = Some(client);
    let mut committed = BTreeSet::new();
    for n in 0..REQUESTS {
        let request = Request::random(number, n, &mut random);
        let ending = match random.below(40) {
            0 => Ending::Leave,
            1 => Ending::Terminate,
            2..=5 => Ending::Fail,
            6..=9 => Ending::Rollback,
            _ => Ending::Commit,
        };
        let connection = client.take().unwrap_or_else(|| connect_nth(cluster, number));
        let (connection, done) = request.serve(connection, &ending).expect("the server answers");
        client = connection;
        if done {
            committed.insert(request.name);
        }
    }
    committed
}

#[test]
fn no_event_and_no_page_is_anothers() {
    let (cluster, mut owner) = pooled("pool", CONNECTIONS);
    for actor in 0..ACTORS {
        for (organisation, project) in scopes(actor) {
            let everything = organisation.is_none() && project.is_none();
            let grant = "SELECT audit.grant_admin(actor_id => $1, organisation_id => $2, project_id => $3, instance_owner => $4)";
            owner.execute(grant, &[&format!("u-{actor}"), &organisation, &project, &everything]).unwrap();
        }
    }
    let clients: Vec<Client> = (0..CLIENTS).map(|number| connect_nth(&cluster, number)).collect();
    let committed: BTreeSet<String> = std::thread::scope(|scope| {
        let cluster = &cluster;
        let threads: Vec<_> = clients
            .into_iter()
            .zip(0..)
            .map(|(client, number)| scope.spawn(move || work(cluster, number, client)))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("nothing foreign was read")).collect()
    });
    assert!(committed.len() as u64 > CLIENTS * REQUESTS / 2);

    // There is one event for each committed note, and none else.
    let names = |owner: &mut Client, query: &str| texts(owner, query).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(names(&mut owner, "SELECT request FROM note"), committed);
    assert_eq!(
        names(&mut owner, "SELECT after_state ->> 'request' FROM audit.event WHERE action = 'note.created'"),
        committed
    );
    let wrong = texts(
        &mut owner,
        "SELECT concat_ws(' ', after_state, actor_id, actor_type, metadata, application_name) FROM audit.event
         WHERE resource_type = 'note' AND (
               actor_id IS DISTINCT FROM after_state ->> 'author'
            OR (actor_type IS NOT DISTINCT FROM 'user') <> (actor_id IS NOT NULL)
            OR metadata IS DISTINCT FROM CASE WHEN split_part(after_state ->> 'request', '-', 2)::int % 2 = 0
                                              THEN jsonb_build_object('request', after_state -> 'request') END
            OR application_name <> 'client-' || split_part(after_state ->> 'request', '-', 1)::int % 2)",
    );
    assert_eq!(wrong, Vec::<String>::new());
    let count = |owner: &mut Client, query: &str| owner.query_one(query, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(
        count(&mut owner, "SELECT count(*) FROM audit.event WHERE resource_type = 'note'"),
        committed.len() as i64
    );
    assert!(count(&mut owner, "SELECT count(DISTINCT actor_id) FROM audit.event") > 1);
    assert!(
        count(&mut owner, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
            <= CONNECTIONS as i64
    );
}

/// A pool of one connection, on which Ann reads `o-1` and Bob `o-2`.
fn ann_and_bob(name: &str) -> (Cluster, Client) {
    let (cluster, mut owner) = pooled(name, 1);
    owner
        .batch_execute(
            "SELECT audit.grant_admin(actor_id => 'ann', organisation_id => 'o-1'),
                    audit.grant_admin(actor_id => 'bob', organisation_id => 'o-2');
             INSERT INTO note (organisation_id) VALUES ('o-1'), ('o-2'), ('o-3')",
        )
        .unwrap();
    (cluster, owner)
}

/// What a query returns in a transaction of this actor; an empty name is nobody's.
fn read_as(client: &mut Client, actor: &str, settings: &str, statement: &str) -> Vec<String> {
    client.batch_execute(&format!("BEGIN; {settings}")).unwrap();
    query(client, "SELECT set_config('audit.actor_id', $1, true)", &[actor]).unwrap();
    let rows = query(client, statement, &[]).unwrap();
    client.batch_execute("COMMIT").unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_prepared_statement_reads_as_who_executes_it() {
    let (cluster, mut owner) = ann_and_bob("pool_prepared");
    let page = "SELECT organisation_id FROM audit.event WHERE resource_type = 'note' ORDER BY event_id";
    owner
        .batch_execute(&format!(
            "CREATE FUNCTION page() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY {page}; END $$;
             CREATE VIEW page WITH (security_invoker) AS {page}; GRANT SELECT ON page TO app;
             CREATE FUNCTION log() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
                 RETURN QUERY SELECT organisation_id FROM audit.log(pattern => 'note.*'); END $$"
        ))
        .unwrap();
    let (mut one, mut other) = (connect(&cluster, "one"), connect(&cluster, "other"));
    let backend = "SELECT pg_backend_pid()::text";
    assert_eq!(read_as(&mut one, "", "", backend), read_as(&mut other, "", "", backend));

    for mode in ["auto", "force_generic_plan", "force_custom_plan"] {
        let settings = format!("SET LOCAL plan_cache_mode = {mode}");
        let (prepared, prepared_log) = (format!("EXECUTE page_{mode}"), format!("EXECUTE log_{mode}"));
        let prepare = format!(
            "{settings}; SELECT set_config('audit.actor_id', 'ann', true); PREPARE page_{mode} AS {page};
             PREPARE log_{mode} AS SELECT organisation_id FROM audit.log(pattern => 'note.*')"
        );
        assert_eq!(read_as(&mut one, "ann", &prepare, &prepared), ["o-1"]);
        for statement in [&*prepared, &*prepared_log, "SELECT page()", "SELECT * FROM page", "SELECT log()"] {
            // Often enough for a plan that is kept.
            for _ in 0..7 {
                assert_eq!(read_as(&mut one, "ann", &settings, statement), ["o-1"], "{mode}: {statement}");
            }
            for _ in 0..7 {
                assert_eq!(read_as(&mut other, "bob", &settings, statement), ["o-2"], "{mode}: {statement}");
                assert_eq!(read_as(&mut one, "ann", &settings, statement), ["o-1"], "{mode}: {statement}");
                let nobodys = read_as(&mut other, "", &settings, statement);
                assert_eq!(nobodys, Vec::<String>::new(), "{mode}: {statement}");
            }
        }
    }
}

/// The warnings of docs/clients.md; they also show that these tests would see what a connection keeps.
#[test]
fn what_a_session_keeps_is_the_next_clients() {
    let (cluster, mut owner) = ann_and_bob("pool_session");
    let (mut careless, mut next) = (connect(&cluster, "careless"), connect(&cluster, "next"));
    let last = "SELECT coalesce(actor_id, 'N/A') FROM audit.event ORDER BY event_id DESC LIMIT 1";
    let note = "INSERT INTO note (organisation_id) VALUES ('o-1')";

    // Outside a transaction the name ends with its own statement.
    query(&mut careless, "SELECT set_config('audit.actor_id', $1, true)", &["ann"]).unwrap();
    careless.batch_execute(note).unwrap();
    assert_eq!(texts(&mut owner, last), ["N/A"]);
    // In one message there is one transaction.
    careless.batch_execute(&format!("SELECT set_config('audit.actor_id', 'ann', true); {note}")).unwrap();
    assert_eq!(texts(&mut owner, last), ["ann"]);
    next.batch_execute(note).unwrap();
    assert_eq!(texts(&mut owner, last), ["N/A"]);

    let hold = "DECLARE held CURSOR WITH HOLD FOR SELECT organisation_id FROM audit.event WHERE action NOT LIKE 'audit.%'";
    careless
        .batch_execute(&format!("BEGIN; SELECT set_config('audit.actor_id', 'bob', true); {hold}; COMMIT"))
        .unwrap();
    assert_eq!(read_as(&mut next, "ann", "", "FETCH ALL FROM held"), ["o-2"]);

    careless.batch_execute("SET audit.actor_id = 'bob'").unwrap();
    next.batch_execute(note).unwrap();
    assert_eq!(texts(&mut owner, last), ["bob"]);
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let (cluster, mut owner) = ann_and_bob("pool_killed");
    for _ in 0..5 {
        let mut psql =
            cluster.command("psql", &["-XqAt", "-p", &POOL.to_string(), "-U", "app", "-d", "postgres"]);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        psql.stdin
            .as_mut()
            .unwrap()
            .write_all(
                b"BEGIN; SELECT set_config('audit.actor_id', 'ann', true);
                  INSERT INTO note (organisation_id, author) VALUES ('o-1', 'ann'); SELECT 'ready';\n",
            )
            .unwrap();
        let output = BufReader::new(psql.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap() == "ready"));
        psql.kill().unwrap();
        psql.wait().unwrap();
        connect(&cluster, "next").batch_execute("INSERT INTO note (organisation_id) VALUES ('o-2')").unwrap();
    }
    let notes = "SELECT concat_ws(' ', organisation_id, author) FROM note OFFSET 3";
    assert_eq!(texts(&mut owner, notes), ["o-2"; 5]);
    let events = "SELECT concat_ws(' ', organisation_id, actor_id) FROM audit.event
                  WHERE session_role = 'app' ORDER BY event_id";
    assert_eq!(texts(&mut owner, events), ["o-2"; 5]);
}
