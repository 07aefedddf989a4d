//! In which organisation and project a row is: a column of its own, or of a row that foreign keys lead to.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;

use crate::pg::lookup::Lookup;
use crate::pg::output::Output;
use crate::pg::row::{Attribute, Row};
use crate::pg::session;
use crate::pg::value::OwnedValue;

/// Where a scope's text comes from.
pub struct Scope {
    /// The row's own column, from zero: the scope itself or the first foreign key.
    pub position: usize,
    key: Attribute,
    hops: Vec<Lookup>,
    output: Output,
    known: RefCell<Known>,
}

/// What foreign keys led to during one command. A bulk statement looks its parent up once.
#[derive(Default)]
struct Known {
    command: (u64, pg_sys::CommandId),
    texts: HashMap<Vec<u64>, Option<Vec<u8>>>,
}

/// So many parents are remembered at most.
const REMEMBERED: usize = 4096;

impl Scope {
    /// The scope in the column at `position`, whose description is `key`, or where `hops` lead from there.
    pub fn new(position: usize, key: Attribute, hops: Vec<Lookup>, output: Output) -> Self {
        Self { position, key, hops, output, known: RefCell::default() }
    }

    /// The column at `position`.
    pub fn source(&self) -> &Attribute {
        &self.key
    }

    /// The tables that the path leads through.
    pub fn tables(&self) -> impl Iterator<Item = pg_sys::Oid> {
        self.hops.iter().flat_map(|hop| hop.tables.iter().copied())
    }

    /// Whether both rows have the same value where the scope comes from, so that nothing need be looked up.
    pub fn same_source(&self, row: Row<'_>, other: &Self, other_row: Row<'_>) -> bool {
        match (row.get(self.position), other_row.get(other.position)) {
            (None, None) => true,
            (Some(a), Some(b)) => !self.key.differ(a, b),
            _ => false,
        }
    }

    /// Appends the scope's text to `buffer`; `false` where it is NULL or the path leads nowhere.
    pub fn push_text(&self, buffer: &mut Vec<u8>, row: Row<'_>) -> bool {
        let Some(value) = row.get(self.position) else {
            return false;
        };
        if self.hops.is_empty() {
            self.output.with_text(value, |text| buffer.extend_from_slice(text));
            return true;
        }
        let start = OwnedValue::copy(value, &self.key);
        let command = session::command();
        let known = self.known.try_borrow().ok().and_then(|known| {
            (known.command == command).then(|| known.texts.get(&start.words()).cloned())?
        });
        let text = known.unwrap_or_else(|| {
            let text = self.follow(start.clone());
            // What happened while following (another trigger's write) may already be another command.
            let mut known = self.known.borrow_mut();
            if known.command != command || known.texts.len() >= REMEMBERED {
                *known = Known { command, ..Known::default() };
            }
            known.texts.insert(start.words(), text.clone());
            text
        });
        text.map(|text| buffer.extend_from_slice(&text)).is_some()
    }

    fn follow(&self, start: OwnedValue) -> Option<Vec<u8>> {
        let end = self.hops.iter().try_fold(start, |key, hop| hop.find(key.value()))?;
        Some(self.output.with_text(end.value(), <[u8]>::to_vec))
    }
}
