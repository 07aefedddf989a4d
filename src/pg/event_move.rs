//! Moving events from one partition to another.
//!
//! Below SQL: triggers, rules and policies that somebody put on the log have no part in it, so that nothing rides along, and
//! the log's guards need no exception. What checks and indexes call runs as with any event, and is guarded against.

use std::ops::Range;

use pgrx::{PgSqlErrorCode, pg_sys};

use super::catalog;
use super::event_columns::{self, Column};
use super::event_table::insert_row;
use super::output::PlanMemory;
use super::row::{Attribute, Row, attributes};
use crate::error::{Error, Result};

/// Moves the events of `times`, in microseconds of a timestamptz, from the table `from` to `to`, which was made LIKE it. Each
/// is inserted and deleted, or all of it fails.
pub fn move_events(from: pg_sys::Oid, to: pg_sys::Oid, times: Range<i64>) -> Result<()> {
    // SAFETY: everything opened is closed, in reverse order; after an error the transaction's abort does it. The slots are of
    // the tables' own rows. The snapshot is taken once what this transaction wrote is visible, and the deletions are made visible
    // to what follows. What a row takes is freed before the next one.
    unsafe {
        pg_sys::CommandCounterIncrement();
        let lock = pg_sys::RowExclusiveLock as i32;
        let (source, target) = (pg_sys::table_open(from, lock), pg_sys::table_open(to, lock));
        let columns = columns(source, target)?;
        let time = event_columns::positions((*source).rd_att)?[Column::OccurredAt as usize];
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::table_beginscan(source, snapshot, 0, std::ptr::null_mut());
        let found = pg_sys::table_slot_create(source, std::ptr::null_mut());
        let moved = pg_sys::MakeSingleTupleTableSlot((*target).rd_att, &pg_sys::TTSOpsVirtual);
        let memory = RowMemory::enter();
        while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, found) {
            pgrx::check_for_interrupts!();
            let row = Row::in_slot(found);
            if row.get(time).is_some_and(|time| times.contains(&(time.datum().value() as i64))) {
                check_referenced(source)?;
                let row = row.rearranged((*(*target).rd_att).natts as usize, columns.iter().copied());
                row.row().show_in(moved);
                insert_row(target, moved)?;
                pg_sys::simple_table_tuple_delete(source, &mut (*found).tts_tid, snapshot);
            }
            memory.reset();
        }
        drop(memory);
        pg_sys::ExecDropSingleTupleTableSlot(moved);
        pg_sys::ExecDropSingleTupleTableSlot(found);
        pg_sys::table_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(target, pg_sys::NoLock as i32);
        pg_sys::table_close(source, pg_sys::NoLock as i32);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Memory in force, for what one row takes.
struct RowMemory {
    own: PlanMemory,
    caller: pg_sys::MemoryContext,
}

impl RowMemory {
    fn enter() -> Self {
        let own = PlanMemory::create();
        // SAFETY: `drop` puts the caller's back before this one ends.
        let caller = unsafe { pg_sys::MemoryContextSwitchTo(own.0) };
        Self { own, caller }
    }

    fn reset(&self) {
        // SAFETY: nothing of the last row is used any more.
        unsafe { pg_sys::MemoryContextReset(self.own.0) }
    }
}

impl Drop for RowMemory {
    fn drop(&mut self) {
        // SAFETY: the caller's memory outlives this call.
        unsafe { pg_sys::MemoryContextSwitchTo(self.caller) };
    }
}

/// For each column its position in the one table and in the other.
///
/// # Safety
/// Both must be open.
unsafe fn columns(source: pg_sys::Relation, target: pg_sys::Relation) -> Result<Vec<(usize, usize)>> {
    // SAFETY: an open relation has a valid descriptor.
    let (from, to) = unsafe { (attributes((*source).rd_att), attributes((*target).rd_att)) };
    let place = |column: &Attribute| {
        let same = |other: &Attribute| other.name == column.name && other.type_oid == column.type_oid;
        to.iter().position(|other| other.as_ref().is_some_and(same))
    };
    let there = from.iter().enumerate().filter_map(|(position, column)| Some((position, column.as_ref()?)));
    let pairs: Option<Vec<_>> =
        there.map(|(position, column)| place(column).map(|place| (position, place))).collect();
    pairs.filter(|pairs| pairs.len() == to.iter().flatten().count()).ok_or_else(|| {
        // SAFETY: as above.
        let (source, target) = unsafe { ((*source).rd_id, (*target).rd_id) };
        let (source, target) = (catalog::shown_name(source), catalog::shown_name(target));
        Error::new(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("{target} has other columns than {source}"),
        )
        .hint("Something altered the new table while audit.maintain made it: look for event triggers (\\dy).")
    })
}

/// Refuses a table whose rows others refer to: below SQL the foreign key would not be checked.
///
/// # Safety
/// `source` must be open.
unsafe fn check_referenced(source: pg_sys::Relation) -> Result<()> {
    // SAFETY: an open relation has a description of all its triggers, if it has any.
    let (referenced, oid) = unsafe {
        let triggers = match (*source).trigdesc.as_ref() {
            Some(all) => std::slice::from_raw_parts(all.triggers, all.numtriggers as usize),
            None => &[],
        };
        let is_key = |trigger: &pg_sys::Trigger| {
            pg_sys::RI_FKey_trigger_type(trigger.tgfoid) == pg_sys::RI_TRIGGER_PK as i32
        };
        (triggers.iter().any(is_key), (*source).rd_id)
    };
    if !referenced {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("a foreign key refers to {}", catalog::shown_name(oid)),
    )
    .detail("Its events move to their months, where the key would not find them.")
    .hint("Drop the foreign key; keep the event's id without one."))
}
