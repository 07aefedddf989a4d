//! The event log as a table: which partition an event belongs to, and how it gets there.
//!
//! Rows go in through the table access method and the indexes, without SPI, executor or privilege checks:
//! nobody needs, or has, INSERT on `audit.event`. What a partition brings beyond plain b-trees and NOT NULL
//! (a check, a partial or expression index, another index method) is honoured through the executor.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::catalog;
use super::event_columns::{self, ALWAYS_FILLED, Column, NAMES};
use super::event_months::Months;
use super::output::PlanMemory;
use super::row::index_oids;
use super::session;
use super::value::Value;
use crate::error::{Error, Result};

/// One event's values, by [`Column`].
pub struct Record<'a>([Option<Value<'a>>; NAMES.len()]);

impl<'a> Record<'a> {
    /// An event without any value yet.
    pub fn empty() -> Self {
        Self([None; NAMES.len()])
    }

    /// Sets a column that holds a varlena: text, jsonb, inet.
    pub fn set(&mut self, column: Column, value: Option<Value<'a>>) {
        self.0[column as usize] = value;
    }

    /// Sets a column that holds eight bytes by value: timestamptz, xid8.
    pub fn set_word(&mut self, column: Column, word: u64) {
        // SAFETY: a word is no pointer.
        self.0[column as usize] = Some(unsafe { Value::new(pg_sys::Datum::from(word)) });
    }

    /// Sets a column that holds sixteen bytes by reference: uuid.
    pub fn set_uuid(&mut self, column: Column, uuid: &'a [u8; 16]) {
        // SAFETY: the bytes live during `'a`.
        self.0[column as usize] = Some(unsafe { Value::new(pg_sys::Datum::from(uuid.as_ptr())) });
    }
}

/// Which partition holds which time.
struct Routing {
    parent: pg_sys::Oid,
    months: Months,
}

/// What is known of one partition.
struct Partition {
    /// The position of each of [`NAMES`] in the partition's rows.
    positions: [usize; NAMES.len()],
    width: usize,
    indexes: Vec<Index>,
    /// Checks, partial or expression indexes, other index methods: through the executor.
    needs_executor: bool,
    /// Where it and its indexes were last locked.
    locked: Cell<Place>,
    // What the indexes' descriptions live in.
    _memory: PlanMemory,
}

/// A transaction and a subtransaction in it. No transaction has the number zero.
type Place = (u64, pg_sys::SubTransactionId);

struct Index {
    oid: pg_sys::Oid,
    info: *mut pg_sys::IndexInfo,
    unique: bool,
}

thread_local! {
    static ROUTING: RefCell<Option<Rc<Routing>>> = const { RefCell::new(None) };
    static PARTITIONS: RefCell<HashMap<pg_sys::Oid, Rc<Partition>>> = RefCell::new(HashMap::new());
    /// Counts what was forgotten, so that a look-up notices a change that came while it looked.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    /// Partitions to be freed: freeing calls PostgreSQL, which a listener must not.
    static STALE: RefCell<Vec<Rc<Partition>>> = const { RefCell::new(Vec::new()) };
}

/// Forgets what is known of `relation`, or everything.
pub fn forget(relation: Option<pg_sys::Oid>) {
    let stale: Vec<_> = PARTITIONS.with_borrow_mut(|partitions| match relation {
        Some(relation) => partitions.remove(&relation).into_iter().collect(),
        None => partitions.drain().map(|(_, partition)| partition).collect(),
    });
    let routing = ROUTING.with_borrow_mut(|routing| {
        routing.take_if(|known| relation.is_none_or(|relation| relation == known.parent))
    });
    if !stale.is_empty() || routing.is_some() {
        CHANGES.set(CHANGES.get() + 1);
        STALE.with_borrow_mut(|waiting| waiting.extend(stale));
    }
}

/// Stores one event in the partition of `time`, a timestamptz. It commits with the transaction.
pub fn insert(time: i64, record: &Record<'_>) -> Result<()> {
    drop(STALE.take());
    loop {
        let changes = CHANGES.get();
        let routing = routing()?;
        let Some(oid) = routing.months.partition_of(time) else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
                "audit.event has no partition for this event and no catch-all",
            )
            .hint("Attach audit.event_default to audit.event again as its default partition."));
        };
        // Locks stay until the transaction ends, so that the partition does too. What this subtransaction locked
        // before it need not lock again: nobody can have altered it since.
        let here = (session::transaction_id(), session::subtransaction());
        let locked = PARTITIONS.with_borrow(|partitions| {
            partitions.get(&oid).is_some_and(|partition| partition.locked.get() == here)
        });
        // SAFETY: closed below.
        let relation = unsafe {
            if locked {
                pg_sys::RelationIdGetRelation(oid)
            } else {
                pg_sys::try_table_open(oid, pg_sys::RowExclusiveLock as i32)
            }
        };
        // Taking the lock may have told of a new month, or of a dropped one.
        let unchanged = !relation.is_null() && changes == CHANGES.get();
        if unchanged {
            // SAFETY: the relation is open.
            let inserted = unsafe { insert_into(relation, record, here) };
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(relation, pg_sys::NoLock as i32) };
            return inserted;
        }
        if !relation.is_null() {
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(relation, pg_sys::NoLock as i32) };
        } else if changes == CHANGES.get() {
            forget(None);
        }
    }
}

/// # Safety
/// `relation` must be an open partition of `audit.event`.
unsafe fn insert_into(relation: pg_sys::Relation, record: &Record<'_>, here: Place) -> Result<()> {
    // SAFETY: as the caller promises; the slot is as wide as the partition's rows and is dropped at the end.
    unsafe {
        let partition = partition(relation)?;
        let slot = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &pg_sys::TTSOpsVirtual);
        let values = std::slice::from_raw_parts_mut((*slot).tts_values, partition.width);
        let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, partition.width);
        nulls.fill(true);
        for (position, value) in partition.positions.iter().zip(&record.0) {
            if let Some(value) = value {
                values[*position] = value.datum();
                nulls[*position] = false;
            }
        }
        pg_sys::ExecStoreVirtualTuple(slot);
        store(relation, &partition, slot, here);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        Ok(())
    }
}

/// # Safety
/// `slot` must hold a row of `relation`, which is open for writing and described by `partition`.
unsafe fn store(
    relation: pg_sys::Relation,
    partition: &Partition,
    slot: *mut pg_sys::TupleTableSlot,
    here: Place,
) {
    // SAFETY: as the caller promises.
    unsafe {
        if partition.needs_executor {
            insert_through_executor(relation, slot);
        } else {
            insert_into_heap(relation, slot);
            insert_into_indexes(relation, slot, &partition.indexes, partition.locked.get() == here);
        }
    }
    partition.locked.set(here);
}

/// Puts a whole row into a table that will be a partition.
///
/// # Safety
/// As for [`store`].
pub(super) unsafe fn insert_row(relation: pg_sys::Relation, slot: *mut pg_sys::TupleTableSlot) -> Result<()> {
    // SAFETY: as the caller promises.
    unsafe {
        let partition = partition(relation)?;
        store(relation, &partition, slot, (session::transaction_id(), session::subtransaction()));
    }
    Ok(())
}

/// # Safety
/// `slot` must hold a row of `relation`, which is open for writing.
unsafe fn insert_into_heap(relation: pg_sys::Relation, slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: every table access method has tuple_insert (PostgreSQL checks it when it loads one). The guard
    // turns an error inside it into a panic, which frees what Rust holds.
    unsafe {
        let insert = (*(*relation).rd_tableam).tuple_insert.expect("table access methods insert");
        let command = pg_sys::GetCurrentCommandId(true);
        pg_guard_ffi_boundary(|| insert(relation, slot, command, 0, std::ptr::null_mut()));
    }
}

/// # Safety
/// As for [`insert_into_heap`], after it; `indexes` must be the relation's.
unsafe fn insert_into_indexes(
    relation: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    indexes: &[Index],
    locked: bool,
) {
    let mut values = [pg_sys::Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
    let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
    for index in indexes {
        // SAFETY: the index is plain, so FormIndexDatum needs no executor state; it is closed here and its
        // lock kept, as the executor does.
        unsafe {
            let open = if locked {
                pg_sys::RelationIdGetRelation(index.oid)
            } else {
                pg_sys::index_open(index.oid, pg_sys::RowExclusiveLock as i32)
            };
            pg_sys::FormIndexDatum(
                index.info,
                slot,
                std::ptr::null_mut(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let unique = if index.unique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            pg_sys::index_insert(
                open,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                &mut (*slot).tts_tid,
                relation,
                unique,
                false,
                index.info,
            );
            pg_sys::RelationClose(open);
        }
    }
}

/// # Safety
/// As for [`insert_into_heap`].
unsafe fn insert_through_executor(relation: pg_sys::Relation, slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: a result relation that is in no range table, as PostgreSQL itself makes for partitions whose
    // triggers it fires; everything opened is closed.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let target: *mut pg_sys::ResultRelInfo = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
        (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
        if !(*(*relation).rd_att).constr.is_null() {
            pg_sys::ExecConstraints(target, slot, state);
        }
        insert_into_heap(relation, slot);
        pg_sys::ExecOpenIndices(target, false);
        let recheck = pg_sys::ExecInsertIndexTuples(
            target,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        pg_sys::list_free(recheck);
        pg_sys::ExecCloseIndices(target);
        pg_sys::FreeExecutorState(state);
    }
}

/// The partitions as they are now.
fn routing() -> Result<Rc<Routing>> {
    if let Some(known) = ROUTING.with_borrow(Clone::clone) {
        return Ok(known);
    }
    let parent = catalog::own_table(c"event").ok_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, "table audit.event does not exist")
            .hint("The extension audit is damaged: restore the table, or untrack the application's tables.")
    })?;
    // SAFETY: the parent is open while its partitions are read.
    let routing = unsafe {
        let relation = pg_sys::table_open(parent, pg_sys::AccessShareLock as i32);
        let months = Months::of(relation);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        Rc::new(Routing { parent, months })
    };
    ROUTING.set(Some(routing.clone()));
    Ok(routing)
}

/// What is known of an open partition.
///
/// # Safety
/// `relation` must be open.
unsafe fn partition(relation: pg_sys::Relation) -> Result<Rc<Partition>> {
    // SAFETY: as the caller promises.
    let oid = unsafe { (*relation).rd_id };
    if let Some(known) = PARTITIONS.with_borrow(|partitions| partitions.get(&oid).cloned()) {
        return Ok(known);
    }
    // SAFETY: as the caller promises.
    let partition = Rc::new(unsafe { describe(relation)? });
    PARTITIONS.with_borrow_mut(|partitions| partitions.insert(oid, partition.clone()));
    Ok(partition)
}

/// # Safety
/// `relation` must be open.
unsafe fn describe(relation: pg_sys::Relation) -> Result<Partition> {
    // SAFETY: the relation is open; its indexes are opened and closed here, and what is kept of them is
    // copied into a context of its own.
    unsafe {
        event_columns::check_ordinary(relation)?;
        let descriptor = &*(*relation).rd_att;
        let attributes = descriptor.attrs.as_slice(descriptor.natts as usize);
        let positions = event_columns::positions((*relation).rd_att)?;
        let filled = &positions[..ALWAYS_FILLED];
        let mut needs_executor =
            attributes.iter().enumerate().any(|(position, a)| a.attnotnull && !filled.contains(&position))
                || (!descriptor.constr.is_null() && (*descriptor.constr).num_check > 0);

        let memory = PlanMemory::create();
        let mut indexes = Vec::new();
        for oid in index_oids(relation) {
            let open = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let form = &*(*open).rd_index;
            let previous = pg_sys::MemoryContextSwitchTo(memory.0);
            let info = pg_sys::BuildIndexInfo(open);
            pg_sys::MemoryContextSwitchTo(previous);
            let plain = (*(*open).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*info).ii_Expressions.is_null()
                && (*info).ii_Predicate.is_null()
                && (*info).ii_ExclusionOps.is_null()
                && form.indimmediate
                && form.indisready;
            needs_executor |= !plain;
            indexes.push(Index { oid, info, unique: form.indisunique });
            pg_sys::index_close(open, pg_sys::AccessShareLock as i32);
        }
        Ok(Partition {
            positions,
            width: attributes.len(),
            indexes,
            needs_executor,
            locked: Cell::default(),
            _memory: memory,
        })
    }
}
