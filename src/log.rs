//! `audit.log` and `audit.history`: one page of the log, newest first, of what the session may read.

use audit_core::event_id;
use audit_core::pattern::Pattern;
use pgrx::PgSqlErrorCode;

use crate::error::{Error, Result, shortened};
use crate::matching;
use crate::page;
use crate::pg::catalog::to_utf8;
use crate::pg::event_columns::Column;
use crate::pg::event_months::Period;
use crate::pg::event_reader::{Event, Id, Log};
use crate::pg::event_set::EventSet;
use crate::pg::session;
use crate::pg::value::{Text, stored_identifier};
use crate::rights::Rights;

/// The arguments of `audit.log`, in order; `None` restricts nothing.
#[derive(Default)]
pub struct Arguments {
    /// The organisation.
    pub organisation_id: Option<Text>,
    /// The project.
    pub project_id: Option<Text>,
    /// The filter; `None` and blank are the default of where one looks.
    pub pattern: Option<Text>,
    /// The last event of the page above.
    pub before: Option<[u8; 16]>,
    /// How many events at most.
    pub max_rows: Option<i32>,
    /// Who did it.
    pub actor_id: Option<Text>,
    /// The kind of resource.
    pub resource_type: Option<Text>,
    /// Which one.
    pub resource_id: Option<Text>,
    /// From this timestamptz on.
    pub since: Option<i64>,
    /// Before this timestamptz.
    pub until: Option<i64>,
}

/// What is looked for.
pub struct Query {
    /// The organisation.
    pub organisation: Option<Text>,
    /// The project.
    pub project: Option<Text>,
    /// The filter on actions.
    pub pattern: Pattern,
    /// Where what it shows is among all actions: from the one on, and before the other.
    pub ranges: Vec<(Vec<u8>, Option<Text>)>,
    /// Who did it.
    pub actor: Option<Text>,
    /// The kind of resource.
    pub resource_type: Option<Text>,
    /// Which one.
    pub resource: Option<Text>,
    /// The least id.
    pub oldest: Id,
    /// The greatest id.
    pub newest: Id,
    /// When it occurred: from this timestamptz on.
    pub since: Option<i64>,
    /// And before this one.
    pub until: Option<i64>,
    /// How many events at most.
    pub most: usize,
    /// What the session may read; `None` is everything.
    pub rights: Option<Rights>,
}

impl Query {
    /// Whether events of `partition` can be looked for, and whether they are newer than that by their ids, as they are when
    /// the two agree.
    pub fn expects(&self, partition: Option<Period>) -> Expected {
        match partition {
            None => Expected::Some,
            Some((_, end)) if self.since.is_some_and(|since| end <= since) => Expected::None,
            Some((start, _)) if self.until.is_some_and(|until| start >= until) => Expected::None,
            Some((start, _)) if first_id_at(start) > self.newest => Expected::Newer,
            Some(_) => Expected::Some,
        }
    }

    /// Whether an event is what is looked for, and the session may read it.
    pub fn shows(&self, event: &Event<'_>) -> bool {
        let is = |column, wanted: &Option<Text>| {
            wanted.as_ref().is_none_or(|wanted| event.text(column) == Some(wanted.bytes()))
        };
        is(Column::OrganisationId, &self.organisation)
            && is(Column::ProjectId, &self.project)
            && is(Column::ActorId, &self.actor)
            && is(Column::ResourceType, &self.resource_type)
            && is(Column::ResourceId, &self.resource)
            && event.text(Column::Action).is_some_and(|action| self.pattern.matches(action))
            && self.since.is_none_or(|since| event.occurred_at() >= since)
            && self.until.is_none_or(|until| event.occurred_at() < until)
            && self.rights.as_ref().is_none_or(|rights| {
                rights.open(event.text(Column::OrganisationId), event.text(Column::ProjectId))
            })
    }
}

/// What a partition may hold of what is looked for.
#[derive(PartialEq, Eq)]
pub enum Expected {
    /// Nothing, by the time its events occurred.
    None,
    /// Hardly anything: its ids should be greater.
    Newer,
    /// Something.
    Some,
}

/// The least id of an event at a time.
fn first_id_at(time: i64) -> Id {
    Id::from_be_bytes(event_id::first_at(session::micros(time)))
}

/// Puts the page into `set`.
pub fn log(arguments: Arguments, set: &mut EventSet) -> Result<()> {
    let log = Log::open()?;
    let Some(query) = query(arguments, &log)? else { return Ok(()) };
    page::read(&log, &query)?.show(set);
    Ok(())
}

/// Puts the page of one resource's events, whatever happened to it, into `set`.
pub fn history(
    resource_type: Option<Text>,
    resource_id: Option<Text>,
    before: Option<[u8; 16]>,
    max_rows: Option<i32>,
    set: &mut EventSet,
) -> Result<()> {
    for (name, given) in [("resource_type", &resource_type), ("resource_id", &resource_id)] {
        if given.is_none() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("{name} is NULL"),
            )
            .hint("Name one resource, such as audit.history('datasource', '7'); audit.log looks for more."));
        }
    }
    let pattern = Some(Text::new(b"*"));
    log(Arguments { resource_type, resource_id, before, max_rows, pattern, ..Arguments::default() }, set)
}

/// What is looked for; `None` where there can be nothing.
fn query(given: Arguments, log: &Log) -> Result<Option<Query>> {
    let pattern = given.pattern.filter(|pattern| !pattern.bytes().trim_ascii().is_empty());
    let in_project = given.project_id.is_some();
    let pattern = pattern.unwrap_or_else(|| Text::new(matching::default_pattern(in_project).as_bytes()));
    let pattern = Pattern::parse(pattern.bytes()).map_err(|problem| {
        Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("pattern \"{}\" is malformed: {problem}", shortened(&to_utf8(pattern.bytes()))),
        )
        .hint(
            "A pattern is made of actions with *, separated by commas, such as 'entity.*, -entity.updated'.",
        )
    })?;
    let most = match given.max_rows {
        None => usize::MAX,
        Some(rows) => usize::try_from(rows).map_err(|_| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
                format!("max_rows is {rows}"),
            )
            .hint("Pass how many events to return at most, or NULL for all.")
        })?,
    };
    let rights = allowed(log)?;
    let below = |bound: Option<Id>| bound.map_or(Some(Id::MAX), |bound| bound.checked_sub(1));
    let (Some(page), Some(period)) =
        (below(given.before.map(Id::from_be_bytes)), below(given.until.map(first_id_at)))
    else {
        return Ok(None);
    };
    let query = Query {
        organisation: given.organisation_id.map(stored_identifier),
        project: given.project_id.map(stored_identifier),
        ranges: pattern
            .ranges()
            .into_iter()
            .map(|range| (range.low, range.high.as_deref().map(Text::new)))
            .collect(),
        pattern,
        actor: given.actor_id.map(stored_identifier),
        resource_type: given.resource_type.map(stored_identifier),
        resource: given.resource_id.map(stored_identifier),
        since: given.since,
        until: given.until,
        oldest: given.since.map_or(0, first_id_at),
        newest: page.min(period),
        most,
        rights,
    };
    Ok((most > 0 && query.oldest <= query.newest).then_some(query))
}

/// What the session may read; `None` is everything. The policy of `audit.event` says the same to other queries.
fn allowed(log: &Log) -> Result<Option<Rights>> {
    if !log.may_be_selected() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied for table audit.event",
        )
        .hint("Ask a superuser for GRANT audit_reader TO your role."));
    }
    if !log.has_row_security() {
        return Ok(None);
    }
    if !log.has_own_policy() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "audit.event has other policies than the extension's",
        )
        .hint("Select from audit.event, which goes by them, or drop the policies that were added and put back what was altered."));
    }
    let rights = Rights::of_session()?;
    Ok((!rights.instance_owner).then_some(rights))
}
