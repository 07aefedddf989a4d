//! Who reads what in the sample application of `examples/`: the log shows everybody what the application's own tables say.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use audit_client_tests::{Database, SqlState, refused, texts};
use postgres::Client;

const APPLICATION: &str = "observatory_app";
const ANALYST: &str = "observatory_analyst";

/// The sample application after its workload. Its roles are the cluster's, so only one is made at a time.
fn sample(label: &str) -> Database {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let database = Database::create_empty(label);
    for script in ["schema.sql", "tracking.sql", "access.sql", "workload.sql"] {
        database.script(&format!("examples/{script}"));
    }
    database
}

/// An event of the log.
struct Event {
    id: String,
    organisation: Option<String>,
    project: Option<String>,
    action: String,
    resource: Option<String>,
    actor: Option<String>,
}

/// What somebody administers, worked out from the rows of the application's tables.
#[derive(Default)]
struct Scopes {
    everything: bool,
    organisations: BTreeSet<String>,
    projects: BTreeSet<(String, String)>,
}

impl Scopes {
    /// Those of a user. `client` is a superuser's.
    fn of(client: &mut Client, user: &str) -> Self {
        let mut rows = |query: &str| client.query(query, &[]).unwrap();
        let mut scopes = Self::default();
        for row in rows("SELECT id, is_instance_owner FROM users") {
            scopes.everything |= row.get::<_, &str>(0) == user && row.get(1);
        }
        for row in rows("SELECT user_id, role, organisation_id FROM memberships") {
            if row.get::<_, &str>(0) == user && row.get::<_, &str>(1) == "admin" {
                scopes.organisations.insert(row.get(2));
            }
        }
        let organisation_of: Vec<(String, String)> = rows("SELECT id, organisation_id FROM projects")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let leads: Vec<(i64, String)> = rows("SELECT id, organisation_id, permissions FROM roles")
            .iter()
            .filter(|row| row.get::<_, Vec<String>>(2).iter().any(|permission| permission == "project:admin"))
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let assigned: Vec<(i64, i64)> = rows("SELECT member_id, role_id FROM project_roles")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        for member in rows("SELECT id, project_id, user_id FROM project_members") {
            let (id, project): (i64, String) = (member.get(0), member.get(1));
            let (_, organisation) = organisation_of.iter().find(|(id, _)| *id == project).unwrap();
            // A role of another organisation's is worth nothing here.
            let leads_it = |role: i64| leads.iter().any(|(lead, of)| *lead == role && of == organisation);
            if member.get::<_, &str>(2) == user
                && assigned.iter().any(|(member, role)| *member == id && leads_it(*role))
            {
                scopes.projects.insert((organisation.clone(), project));
            }
        }
        scopes
    }

    fn of_organisation(id: &str) -> Self {
        Self { organisations: [id.to_owned()].into(), ..Self::default() }
    }

    /// The events of the whole log that are theirs, in order.
    fn events(&self, client: &mut Client) -> Vec<Event> {
        let query = "SELECT event_id::text, organisation_id, project_id, action, resource_id, actor_id
                     FROM audit.event ORDER BY event_id";
        let mut events: Vec<Event> = client
            .query(query, &[])
            .unwrap()
            .iter()
            .map(|row| Event {
                id: row.get(0),
                organisation: row.get(1),
                project: row.get(2),
                action: row.get(3),
                resource: row.get(4),
                actor: row.get(5),
            })
            .collect();
        assert!(events.len() > 1000, "a log of {} events", events.len());
        events.retain(|event| {
            let Some(organisation) = &event.organisation else { return self.everything };
            let pair = event.project.as_ref().map(|project| (organisation.clone(), project.clone()));
            self.everything
                || self.organisations.contains(organisation)
                || pair.is_some_and(|pair| self.projects.contains(&pair))
        });
        events
    }

    fn ids(&self, client: &mut Client) -> Vec<String> {
        self.events(client).into_iter().map(|event| event.id).collect()
    }
}

/// The ids of what a session reads, in order.
fn read(client: &mut Client) -> Vec<String> {
    texts(client, "SELECT event_id::text FROM audit.event ORDER BY event_id")
}

/// A connection of the application's, on behalf of one user.
fn on_behalf_of(database: &Database, user: &str) -> Client {
    let mut client = database.connect_as(APPLICATION);
    client.query("SELECT set_config('audit.actor_id', $1, false)", &[&user]).unwrap();
    client
}

/// The tables that psql printed with `linestyle unicode`, as cells, each with the line above it.
fn answers(output: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let lines: Vec<&str> = output.lines().collect();
    let is_rule = |line: &str| line.starts_with('─');
    let cells = |line: &str| line.split('│').map(|cell| cell.trim().to_owned()).collect();
    let rules = (0..lines.len()).filter(|at| is_rule(lines[*at]));
    rules
        .map(|at| {
            let rows = lines[at + 1..].iter().take_while(|line| line.contains('│')).map(|line| cells(line));
            (lines[at - 2].to_owned(), rows.collect())
        })
        .collect()
}

#[test]
fn five_ask_one_question_and_get_five_answers() {
    let database = sample("five");
    let answers = answers(&database.script("examples/reading.sql"));
    let mut client = database.connect();
    let expected = [
        ("Eve ", Scopes::of(&mut client, "usr_eve")),
        ("Gil ", Scopes::of(&mut client, "usr_gil")),
        ("Ada ", Scopes::of(&mut client, "usr_ada")),
        ("Bob ", Scopes::of(&mut client, "usr_bob")),
        ("Acme's analyst", Scopes::of_organisation("org_acme")),
    ];
    assert_eq!(answers.len(), expected.len());
    for ((title, found), (who, scopes)) in answers.iter().zip(expected) {
        assert!(title.starts_with(who), "{title}");
        let shown = |text: Option<String>, null: &str| text.unwrap_or_else(|| null.to_owned());
        let page: Vec<Vec<String>> = scopes
            .events(&mut client)
            .into_iter()
            .rev()
            .filter(|event| {
                event.action.starts_with("project.") || event.action.starts_with("instance_owner.")
            })
            .take(8)
            .map(|event| {
                let resource = shown(event.resource, "");
                let scope = [shown(event.organisation, ""), shown(event.project, "")];
                [scope.as_slice(), &[event.action, resource, shown(event.actor, "N/A")]].concat()
            })
            .collect();
        assert_eq!(found, &page, "{title}");
    }
    let different: BTreeSet<_> = answers.iter().map(|(_, rows)| rows).collect();
    assert_eq!(different.len(), answers.len());
    // None of them is empty but the stranger's, and the owner's shows what is nobody else's.
    assert_eq!(answers.iter().filter(|(_, rows)| rows.is_empty()).count(), 1);
    assert!(
        answers[2].1.iter().any(|row| row[0].is_empty())
            && answers[2].1.iter().any(|row| row[0] == "org_hooli")
    );
}

#[test]
fn everybody_reads_what_the_applications_tables_say() {
    let database = sample("everybody");
    let mut client = database.connect();
    let mut kinds = BTreeSet::new();
    // Those who left are still named in the log.
    let users =
        "SELECT id FROM users UNION SELECT actor_id FROM audit.event WHERE actor_id IS NOT NULL ORDER BY 1";
    let users = texts(&mut client, users);
    assert!(users.len() > 10, "{users:?}");
    for user in users {
        let scopes = Scopes::of(&mut client, &user);
        kinds.insert((scopes.everything, scopes.organisations.len(), scopes.projects.len()));
        assert_eq!(read(&mut on_behalf_of(&database, &user)), scopes.ids(&mut client), "{user}");
    }
    // Owner and admin, admin, admin who leads a project, project's lead, nobody.
    let expected = [(false, 0, 0), (false, 0, 1), (false, 1, 0), (false, 1, 1), (true, 1, 0)];
    assert_eq!(kinds, BTreeSet::from(expected));

    assert_eq!(read(&mut on_behalf_of(&database, "usr_nobody")), [""; 0]);
    assert_eq!(read(&mut database.connect_as(APPLICATION)), [""; 0], "for nobody, it is no admin");
    let of_acme = Scopes::of_organisation("org_acme").ids(&mut client);
    assert!(!of_acme.is_empty());
    assert_eq!(read(&mut database.connect_as(ANALYST)), of_acme);
    // The analyst can be nobody else: PostgreSQL drops what a role may not set when the library is loaded, and refuses it from then on.
    let mut analyst = database.connect_as(ANALYST);
    let _ = analyst.batch_execute("SET audit.actor_id = 'usr_ada'");
    assert_eq!(read(&mut analyst), of_acme);
    let (code, ..) = refused(analyst.batch_execute("SET audit.actor_id = 'usr_ada'"));
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
}

#[test]
fn what_the_application_takes_away_is_gone_with_the_next_statement() {
    let database = sample("revoked");
    let mut client = database.connect();
    let revoked = [
        ("usr_ada", "UPDATE users SET is_instance_owner = false WHERE id = 'usr_ada'"),
        ("usr_ada", "DELETE FROM memberships WHERE user_id = 'usr_ada'"),
        ("usr_fay", "UPDATE memberships SET role = 'member' WHERE user_id = 'usr_fay'"),
        ("usr_fay", "DELETE FROM project_members WHERE user_id = 'usr_fay'"),
        (
            "usr_gil",
            "UPDATE roles SET permissions = '{read}' WHERE organisation_id = 'org_globex' AND name = 'lead'",
        ),
    ];
    for (user, statement) in revoked {
        // Within one transaction of theirs.
        let mut reader = on_behalf_of(&database, user);
        reader.batch_execute("BEGIN").unwrap();
        let before = read(&mut reader);
        on_behalf_of(&database, "usr_hui").batch_execute(statement).unwrap();
        let after = read(&mut reader);
        assert!(after.len() < before.len(), "{statement}");
        assert_eq!(after, Scopes::of(&mut client, user).ids(&mut client), "{statement}");
    }
    for user in ["usr_ada", "usr_fay", "usr_gil"] {
        assert_eq!(read(&mut on_behalf_of(&database, user)), [""; 0], "{user}");
    }
}

#[test]
fn the_admin_of_a_project_reads_no_other_organisations_project() {
    let database = sample("projects");
    let mut client = database.connect();
    let scopes = "SELECT DISTINCT coalesce(organisation_id, 'none') || ' ' || coalesce(project_id, 'none') FROM audit.event ORDER BY 1";
    // Gil works in Globex's other project, and Initech knows him as well.
    let mut gil = on_behalf_of(&database, "usr_gil");
    assert_eq!(texts(&mut gil, scopes), ["org_globex prj_routing"]);
    let asked = gil.query("SELECT FROM audit.event WHERE project_id = 'prj_copilot'", &[]).unwrap();
    assert!(asked.is_empty());

    // Search was Acme's before. Who leads it now reads what happened to it in Globex.
    client
        .batch_execute(
            "WITH member AS (INSERT INTO project_members (project_id, user_id) VALUES ('prj_search', 'usr_gil') RETURNING id)
             INSERT INTO project_roles (member_id, role_id)
             SELECT member.id, roles.id FROM member, roles WHERE organisation_id = 'org_globex' AND name = 'lead'",
        )
        .unwrap();
    assert_eq!(texts(&mut gil, scopes), ["org_globex prj_routing", "org_globex prj_search"]);
    let past =
        "SELECT action FROM audit.event WHERE organisation_id = 'org_acme' AND project_id = 'prj_search'";
    assert!(texts(&mut client, past).len() > 100);
    assert_eq!(texts(&mut gil, past), [""; 0]);
    // Bob led it in Acme, and his role there is still assigned.
    let left = "SELECT name FROM project_members m JOIN project_roles a ON member_id = m.id JOIN roles r ON r.id = role_id
                WHERE user_id = 'usr_bob' AND project_id = 'prj_search' AND 'project:admin' = ANY (permissions)";
    assert_eq!(texts(&mut client, left), ["lead"]);
    assert_eq!(read(&mut on_behalf_of(&database, "usr_bob")), [""; 0]);
}
