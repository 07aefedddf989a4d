//! Tracked tables whose settings were found to fit them, until one of the tables that these lead along changes: DDL is
//! followed command by command, and most commands concern none of them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use pgrx::pg_sys;

/// What was found of a table.
#[derive(Default)]
pub struct Fit {
    /// The tables that the paths of its settings lead along, and itself.
    pub along: HashSet<pg_sys::Oid>,
    /// Whether a path leads nowhere yet, as in the middle of a restore.
    pub awaits_foreign_key: bool,
    /// Whether there are conditions, which name more than tables.
    pub has_conditions: bool,
}

thread_local! {
    static FITS: RefCell<HashMap<pg_sys::Oid, Fit>> = RefCell::new(HashMap::new());
    /// Counts changes, so that one that comes while a table is looked at is noticed.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Forgets what concerns `relation`, or all of it.
pub fn forget(relation: Option<pg_sys::Oid>) {
    CHANGES.set(changes() + 1);
    FITS.with_borrow_mut(|fits| match relation {
        Some(relation) => fits.retain(|_, fit| !fit.along.contains(&relation)),
        None => fits.clear(),
    });
}

/// Whether something that satisfies `enough` was found of `table` since it changed.
pub fn is_known(table: pg_sys::Oid, enough: impl FnOnce(&Fit) -> bool) -> bool {
    FITS.with_borrow(|fits| fits.get(&table).is_some_and(enough))
}

/// How many changes there were.
pub fn changes() -> u64 {
    CHANGES.get()
}

/// Keeps what was found of `table`, if nothing changed since there were `changes`.
pub fn remember(table: pg_sys::Oid, fit: Fit, changes: u64) {
    if changes == CHANGES.get() {
        FITS.with_borrow_mut(|fits| fits.insert(table, fit));
    }
}
