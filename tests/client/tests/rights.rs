//! Who reads what: the events that each principal sees are those of the table in docs/security.md, neither more nor less.

use std::collections::BTreeSet;

use audit_client_tests::{Cluster, Database, Random, SqlState, refused, texts};
use postgres::Client;

/// Organisation and project of an event or a grant.
type Scope = (Option<String>, Option<String>);

fn scope(organisation: Option<&str>, project: Option<&str>) -> Scope {
    (organisation.map(str::to_owned), project.map(str::to_owned))
}

/// A database with one event in each scope that can be made of the ids, NULL included; its resource_id names the scope.
fn with_events(
    label: &str,
    organisations: &[Option<&str>],
    projects: &[Option<&str>],
) -> (Database, Vec<Scope>) {
    let database = Database::create(label);
    let mut owner = database.connect();
    owner.batch_execute("CALL audit.maintain()").unwrap();
    let mut scopes = Vec::new();
    for organisation in organisations {
        for project in projects {
            let name = format!("{organisation:?} {project:?}");
            owner
                .query("SELECT audit.record('a.b', 't', $1, $2, $3)", &[&name, organisation, project])
                .unwrap();
            scopes.push(scope(*organisation, *project));
        }
    }
    (database, scopes)
}

fn names<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> BTreeSet<String> {
    scopes.into_iter().map(|(organisation, project)| format!("{organisation:?} {project:?}")).collect()
}

/// The events of `with_events` that are seen, without those of the grants themselves.
fn read(client: &mut Client) -> BTreeSet<String> {
    let rows = texts(client, "SELECT resource_id FROM audit.event WHERE action NOT LIKE 'audit.%'");
    let (count, set) = (rows.len(), BTreeSet::from_iter(rows));
    assert_eq!(set.len(), count, "no event comes twice");
    set
}

#[test]
fn the_table() {
    let (database, scopes) =
        with_events("table", &[None, Some("o1"), Some("o2")], &[None, Some("p1"), Some("p2")]);
    let analyst = database.role("analyst", &["audit_reader"]);
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let mut owner = database.connect();
    owner
        .batch_execute(&format!(
            "SELECT audit.grant_admin('organisation admin', organisation_id => 'o1');
             SELECT audit.grant_admin('project admin', project_id => 'p1');
             SELECT audit.grant_admin('pair', organisation_id => 'o1', project_id => 'p1');
             SELECT audit.grant_admin('two', organisation_id => 'o1');
             SELECT audit.grant_admin('two', organisation_id => 'o2', project_id => 'p2');
             SELECT audit.grant_admin('owner', instance_owner => true);
             SELECT audit.grant_admin(db_role => '{analyst}', organisation_id => 'o2');"
        ))
        .unwrap();
    type Opens = fn(Option<&str>, Option<&str>) -> bool;
    let table: [(&str, Opens); 8] = [
        ("organisation admin", |organisation, _| organisation == Some("o1")),
        ("project admin", |_, project| project == Some("p1")),
        ("pair", |organisation, project| organisation == Some("o1") && project == Some("p1")),
        ("two", |organisation, project| {
            organisation == Some("o1") || organisation == Some("o2") && project == Some("p2")
        }),
        ("owner", |_, _| true),
        ("somebody else", |_, _| false),
        ("", |_, _| false),
        ("Owner", |_, _| false),
    ];
    let mut client = database.connect_as(&app);
    for (actor, opens) in table {
        client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
        let expected: Vec<_> =
            scopes.iter().filter(|(o, p)| opens(o.as_deref(), p.as_deref())).cloned().collect();
        assert_eq!(read(&mut client), names(&expected), "{actor}");
    }
    let expected: Vec<_> = scopes.iter().filter(|scope| scope.0.as_deref() == Some("o2")).cloned().collect();
    assert_eq!(read(&mut database.connect_as(&analyst)), names(&expected), "a role of the database");

    // Without the enterprise feature the organisation's admin reads nothing; its projects' admins read on.
    owner.batch_execute("SELECT audit.set_organisation('o1', false)").unwrap();
    for (actor, events) in
        [("organisation admin", 0), ("project admin", 3), ("pair", 1), ("two", 1), ("owner", 9)]
    {
        client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
        assert_eq!(read(&mut client).len(), events, "{actor}");
    }
    owner.batch_execute("SELECT audit.set_organisation('o1', NULL)").unwrap();
    client.batch_execute("SET audit.actor_id = 'organisation admin'").unwrap();
    assert_eq!(read(&mut client).len(), 3, "NULL returns it to the default");
}

#[test]
fn granting_names_one_principal_and_one_scope() {
    let (database, _) = with_events("grants", &[None, Some("o1")], &[None, Some("p1")]);
    let admin = database.role("admin", &["audit_admin"]);
    let analyst = database.role("analyst", &["audit_reader"]);
    let mut client = database.connect_as(&admin);
    let malformed = [
        "".to_owned(),
        "'u'".to_owned(),
        "organisation_id => 'o1'".to_owned(),
        "instance_owner => true".to_owned(),
        format!("'u', '{analyst}', 'o1'"),
        "'u', NULL, 'o1', NULL, true".to_owned(),
        "'u', NULL, NULL, 'p1', true".to_owned(),
        "'u', NULL, NULL, NULL, NULL".to_owned(),
        "'u', organisation_id => ''".to_owned(),
        "'u', project_id => ''".to_owned(),
        "'', organisation_id => 'o1'".to_owned(),
    ];
    for function in ["grant_admin", "revoke_admin"] {
        for arguments in &malformed {
            let (code, message, hint) =
                refused(client.batch_execute(&format!("SELECT audit.{function}({arguments})")));
            assert_eq!(code, SqlState::INVALID_PARAMETER_VALUE, "{function}({arguments}): {message}");
            assert!(!hint.is_empty());
        }
        let (code, ..) = refused(
            client.batch_execute(&format!("SELECT audit.{function}(db_role => 1, organisation_id => 'o')")),
        );
        assert_eq!(code, SqlState::UNDEFINED_OBJECT);
    }
    let rows = |client: &mut Client| -> i64 {
        client.query_one("SELECT count(*) FROM audit.admin", &[]).unwrap().get(0)
    };
    assert_eq!(rows(&mut client), 0, "nothing is half done");

    // Granting again changes nothing; revoking takes exactly one scope.
    for _ in 0..2 {
        client
            .batch_execute(&format!(
                "SELECT audit.grant_admin(db_role => '{analyst}', organisation_id => 'o1');
                 SELECT audit.grant_admin(db_role => '{analyst}', organisation_id => 'o1', project_id => 'p1');"
            ))
            .unwrap();
        assert_eq!(rows(&mut client), 2);
    }
    let mut reader = database.connect_as(&analyst);
    let revoke = format!("SELECT audit.revoke_admin(db_role => '{analyst}', organisation_id => 'o1')");
    client.batch_execute(&revoke).unwrap();
    assert_eq!(read(&mut reader), names(&[scope(Some("o1"), Some("p1"))]));
    let (code, message, hint) = refused(client.batch_execute(&revoke));
    assert_eq!(code, SqlState::UNDEFINED_OBJECT);
    assert!(
        message.contains(&analyst) && message.contains("o1") && hint.contains("audit.admin"),
        "{message}"
    );

    // Neither writing nor reading is configuring.
    let plain = database.role("plain", &["audit_reader", "audit_writer"]);
    let mut client = database.connect_as(&plain);
    for call in [
        "grant_admin('u', organisation_id => 'o1')",
        "revoke_admin('u', organisation_id => 'o1')",
        "use_admins_from(NULL)",
        "set_organisation('o1', true)",
    ] {
        let (code, ..) = refused(client.batch_execute(&format!("SELECT audit.{call}")));
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{call}");
    }
}

#[test]
fn a_role_made_again_or_renamed_has_no_rights() {
    let (database, _) = with_events("again", &[Some("o1")], &[None]);
    let role = database.role("analyst", &["audit_reader"]);
    let mut owner = database.connect();
    let grant = format!("SELECT audit.grant_admin(db_role => '{role}', organisation_id => 'o1')");
    owner.batch_execute(&grant).unwrap();
    assert_eq!(read(&mut database.connect_as(&role)).len(), 1);

    // The name comes back under another OID.
    owner
        .batch_execute(&format!("DROP ROLE {role}; CREATE ROLE {role} LOGIN; GRANT audit_reader TO {role}"))
        .unwrap();
    assert_eq!(read(&mut database.connect_as(&role)).len(), 0);
    owner.batch_execute(&grant).unwrap();
    assert_eq!(read(&mut database.connect_as(&role)).len(), 1, "granted again");
    let rows: i64 = owner.query_one("SELECT count(*) FROM audit.admin", &[]).unwrap().get(0);
    assert_eq!(rows, 1);

    // The OID comes back under another name: a rename looks the same to who has only the OID.
    owner.batch_execute(&format!("ALTER ROLE {role} RENAME TO {role}_2")).unwrap();
    assert_eq!(read(&mut database.connect_as(&format!("{role}_2"))).len(), 0);
    owner.batch_execute(&format!("CREATE ROLE {role} LOGIN; GRANT audit_reader TO {role}")).unwrap();
    assert_eq!(read(&mut database.connect_as(&role)).len(), 0, "nor has who took the name");
}

#[test]
fn a_dump_carries_who_reads_what() {
    let (database, _) = with_events("rights_dump", &[None, Some("o1"), Some("o2")], &[None]);
    let app = database.role("app", &["audit_reader", "audit_writer"]);
    let analyst = database.role("analyst", &["audit_reader"]);
    database
        .connect()
        .batch_execute(&format!(
            "CREATE VIEW public.admins AS
                 SELECT 'of view'::text actor_id, 'o1'::text organisation_id, NULL::text project_id, false instance_owner;
             SELECT audit.use_admins_from('public.admins'), audit.grant_admin('of grant', organisation_id => 'o1'),
                    audit.grant_admin('without', organisation_id => 'o2'), audit.set_organisation('o2', false),
                    audit.grant_admin(db_role => '{analyst}', instance_owner => true)"
        ))
        .unwrap();
    let dump = Cluster::shared().run("pg_dump", &[&database.name], None);
    let copy = Database::create_empty("rights_copy");
    let output = copy.psql(&dump);
    assert!(!output.contains("ERROR"), "{output}");
    for database in [&database, &copy] {
        let mut client = database.connect_as(&app);
        for (actor, events) in [("of view", 1), ("of grant", 1), ("without", 0)] {
            client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
            assert_eq!(read(&mut client).len(), events, "{actor}");
        }
        assert_eq!(read(&mut database.connect_as(&analyst)).len(), 3);
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Grant {
    /// The actor, or else the role.
    actor: Option<String>,
    role: Option<String>,
    scope: Scope,
    instance_owner: Option<bool>,
}

/// Everything that rights come from, as the test believes it to be.
#[derive(Default, Debug)]
struct Model {
    granted: Vec<Grant>,
    source: Vec<Grant>,
    enterprise: Vec<(String, bool)>,
    default: bool,
}

impl Model {
    fn opens(&self, actor: &str, role: &str, event: &Scope) -> bool {
        let all = self.granted.iter().chain(&self.source);
        let mine = all.filter(|grant| match actor {
            "" => grant.role.as_deref() == Some(role),
            actor => grant.actor.as_deref() == Some(actor),
        });
        mine.into_iter().any(|grant| {
            let named = match (grant.scope.0.as_deref(), grant.scope.1.as_deref()) {
                // An empty id names nothing, and so does a pair with one: it is never wider than the pair.
                (Some(""), _) | (_, Some("")) | (None, None) => false,
                (Some(o), None) => event.0.as_deref() == Some(o) && self.is_enterprise(o),
                (None, Some(p)) => event.1.as_deref() == Some(p),
                (Some(o), Some(p)) => event.0.as_deref() == Some(o) && event.1.as_deref() == Some(p),
            };
            named || grant.instance_owner == Some(true)
        })
    }

    fn is_enterprise(&self, organisation: &str) -> bool {
        let own = self.enterprise.iter().find(|(id, _)| id == organisation);
        own.map_or(self.default, |(_, enterprise)| *enterprise)
    }
}

fn pick<'a>(random: &mut Random, from: &[Option<&'a str>]) -> Option<&'a str> {
    from[random.below(from.len() as u64) as usize]
}

const ORGANISATIONS: [Option<&str>; 6] = [None, Some("o1"), Some("o2"), Some("O1"), Some(""), Some("p1")];
const PROJECTS: [Option<&str>; 6] = [None, Some("p1"), Some("p2"), Some("p1 "), Some(""), Some("o1")];
const ACTORS: [Option<&str>; 5] = [None, Some("u1"), Some("u2"), Some("U1"), Some("7")];

fn random_source_row(random: &mut Random) -> Grant {
    Grant {
        actor: pick(random, &ACTORS).map(str::to_owned),
        role: None,
        scope: scope(pick(random, &ORGANISATIONS), pick(random, &PROJECTS)),
        instance_owner: [None, Some(false), Some(false), Some(false), Some(true)][random.below(5) as usize],
    }
}

#[test]
fn random_grants_open_what_a_plain_reading_says() {
    let (database, scopes) = with_events("oracle", &ORGANISATIONS, &PROJECTS);
    let roles = [database.role("r1", &["audit_reader"]), database.role("r2", &["audit_reader"])];
    let mut owner = database.connect();
    owner
        .batch_execute(
            "CREATE TABLE member (actor_id text, organisation_id text, project_id text, instance_owner boolean);
             CREATE VIEW admins AS SELECT * FROM member;
             SELECT audit.use_admins_from('admins');",
        )
        .unwrap();
    let seed = Random::new(0x4a).below(u64::MAX);
    println!("seed {seed}");
    let mut random = Random::seeded(seed);
    let mut model = Model::default();
    let mut opened = 0;
    for _ in 0..150 {
        change(&mut owner, &mut random, &mut model, &roles);
        for _ in 0..4 {
            let actor = pick(&mut random, &ACTORS).unwrap_or("");
            let role = &roles[random.below(2) as usize];
            model.default = random.below(2) == 0;
            let seen = as_principal(&mut owner, &mut random, actor, role, model.default, |client, random| {
                read_every_way(client, random, &scopes)
            });
            let expected = names(scopes.iter().filter(|event| model.opens(actor, role, event)));
            assert_eq!(seen, expected, "actor {actor:?}, role {role}, {model:#?}");
            opened += usize::from(!seen.is_empty() && seen.len() < scopes.len());
        }
    }
    assert!(opened > 50, "the test tells rights apart: {opened}");
}

/// Changes something that rights come from, here and in the model.
fn change(owner: &mut Client, random: &mut Random, model: &mut Model, roles: &[String]) {
    match random.below(4) {
        0 => {
            let actor = pick(random, &ACTORS).map(str::to_owned);
            let role = actor.is_none().then(|| roles[random.below(2) as usize].clone());
            let organisation = pick(random, &ORGANISATIONS).filter(|id| !id.is_empty());
            let project = pick(random, &PROJECTS).filter(|id| !id.is_empty());
            let instance_owner = organisation.is_none() && project.is_none();
            let grant = Grant {
                actor,
                role,
                scope: scope(organisation, project),
                instance_owner: Some(instance_owner),
            };
            let known = model.granted.iter().position(|other| *other == grant);
            let function = if known.is_some() { "revoke_admin" } else { "grant_admin" };
            let call = format!("SELECT audit.{function}($1, $2::text::regrole, $3, $4, $5)");
            owner
                .query(&call, &[&grant.actor, &grant.role, &organisation, &project, &instance_owner])
                .unwrap();
            match known {
                Some(at) => drop(model.granted.remove(at)),
                None => model.granted.push(grant),
            }
            // Few at a time, or somebody reads everything before long.
            if model.granted.len() > 4 {
                let all =
                    "SELECT audit.revoke_admin(actor_id, db_role::text::regrole, organisation_id, project_id,
                                                     instance_owner) FROM audit.admin";
                owner.query(all, &[]).unwrap();
                model.granted.clear();
            }
        }
        1 => {
            let rows: Vec<_> = (0..random.below(4)).map(|_| random_source_row(random)).collect();
            owner.batch_execute("TRUNCATE member").unwrap();
            for row in &rows {
                owner
                    .execute(
                        "INSERT INTO member VALUES ($1, $2, $3, $4)",
                        &[&row.actor, &row.scope.0, &row.scope.1, &row.instance_owner],
                    )
                    .unwrap();
            }
            model.source = rows;
        }
        _ => {
            let id = pick(random, &ORGANISATIONS).filter(|id| !id.is_empty()).unwrap_or("o1");
            let enterprise = [None, Some(true), Some(false)][random.below(3) as usize];
            owner.query("SELECT audit.set_organisation($1, $2)", &[&id, &enterprise]).unwrap();
            model.enterprise.retain(|(known, _)| known != id);
            model.enterprise.extend(enterprise.map(|enterprise| (id.to_owned(), enterprise)));
        }
    }
}

/// What the table shows, and what everything else that shows events agrees with.
fn read_every_way(client: &mut Client, random: &mut Random, scopes: &[Scope]) -> BTreeSet<String> {
    let seen = read(client);
    let with = |client: &mut Client, from: &str| {
        BTreeSet::from_iter(texts(client, &format!("SELECT resource_id FROM {from}")))
    };
    for from in [
        "audit.log(pattern => '*, -audit.*', max_rows => NULL)",
        "audit.log(pattern => 'a.*, x.y', max_rows => NULL)",
        "audit.log(pattern => '*, -audit.*', resource_type => 't', since => '-infinity', until => 'infinity', max_rows => 1000)",
        "audit.event WHERE audit_match(action, 'a.*')",
        "audit.event e WHERE e = ANY (ARRAY(SELECT l FROM audit.log(pattern => '*, -audit.*', max_rows => NULL) l))",
    ] {
        assert_eq!(with(client, from), seen, "{from}");
    }
    let matching = |wanted: &dyn Fn(&Scope) -> bool| -> BTreeSet<String> {
        names(scopes.iter().filter(|scope| wanted(scope))).intersection(&seen).cloned().collect()
    };
    assert_eq!(
        with(client, "audit.organisation_log WHERE action NOT LIKE 'audit.%'"),
        matching(&|scope| scope.0.is_some())
    );
    assert_eq!(
        with(client, "audit.project_log WHERE action NOT LIKE 'audit.%'"),
        matching(&|scope| scope.1.is_some())
    );

    // By scope, by resource, by page.
    let (organisation, project) = (pick(random, &ORGANISATIONS), pick(random, &PROJECTS));
    let rows = client
        .query(
            "SELECT resource_id FROM audit.log($1, $2, '*, -audit.*', max_rows => NULL)",
            &[&organisation, &project],
        )
        .unwrap();
    let expected = matching(&|scope| {
        organisation.is_none_or(|id| scope.0.as_deref() == Some(id))
            && project.is_none_or(|id| scope.1.as_deref() == Some(id))
    });
    assert_eq!(
        rows.iter().map(|row| row.get(0)).collect::<BTreeSet<String>>(),
        expected,
        "{organisation:?} {project:?}"
    );
    let one = &scopes[random.below(scopes.len() as u64) as usize];
    let name = names([one]).pop_first().unwrap();
    let history = client.query("SELECT 1 FROM audit.history('t', $1)", &[&name]).unwrap();
    assert_eq!(history.len(), usize::from(seen.contains(&name)), "{name}");
    let size = 1 + random.below(7) as i32;
    let (mut before, mut paged) = (None::<uuid::Uuid>, Vec::new());
    loop {
        let page = client
            .query(
                "SELECT event_id, resource_id FROM audit.log(pattern => '*, -audit.*', before => $1, max_rows => $2)",
                &[&before, &size],
            )
            .unwrap();
        paged.extend(page.iter().map(|row| row.get::<_, String>(1)));
        match page.last() {
            Some(last) => before = Some(last.get(0)),
            None => break,
        }
    }
    assert_eq!(paged.len(), seen.len());
    assert_eq!(BTreeSet::from_iter(paged), seen);
    seen
}

/// Reads as a principal, under plans that differ.
fn as_principal<R>(
    client: &mut Client,
    random: &mut Random,
    actor: &str,
    role: &str,
    enterprise: bool,
    read: impl FnOnce(&mut Client, &mut Random) -> R,
) -> R {
    let mode =
        ["READ WRITE", "READ ONLY", "ISOLATION LEVEL SERIALIZABLE READ ONLY"][random.below(3) as usize];
    // Plans that are switched off look dear, and what looks dear is compiled.
    let mut plan = "SET LOCAL jit = off;".to_owned();
    for (setting, one_in) in [("enable_seqscan", 2), ("enable_bitmapscan", 2), ("force_parallel_mode", 10)] {
        plan += &format!("SET LOCAL {setting} = {};", random.below(one_in) == 0);
    }
    client
        .batch_execute(&format!(
            "BEGIN {mode}; {plan} SET LOCAL audit.enterprise = {enterprise}; SET LOCAL audit.actor_id = '{actor}';
             SET LOCAL ROLE {role}"
        ))
        .unwrap();
    let result = read(client, random);
    client.batch_execute("COMMIT").unwrap();
    result
}

#[test]
fn a_table_that_inherits_from_the_tables_of_rights_grants_nothing() {
    let database = Database::create("heirs");
    let reader = database.role("reader", &["audit_reader"]);
    database
        .connect()
        .batch_execute(&format!(
            "CALL audit.maintain(); SELECT audit.record('a.b', 'a', '1');
             CREATE TABLE heir () INHERITS (audit.admin); ALTER TABLE heir OWNER TO {reader}"
        ))
        .unwrap();
    let mut client = database.connect_as(&reader);
    client
        .batch_execute(&format!(
            "INSERT INTO heir (db_role, db_role_oid, instance_owner) VALUES ('{reader}', '{reader}'::regrole, true)"
        ))
        .unwrap();
    assert!(texts(&mut client, "SELECT action FROM audit.event").is_empty());
}
