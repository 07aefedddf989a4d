//! Who reads, and what they ask.

use std::time::{Duration, SystemTime};

use postgres::Client;
use postgres::types::ToSql;
use serde::Serialize;
use uuid::Uuid;

use crate::fill::{LARGE, PROJECTS, RARE, SMALL, SPAN};

/// Rows of a page.
pub const PAGE: i32 = 50;
/// The filters, and how long their answers may take.
const FILTERS: [(&str, Bound); 8] = [
    ("organisation.*", Bound::Page),
    ("*", Bound::Page),
    ("entity.*", Bound::Page),
    ("*.deleted", Bound::Page),
    ("organisation.*, -organisation.user.*", Bound::Page),
    (RARE, Bound::Little),
    ("nothing.*", Bound::Little),
    ("*.nothing", Bound::Little),
];
/// The filter of an empty field, where no project is given.
static DEFAULT: &str = "organisation.*";

/// A parameter of a query.
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Somebody who reads.
pub struct Reader {
    /// The actor's id.
    pub actor: &'static str,
    /// What was granted.
    pub rights: Rights,
}

/// What a reader may see.
pub enum Rights {
    /// An organisation's events.
    Organisation(String),
    /// Events of some projects.
    Projects(Vec<String>),
    /// Everything.
    Instance,
}

/// How long an answer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Bound {
    /// A page of a given organisation or project.
    Page,
    /// The same where there is little or nothing to find.
    Little,
    /// A page of everything that is in a hundred projects.
    HundredProjects,
    /// Nothing was promised.
    Open,
}

/// A call of `audit.log` or `audit.history`.
#[derive(Serialize)]
pub struct Question {
    /// Who asks, for the report.
    pub who: &'static str,
    /// The reader's number.
    pub reader: usize,
    /// What is asked, for the report.
    pub what: String,
    /// Rows of the pages above the one that is asked for.
    pub above: i64,
    /// How long it may take.
    pub bound: Bound,
    /// The arguments, but for `before` and `max_rows`.
    #[serde(skip)]
    pub arguments: Arguments,
}

/// What is given; what is not restricts nothing.
#[derive(Clone, Default)]
pub struct Arguments {
    /// The resource of `audit.history`, its type and its id; without it, `audit.log` is called.
    pub history: Option<(&'static str, String)>,
    organisation: Option<String>,
    project: Option<String>,
    pattern: Option<&'static str>,
    actor: Option<String>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl Question {
    /// The parameters of the prepared call: all of `audit.log`, or of `audit.history`.
    pub fn call<'a>(&'a self, before: &'a Option<Uuid>) -> Vec<Parameter<'a>> {
        let Arguments { history, organisation, project, pattern, actor, since, until } = &self.arguments;
        match history {
            Some((kind, id)) => vec![kind, id, before, &PAGE],
            None => vec![organisation, project, pattern, before, &PAGE, actor, since, until],
        }
    }

    /// The same in plain SQL: its conditions and their parameters. Where no scope is given, the `rights` stand for it.
    pub fn plain<'a>(
        &'a self,
        before: &'a Option<Uuid>,
        rights: Option<&'a Rights>,
    ) -> (String, Vec<Parameter<'a>>) {
        let (mut conditions, mut parameters) = (vec!["true".to_owned()], Vec::<Parameter>::new());
        let mut add = |condition: &str, parameter| {
            parameters.push(parameter);
            conditions.push(condition.replace('?', &format!("${}", parameters.len())));
        };
        let Arguments { history, organisation, project, pattern, actor, since, until } = &self.arguments;
        match (organisation, project, rights) {
            (Some(organisation), _, _) | (None, None, Some(Rights::Organisation(organisation))) => {
                add("organisation_id = ?", organisation);
            }
            (_, Some(project), _) => add("project_id = ?", project),
            (_, _, Some(Rights::Projects(projects))) => add("project_id = ANY (?)", projects),
            (_, _, Some(Rights::Instance) | None) => {}
        }
        match (history, pattern) {
            (Some((kind, id)), _) => {
                add("resource_type = ?", kind);
                add("resource_id = ?", id);
            }
            (None, Some(pattern)) => add("audit_match(action, ?)", pattern),
            (None, None) => add("audit_match(action, ?)", &DEFAULT),
        }
        if let Some(before) = before {
            add("event_id < ?", before);
        }
        if let Some(actor) = actor {
            add("actor_id = ?", actor);
        }
        if let (Some(since), Some(until)) = (since, until) {
            add("occurred_at >= ?", since);
            add("occurred_at < ?", until);
        }
        let conditions = conditions.join(" AND ");
        (format!("FROM audit.event WHERE {conditions} ORDER BY event_id DESC"), parameters)
    }
}

/// The readers. Their numbers are in `questions`.
pub fn readers(client: &mut Client) -> Vec<Reader> {
    let organisation = |client: &mut Client, project: i32| {
        Rights::Organisation(name(client, "SELECT organisation($1)", &[&project]))
    };
    let projects =
        (0..PROJECTS).step_by(100).map(|number| name(client, "SELECT project($1)", &[&number])).collect();
    vec![
        Reader { actor: "large", rights: organisation(client, LARGE) },
        Reader { actor: "projects", rights: Rights::Projects(projects) },
        Reader { actor: "owner", rights: Rights::Instance },
        Reader { actor: "small", rights: organisation(client, SMALL) },
    ]
}

/// Everything that is asked of a log that begins at `begin`.
pub fn questions(client: &mut Client, begin: SystemTime) -> Vec<Question> {
    let mut questions = Vec::new();
    for (who, reader, number, in_project) in [
        ("organisation admin", 0, LARGE, false),
        ("project admin", 1, LARGE, true),
        ("instance owner", 2, LARGE, false),
        ("admin of a small organisation", 3, SMALL, false),
        ("project admin, small project", 1, SMALL, true),
    ] {
        let organisation = name(client, "SELECT organisation($1)", &[&number]);
        let project = name(client, "SELECT project($1)", &[&number]);
        let person = name(client, "SELECT person($1, 0)", &[&organisation]);
        let entity = name(client, "SELECT resource($1, 'entity', 0)", &[&project]);
        let scope = if in_project {
            Arguments { project: Some(project), ..Arguments::default() }
        } else {
            Arguments { organisation: Some(organisation), ..Arguments::default() }
        };
        let mut ask = |what: String, page: i64, bound: Bound, arguments: Arguments| {
            let above = (page - 1) * i64::from(PAGE);
            questions.push(Question { who, reader, what, above, bound, arguments });
        };

        for (pattern, bound) in FILTERS {
            let arguments = Arguments { pattern: Some(pattern), ..scope.clone() };
            // Organisation-level events belong to no project, and a small scope has few events.
            let found = bound == Bound::Page && !(in_project && pattern.starts_with("organisation"));
            ask(format!("`{pattern}`"), 1, bound, arguments.clone());
            if found && number == LARGE {
                ask(format!("`{pattern}`, page 10"), 10, bound, arguments);
            }
        }
        let all = Arguments { pattern: Some("*"), ..scope };
        let since = begin + SPAN / 2;
        let until = since + Duration::from_secs(7 * 24 * 3600);
        let week = Arguments { since: Some(since), until: Some(until), ..all.clone() };
        ask("a week a year ago".into(), 1, Bound::Page, week);
        let person = Arguments { actor: Some(person), ..all.clone() };
        ask("last 50 of a person".into(), 1, Bound::Page, person);
        let system = Arguments { actor: Some("system".into()), ..all };
        ask("last 50 of `system`".into(), 1, Bound::Page, system);
        let history = Arguments { history: Some(("entity", entity)), ..Arguments::default() };
        ask("history of an entity".into(), 1, Bound::Page, history);
    }
    for (who, reader, bound) in [
        ("project admin", 1, Bound::HundredProjects),
        ("organisation admin", 0, Bound::Open),
        ("instance owner", 2, Bound::Open),
    ] {
        for pattern in [Some("*"), None] {
            let what =
                format!("no scope, {}", pattern.map_or("no filter".into(), |pattern| format!("`{pattern}`")));
            let arguments = Arguments { pattern, ..Arguments::default() };
            questions.push(Question { who, reader, what, above: 0, bound, arguments });
        }
    }
    questions
}

fn name(client: &mut Client, query: &str, parameters: &[Parameter]) -> String {
    client.query_one(query, parameters).expect("a name").get(0)
}
