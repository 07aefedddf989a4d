//! In which organisation and project a row is: a column of its own, or of a row that foreign keys lead to.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;

use crate::pg::lookup::Lookup;
use crate::pg::output::Output;
use crate::pg::row::{Attribute, Row, Written};
use crate::pg::session;
use crate::pg::value::OwnedValue;

/// Where a scope's text comes from.
pub struct Scope {
    /// The row's own columns and their positions: the scope itself or the first foreign key.
    pub sources: Vec<(usize, Attribute)>,
    hops: Vec<Lookup>,
    output: Output,
    known: RefCell<Known>,
}

/// What foreign keys led to during one command. A bulk statement looks its parent up once.
#[derive(Default)]
struct Known {
    command: (u64, pg_sys::CommandId),
    texts: HashMap<Start, Option<Vec<u8>>>,
}

/// The key that a path begins with, and of a row that is no more when it was written.
type Start = (Vec<u64>, Option<Written>);

/// So many parents are remembered at most.
const REMEMBERED: usize = 4096;

impl Scope {
    /// The scope in the one column of `sources`, or where `hops` lead from these columns.
    pub fn new(sources: Vec<(usize, Attribute)>, hops: Vec<Lookup>, output: Output) -> Self {
        Self { sources, hops, output, known: RefCell::default() }
    }

    /// The tables that the path leads through.
    pub fn tables(&self) -> impl Iterator<Item = pg_sys::Oid> {
        self.hops.iter().flat_map(|hop| hop.tables.iter().copied())
    }

    /// Whether both rows have the same values where the scope comes from, so that nothing need be looked up.
    pub fn same_source(&self, row: Row<'_>, other: &Self, other_row: Row<'_>) -> bool {
        self.sources.iter().zip(&other.sources).all(|((position, attribute), (other_position, _))| {
            match (row.get(*position), other_row.get(*other_position)) {
                (None, None) => true,
                (Some(a), Some(b)) => !attribute.differ(a, b),
                _ => false,
            }
        })
    }

    /// Appends the scope's text to `buffer`; `false` where it is NULL or the path leads nowhere. `was_written`: of a row that is no
    /// more, when it was written: it was where the path led until then.
    pub fn push_text(&self, buffer: &mut Vec<u8>, row: Row<'_>, was_written: Option<Written>) -> bool {
        if self.hops.is_empty() {
            let Some(value) = row.get(self.sources[0].0) else {
                return false;
            };
            self.output.with_text(value, |text| buffer.extend_from_slice(text));
            return true;
        }
        let copy = |(position, attribute): &(usize, Attribute)| {
            Some(OwnedValue::copy(row.get(*position)?, attribute))
        };
        let Some(start) = self.sources.iter().map(copy).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let from: Start = (start.iter().flat_map(OwnedValue::words).collect(), was_written);
        let command = session::command();
        let known = self
            .known
            .try_borrow()
            .ok()
            .and_then(|known| (known.command == command).then(|| known.texts.get(&from).cloned())?);
        let text = known.unwrap_or_else(|| {
            let text = self.follow(start, was_written);
            // What happened while following (another trigger's write) may already be another command.
            let mut known = self.known.borrow_mut();
            if known.command != command || known.texts.len() >= REMEMBERED {
                *known = Known { command, ..Known::default() };
            }
            known.texts.insert(from, text.clone());
            text
        });
        text.map(|text| buffer.extend_from_slice(&text)).is_some()
    }

    fn follow(&self, start: Vec<OwnedValue>, was_written: Option<Written>) -> Option<Vec<u8>> {
        let (end, _) = self.hops.iter().try_fold((start, was_written), |(key, was_written), hop| {
            let (columns, written) = hop.find(&key, was_written)?;
            Some((columns, was_written.map(|_| written)))
        })?;
        Some(self.output.with_text(end[0].value(), <[u8]>::to_vec))
    }
}
