//! By which indexes a page of events can be found, and which of them is tried first.

use crate::log::Query;
use crate::pg::event_columns::Column::{self, *};
use crate::pg::value::Text;

/// Legs that together lead to everything that is looked for, and how many more events are looked at before the next way
/// is taken.
pub struct Way {
    /// One after the other.
    pub legs: Vec<Leg>,
    /// How many more events; each one that was looked for adds [`WORTH`].
    pub left: usize,
}

/// A way goes on where at least every so many of its events is one that is looked for.
pub const WORTH: usize = 20;

/// Where to look: an index, and under which values of its first columns.
pub struct Leg {
    /// The index's columns.
    pub columns: &'static [Column],
    /// Values of the first ones; `None` is NULL.
    pub prefixes: Vec<Vec<Option<Text>>>,
    /// What comes next.
    pub then: Then,
}

/// What comes after the prefix in the index.
#[derive(Clone, Copy)]
pub enum Then {
    /// The id.
    Id,
    /// The action, and then the id.
    Action,
    /// Any text, and then the id.
    Text,
}

/// So many events of an actor are looked at before it is looked for in the scope: it may be busy elsewhere.
const TRIED_FOR_ACTOR: usize = 100;
/// So many events of all scopes are looked at before the scopes are, each with so many descents: they may have a good part
/// of all events.
const TRIED_EVERYWHERE: usize = 100;
/// From so many scopes on, so many for each of them.
const MANY_SCOPES: usize = 16;
const TRIED_PER_SCOPE: usize = 10;

/// The ways to what is looked for, in the order in which they are tried; the last one has no limit.
pub fn ways(query: &Query) -> Vec<Way> {
    let way = |legs, left| Way { legs, left };
    if let Some(resource) = &query.resource {
        let resource = Some(resource.clone());
        let (prefix, then) = match &query.resource_type {
            Some(kind) => (vec![resource, Some(kind.clone())], Then::Id),
            None => (vec![resource], Then::Text),
        };
        let leg = Leg { columns: &[ResourceId, ResourceType, EventId], prefixes: vec![prefix], then };
        return vec![way(vec![leg], usize::MAX)];
    }
    let scopes = scopes(query);
    let mut ways = Vec::new();
    if let Some(actor) = &query.actor {
        let prefixes = vec![vec![Some(actor.clone())]];
        let left = if scopes.is_some() { TRIED_FOR_ACTOR } else { usize::MAX };
        ways.push(way(vec![Leg { columns: &[ActorId, EventId], prefixes, then: Then::Id }], left));
    }
    let Some(scopes) = scopes else {
        ways.push(way(vec![anywhere(query)], usize::MAX));
        return ways;
    };
    let count: usize = scopes.iter().map(|leg| leg.prefixes.len()).sum();
    if count >= MANY_SCOPES {
        ways.push(way(vec![anywhere(query)], count * TRIED_PER_SCOPE));
    } else if query.pattern.is_wide() {
        ways.push(way(vec![everywhere()], TRIED_EVERYWHERE));
    }
    ways.push(way(scopes, usize::MAX));
    ways
}

/// The way through all events, or all of the actions that the filter shows.
fn anywhere(query: &Query) -> Leg {
    if query.pattern.shows_all() {
        everywhere()
    } else {
        Leg { columns: &[Action, EventId], prefixes: vec![Vec::new()], then: Then::Action }
    }
}

fn everywhere() -> Leg {
    Leg { columns: &[EventId], prefixes: vec![Vec::new()], then: Then::Id }
}

/// The scopes in which to look: those that are asked for, among those that the session may read. `None` where neither
/// restricts.
fn scopes(query: &Query) -> Option<Vec<Leg>> {
    let leg = |columns, ids: Vec<Text>| Leg {
        columns,
        prefixes: ids.into_iter().map(|id| vec![Some(id)]).collect(),
        then: Then::Action,
    };
    let organisations = |ids| leg(&[OrganisationId, Action, EventId], ids);
    let projects = |ids| leg(&[ProjectId, Action, EventId], ids);
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
        // Which organisation a project is in, only its events tell.
        (_, Some(project)) if organisation.map_or(!rights.organisations.is_empty(), administers) => {
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
