//! Finding one page of events by the log's indexes.
//!
//! Partitions are read newest first; once the page is full, only those that hold newer events than it. In each, the index
//! that fits is read: where it has the action before the id, from one action that occurs to the next, and of those
//! that the filter shows the newest events. So a page costs an index descent or so for each action that occurs, however
//! many events there are, and a filter that shows nothing costs no more.

use std::collections::BTreeMap;

use pgrx::PgSqlErrorCode;
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::log::{Expected, Query};
use crate::pg::event_columns::Column::EventId;
use crate::pg::event_reader::{Id, Index, Log, Partition, Place};
use crate::pg::event_set::EventSet;
use crate::pg::value::Text;
use crate::ways::{Leg, Then, WORTH, ways};

/// So many entries that are of no use are stepped over before a descent is cheaper.
const STEPS: usize = 16;

/// The page that `query` looks for.
pub fn read<'a>(log: &'a Log, query: &Query) -> Result<Page<'a>> {
    let mut ways = ways(query);
    let mut page = Page { partitions: &log.partitions, most: query.most, places: BTreeMap::new() };
    for (number, partition) in log.partitions.iter().enumerate() {
        // Ids decide what is on the page, whatever time they were given with: a partition that should have nothing to add
        // is asked for its newest id.
        match query.expects(partition.period) {
            Expected::None => continue,
            Expected::Some if page.floor().is_none() => {}
            _ => {
                let newest = ids(partition)?.turn_to(&[], query.newest);
                if !newest.is_some_and(|id| page.has_room_for(id, query)) {
                    continue;
                }
            }
        }
        for way in ways.iter_mut().filter(|way| way.left > 0) {
            let mut walk = Walk { query, page: &mut page, number, left: &mut way.left };
            if walk.follow(partition, &way.legs)? {
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

    /// Whether an event with this id, or an older one, can come onto the page.
    fn has_room_for(&self, id: Id, query: &Query) -> bool {
        id >= query.oldest && self.floor().is_none_or(|floor| id > floor)
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
    left: &'a mut usize,
}

impl Walk<'_, '_> {
    /// Whether all legs were followed to their end. What was found is found, in any case.
    fn follow(&mut self, partition: &Partition, legs: &[Leg]) -> Result<bool> {
        for leg in legs {
            // Where somebody dropped the index, all events are looked at.
            let Some(mut index) = partition.index(leg.columns) else {
                return Ok(self.read(&mut ids(partition)?, &[]));
            };
            for prefix in &leg.prefixes {
                let done = match leg.then {
                    Then::Id => self.read(&mut index, prefix),
                    Then::Action => self.query.ranges.iter().all(|(low, high)| {
                        let shown = |action: &[u8]| self.query.pattern.matches(action);
                        self.read_groups(&mut index, prefix, low, high.as_ref(), shown)
                    }),
                    Then::Text => {
                        self.read(&mut index, &[&**prefix, &[None]].concat())
                            && self.read_groups(&mut index, prefix, b"", None, |_| true)
                    }
                };
                if !done {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Reads the events whose text columns are `prefix`, newest first, as long as they come onto the page.
    fn read(&mut self, index: &mut Index<'_>, prefix: &[Option<Text>]) -> bool {
        let mut next = index.turn_to(prefix, self.query.newest);
        while let Some(id) = next.filter(|id| self.page.has_room_for(*id, self.query)) {
            check_for_interrupts!();
            if !self.look(index, id) {
                return false;
            }
            next = index.step();
        }
        true
    }

    /// Reads the events under `prefix` by the values of the next column from `low` on and before `high`, from the greatest
    /// to the least; of each that is `wanted`, as [`Self::read`] does.
    fn read_groups(
        &mut self,
        index: &mut Index<'_>,
        prefix: &[Option<Text>],
        low: &[u8],
        high: Option<&Text>,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let column = prefix.len();
        let mut next = index.turn_below(prefix, high);
        while let Some(mut id) = next {
            let Some(value) = index.value(column).filter(|value| *value >= low).map(Text::new) else { break };
            let wanted = wanted(value.bytes());
            let mut useless = 0;
            // The entries of this value, or as many as are worth it.
            next = loop {
                check_for_interrupts!();
                if wanted && id <= self.query.newest && self.page.has_room_for(id, self.query) {
                    useless = 0;
                    if !self.look(index, id) {
                        return false;
                    }
                } else if useless < STEPS {
                    useless += 1;
                } else {
                    // Further down there may be events that are old enough.
                    let whole = [prefix, &[Some(value.clone())]].concat();
                    if wanted && id > self.query.newest && !self.read(index, &whole) {
                        return false;
                    }
                    break index.turn_below(prefix, Some(&value));
                }
                match index.step() {
                    Some(older) if index.value(column) == Some(value.bytes()) => id = older,
                    next => break next,
                }
            };
        }
        true
    }

    /// Puts the event that the index stands on onto the page if it is looked for. Whether it was looked at.
    fn look(&mut self, index: &mut Index<'_>, id: Id) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        *self.left = left;
        if !self.page.places.contains_key(&(id, self.number))
            && let Some((event, place)) = index.event()
            && self.query.shows(&event)
        {
            self.page.add(id, self.number, place);
            *self.left = self.left.saturating_add(WORTH);
        }
        true
    }
}
