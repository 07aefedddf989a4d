//! Finding one page of events by the log's indexes.
//!
//! Partitions are read newest first, until the page is full and the next one holds only older events. In each, the
//! index that fits is read: where it has the action before the id, the actions that occur are found by skipping from
//! one to the next, and of those that the filter shows the newest events are read. So a page costs a few index
//! descents for each action that occurs, however many events there are, and a filter that shows nothing no more.

use std::collections::BTreeMap;

use pgrx::PgSqlErrorCode;
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::log::Query;
use crate::pg::event_columns::Column::{self, *};
use crate::pg::event_reader::{Id, Index, Log, Partition, Place};
use crate::pg::event_set::EventSet;
use crate::pg::value::Text;

/// Where to look: an index, and which values of its text columns.
struct Leg {
    columns: &'static [Column],
    values: Vec<Values>,
}

/// Which values of a column.
enum Values {
    /// These.
    These(Vec<Text>),
    /// Actions that the filter shows.
    Shown,
    /// All that occur, NULL included.
    Any,
}

use Values::{Any, Shown, These};

/// Legs that together lead to everything that is looked for, and how many events may be looked at until it turns out
/// that another way is better.
struct Way {
    legs: Vec<Leg>,
    most: usize,
}

/// An actor with more events than that in a month is looked for in the scope.
const BUSY_ACTOR: usize = 1_000;
/// From so many scopes on it is worth trying whether the newest events are in them.
const MANY_SCOPES: usize = 16;
/// And for each of them so many events.
const TRIED_PER_SCOPE: usize = 40;

/// The page that `query` looks for.
pub fn read<'a>(log: &'a Log, query: &Query) -> Result<Page<'a>> {
    let ways = ways(query);
    let mut page = Page { partitions: &log.partitions, most: query.most, places: BTreeMap::new() };
    let mut newest = Vec::with_capacity(log.partitions.len());
    for (number, partition) in log.partitions.iter().enumerate() {
        let mut ids = ids(partition)?;
        ids.turn_to(&[], query.newest);
        newest.extend(ids.next_id().filter(|id| *id >= query.oldest).map(|id| (id, number)));
    }
    newest.sort_unstable_by(|a, b| b.cmp(a));
    for (id, number) in newest {
        if page.floor().is_some_and(|floor| id < floor) {
            break;
        }
        for way in &ways {
            let mut walk = Walk { query, page: &mut page, number, left: way.most };
            if walk.follow(&log.partitions[number], way)? {
                break;
            }
        }
    }
    Ok(page)
}

/// The index on events' ids that every partition has.
fn ids(partition: &Partition) -> Result<Index<'_>> {
    partition.index(&[EventId]).ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("partition {} has no index on event_id", partition.name()),
        )
        .hint("Make it again: ALTER TABLE ... ADD PRIMARY KEY (event_id).")
    })
}

/// The ways to what is looked for, in the order in which they are tried; the last one has no limit.
fn ways(query: &Query) -> Vec<Way> {
    let way = |legs, most| Way { legs, most };
    let these = |text: &Text| These(vec![text.clone()]);
    if let Some(resource) = &query.resource {
        let kind = query.resource_type.as_ref().map_or(Any, these);
        let leg = Leg { columns: &[ResourceId, ResourceType, EventId], values: vec![these(resource), kind] };
        return vec![way(vec![leg], usize::MAX)];
    }
    let scopes = scopes(query);
    let mut ways = Vec::new();
    if let Some(actor) = &query.actor {
        let most = if scopes.is_some() { BUSY_ACTOR } else { usize::MAX };
        ways.push(way(vec![Leg { columns: &[ActorId, EventId], values: vec![these(actor)] }], most));
    }
    let Some(scopes) = scopes else {
        ways.push(way(vec![anywhere(query)], usize::MAX));
        return ways;
    };
    let count: usize = scopes.iter().map(Leg::scopes).sum();
    if count >= MANY_SCOPES {
        ways.push(way(vec![anywhere(query)], count * TRIED_PER_SCOPE));
    }
    ways.push(way(scopes, usize::MAX));
    ways
}

/// The way through all events, or all of the actions that the filter shows.
fn anywhere(query: &Query) -> Leg {
    if query.pattern.shows_all() {
        Leg { columns: &[EventId], values: Vec::new() }
    } else {
        Leg { columns: &[Action, EventId], values: vec![Shown] }
    }
}

/// The scopes in which to look: those that are asked for, among those that the session may read. `None` where neither
/// restricts.
fn scopes(query: &Query) -> Option<Vec<Leg>> {
    let organisations =
        |ids| Leg { columns: &[OrganisationId, Action, EventId], values: vec![These(ids), Shown] };
    let projects = |ids| Leg { columns: &[ProjectId, Action, EventId], values: vec![These(ids), Shown] };
    let (organisation, project) = (query.organisation.as_ref(), query.project.as_ref());
    let Some(rights) = &query.rights else {
        return match (organisation, project) {
            (_, Some(project)) => Some(vec![projects(vec![project.clone()])]),
            (Some(organisation), None) => Some(vec![organisations(vec![organisation.clone()])]),
            (None, None) => None,
        };
    };
    let of_pairs = rights.pairs.iter().filter(|pair| organisation.is_none_or(|wanted| pair.0 == *wanted));
    let mut readable: Vec<Text> =
        of_pairs.map(|pair| pair.1.clone()).chain(rights.projects.iter().cloned()).collect();
    readable.sort();
    readable.dedup();
    let administers = |wanted: &Text| rights.organisations.binary_search(wanted).is_ok();
    Some(match (organisation, project) {
        // The project's organisation is known only from its events.
        (None, Some(project)) if !rights.organisations.is_empty() => vec![projects(vec![project.clone()])],
        (Some(organisation), Some(project)) if administers(organisation) => {
            vec![projects(vec![project.clone()])]
        }
        (_, Some(project)) => {
            readable.retain(|readable| readable == project);
            vec![projects(readable)]
        }
        (Some(organisation), None) if administers(organisation) => {
            vec![organisations(vec![organisation.clone()])]
        }
        (Some(_), None) => vec![projects(readable)],
        (None, None) => vec![organisations(rights.organisations.clone()), projects(readable)],
    })
}

impl Leg {
    /// How many values of the first column it names.
    fn scopes(&self) -> usize {
        match self.values.first() {
            Some(These(ids)) => ids.len(),
            _ => 0,
        }
    }
}

/// Events found so far: the newest, as many as the page has.
pub struct Page<'a> {
    partitions: &'a [Partition],
    most: usize,
    /// By id and, should two have the same, the partition's number.
    places: BTreeMap<(Id, usize), Place>,
}

impl Page<'_> {
    /// The oldest event's id, once the page is full.
    fn floor(&self) -> Option<Id> {
        if self.places.len() < self.most { None } else { self.places.keys().next().map(|(id, _)| *id) }
    }

    fn add(&mut self, id: Id, number: usize, place: Place) {
        self.places.insert((id, number), place);
        if self.places.len() > self.most {
            self.places.pop_first();
        }
    }

    /// Puts its events into `set`, newest first.
    pub fn show(&self, set: &mut EventSet) {
        let mut columns: Vec<Option<Vec<Option<usize>>>> = vec![None; self.partitions.len()];
        for ((_, number), place) in self.places.iter().rev() {
            check_for_interrupts!();
            let partition = &self.partitions[*number];
            let columns = columns[*number].get_or_insert_with(|| set.columns_in(partition));
            if let Some(event) = partition.event_at(*place) {
                set.push(&event, columns);
            }
        }
    }
}

/// A walk through one partition.
struct Walk<'a, 'b> {
    query: &'a Query,
    page: &'a mut Page<'b>,
    number: usize,
    /// How many more events may be looked at.
    left: usize,
}

impl Walk<'_, '_> {
    /// Whether the way was followed to its end. What was found is found, in any case.
    fn follow(&mut self, partition: &Partition, way: &Way) -> Result<bool> {
        for leg in &way.legs {
            // Where somebody dropped the index, all events are looked at.
            let done = match partition.index(leg.columns) {
                Some(mut index) => self.walk(&mut index, &leg.values, &mut Vec::new()),
                None => self.walk(&mut ids(partition)?, &[], &mut Vec::new()),
            };
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the events of each combination of values, which `prefix` begins.
    fn walk(&mut self, index: &mut Index<'_>, values: &[Values], prefix: &mut Vec<Option<Text>>) -> bool {
        let Some((first, rest)) = values.split_first() else {
            return self.read(index, prefix);
        };
        let query = self.query;
        let mut step = |index: &mut Index<'_>, prefix: &mut Vec<Option<Text>>, value| {
            prefix.push(value);
            let done = self.walk(index, rest, prefix);
            prefix.pop();
            done
        };
        match first {
            These(list) => list.iter().all(|value| step(index, prefix, Some(value.clone()))),
            Shown => query.pattern.ranges().iter().all(|range| {
                let in_range = |value: &Text| range.contains(value.bytes());
                occurring(&range.low, index, prefix, &mut step, in_range, |value| {
                    query.pattern.matches(value.bytes())
                })
            }),
            Any => occurring(b"", index, prefix, &mut step, |_| true, |_| true) && step(index, prefix, None),
        }
    }

    /// Reads the events whose text columns are `prefix`, newest first, as long as they come onto the page.
    fn read(&mut self, index: &mut Index<'_>, prefix: &[Option<Text>]) -> bool {
        index.turn_to(prefix, self.query.newest);
        while let Some(id) = index.next_id() {
            check_for_interrupts!();
            if id < self.query.oldest || self.page.floor().is_some_and(|floor| id <= floor) {
                break;
            }
            let Some(left) = self.left.checked_sub(1) else { return false };
            self.left = left;
            if !self.page.places.contains_key(&(id, self.number))
                && let Some((event, place)) = index.event()
                && self.query.shows(&event)
            {
                self.page.add(id, self.number, place);
            }
        }
        true
    }
}

/// Takes a step for each value of the next column that occurs from `low` on while `in_range` holds and that is `wanted`,
/// skipping from one to the next. Whether all were taken.
fn occurring(
    low: &[u8],
    index: &mut Index<'_>,
    prefix: &mut Vec<Option<Text>>,
    step: &mut impl FnMut(&mut Index<'_>, &mut Vec<Option<Text>>, Option<Text>) -> bool,
    in_range: impl Fn(&Text) -> bool,
    wanted: impl Fn(&Text) -> bool,
) -> bool {
    let mut from = Text::new(low);
    while let Some(value) = index.value_from(prefix, &from).filter(&in_range) {
        check_for_interrupts!();
        // The least text after it.
        from = Text::new(&[value.bytes(), b"\0"].concat());
        if wanted(&value) && !step(index, prefix, Some(value)) {
            return false;
        }
    }
    true
}
