//! Reading the event log by its indexes, as the calling statement sees it: without planner, executor or privilege
//! checks, which are the caller's business.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::rc::Rc;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::catalog;
use super::event_columns::{self, Column, NAMES};
use super::event_months::{Months, Period};
use super::row::{Row, index_oids};
use super::value::{Text, varlena_bytes};
use crate::error::{Error, Result};

/// An event's id, which compares as its sixteen bytes do.
pub type Id = u128;
/// Where a row version stands in its partition.
pub type Place = pg_sys::ItemPointerData;

/// The log, locked as a reader locks it.
pub struct Log {
    pub(super) relation: pg_sys::Relation,
    /// Its partitions: the catch-all, and then the newest first.
    pub partitions: Vec<Partition>,
}

impl Log {
    /// Opens the log and its partitions.
    pub fn open() -> Result<Self> {
        let oid = catalog::own_table(c"event").ok_or_else(|| {
            Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, "table audit.event does not exist")
                .hint("The extension audit is damaged: restore the table.")
        })?;
        // SAFETY: closed in `drop`, or by the transaction's abort.
        let (relation, months) = unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::AccessShareLock as i32);
            (relation, Months::of(relation))
        };
        let mut log = Self { relation, partitions: Vec::new() };
        for (oid, period) in months.newest_first() {
            log.partitions.push(Partition::open(oid, period)?);
        }
        Ok(log)
    }

    /// Whether the current role may select whole rows.
    pub fn may_be_selected(&self) -> bool {
        // SAFETY: looks a privilege up.
        unsafe {
            let mode = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
            pg_sys::pg_class_aclcheck((*self.relation).rd_id, pg_sys::GetUserId(), mode)
                == pg_sys::AclResult::ACLCHECK_OK
        }
    }

    /// Whether row-level security decides what the current role sees. An error where it has switched row-level
    /// security off (`row_security`), as any query's.
    pub fn has_row_security(&self) -> bool {
        // SAFETY: looks up the table's row security and the role's exemption from it.
        let kind = unsafe { pg_sys::check_enable_rls((*self.relation).rd_id, pg_sys::InvalidOid, false) };
        u32::try_from(kind) == Ok(pg_sys::CheckEnableRlsResult::RLS_ENABLED)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened in `open`; the lock stays until the transaction ends.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as i32) }
        }
    }
}

/// What is known of a partition.
struct Description {
    positions: [usize; NAMES.len()],
    /// By the place of their columns in [`NAMES`].
    indexes: Vec<(pg_sys::Oid, Vec<usize>)>,
}

thread_local! {
    static DESCRIPTIONS: RefCell<HashMap<pg_sys::Oid, Rc<Description>>> = RefCell::default();
    /// Counts what was forgotten, so that a description notices a change that came while it was made.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Forgets what is known of `relation`, or everything.
pub fn forget(relation: Option<pg_sys::Oid>) {
    CHANGES.set(CHANGES.get() + 1);
    DESCRIPTIONS.with_borrow_mut(|known| match relation {
        Some(relation) => drop(known.remove(&relation)),
        None => known.clear(),
    });
}

impl Description {
    /// # Safety
    /// `relation` must be an open partition.
    unsafe fn of(relation: pg_sys::Relation) -> Result<Rc<Self>> {
        // SAFETY: as the caller promises.
        let oid = unsafe { (*relation).rd_id };
        if let Some(known) = DESCRIPTIONS.with_borrow(|known| known.get(&oid).cloned()) {
            return Ok(known);
        }
        let changes = CHANGES.get();
        // SAFETY: as the caller promises, which also locks its indexes against being dropped.
        let description = unsafe {
            event_columns::check_ordinary(relation)?;
            let positions = event_columns::positions((*relation).rd_att)?;
            let indexes = index_oids(relation)
                .into_iter()
                .filter_map(|index| Some((index, key_columns(index, &positions)?)))
                .collect();
            Rc::new(Self { positions, indexes })
        };
        if changes == CHANGES.get() {
            DESCRIPTIONS.with_borrow_mut(|known| known.insert(oid, description.clone()));
        }
        Ok(description)
    }
}

/// An open partition.
pub struct Partition {
    relation: pg_sys::Relation,
    /// Made for the first row.
    slot: Cell<*mut pg_sys::TupleTableSlot>,
    description: Rc<Description>,
    /// When its events occurred; the catch-all's any time.
    pub period: Option<Period>,
}

impl Partition {
    fn open(oid: pg_sys::Oid, period: Option<Period>) -> Result<Self> {
        // SAFETY: closed in `drop`, or by the transaction's abort.
        unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::AccessShareLock as i32);
            let description = Description::of(relation)?;
            Ok(Self { relation, slot: Cell::new(std::ptr::null_mut()), description, period })
        }
    }

    fn slot(&self) -> *mut pg_sys::TupleTableSlot {
        if self.slot.get().is_null() {
            // SAFETY: the relation is open; the slot is dropped in `drop`, or with its memory by the transaction's abort.
            self.slot.set(unsafe { pg_sys::table_slot_create(self.relation, std::ptr::null_mut()) });
        }
        self.slot.get()
    }

    /// The index on these columns, which end with `event_id`.
    pub fn index(&self, columns: &[Column]) -> Option<Index<'_>> {
        let (oid, _) = self
            .description
            .indexes
            .iter()
            .find(|(_, keys)| keys.iter().copied().eq(columns.iter().map(|column| *column as usize)))?;
        // SAFETY: closed in the index's `drop`, or by the transaction's abort.
        let index = unsafe { pg_sys::index_open(*oid, pg_sys::AccessShareLock as i32) };
        let scans = columns.iter().map(|_| None).collect();
        Some(Index { partition: self, relation: index, scans, standing: None })
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        // SAFETY: the relation is open.
        catalog::shown_name(unsafe { (*self.relation).rd_id })
    }

    /// The position of a column in its rows, by name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        // SAFETY: the relation is open.
        unsafe { event_columns::position((*self.relation).rd_att, name) }
    }

    /// The event at a place that an index led to before, in this statement.
    pub fn event_at(&self, mut place: Place) -> Option<Event<'_>> {
        // SAFETY: every table access method has tuple_fetch_row_version; the statement has an active snapshot.
        let found = unsafe {
            let fetch = (*(*self.relation).rd_tableam).tuple_fetch_row_version.expect("tables fetch rows");
            let snapshot = pg_sys::GetActiveSnapshot();
            pg_guard_ffi_boundary(|| fetch(self.relation, &mut place, snapshot, self.slot()))
        };
        found.then(|| self.event())
    }

    fn event(&self) -> Event<'_> {
        // SAFETY: called when the slot holds a row; it keeps it until the next one is fetched, which takes the
        // borrow's end.
        Event { row: unsafe { Row::in_slot(self.slot()) }, positions: &self.description.positions }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made in `open`; the lock stays until the transaction ends.
            unsafe {
                if !self.slot.get().is_null() {
                    pg_sys::ExecDropSingleTupleTableSlot(self.slot.get());
                }
                pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
            }
        }
    }
}

/// The columns, by their place in [`NAMES`], of an index that this walk can use: a whole b-tree on columns of events, ascending, text under "C".
///
/// # Safety
/// `oid` must be an index of a table that is locked.
unsafe fn key_columns(oid: pg_sys::Oid, positions: &[usize; NAMES.len()]) -> Option<Vec<usize>> {
    // SAFETY: the index is closed here; its arrays hold as many entries as it has key columns.
    unsafe {
        let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
        let form = &*(*index).rd_index;
        let keys = form.indnkeyatts as usize;
        let plain = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && form.indisvalid
            && !form.indcheckxmin
            && pg_sys::RelationGetIndexPredicate(index).is_null();
        let column = |at: usize| {
            let attnum = form.indkey.values.as_slice(keys)[at];
            let column = positions.iter().position(|position| *position as i16 + 1 == attnum)?;
            let fits = *(*index).rd_indoption.add(at) == 0
                && match *(*index).rd_opfamily.add(at) {
                    pg_sys::TEXT_BTREE_FAM_OID => {
                        *(*index).rd_indcollation.add(at) == pg_sys::C_COLLATION_OID
                    }
                    UUID_BTREE_FAM_OID => column == EVENT_ID,
                    _ => false,
                };
            fits.then_some(column)
        };
        let columns = if plain { (0..keys).map(column).collect::<Option<Vec<_>>>() } else { None };
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        columns.filter(|columns| columns.len() <= MOST_COLUMNS && columns.last() == Some(&EVENT_ID))
    }
}

const EVENT_ID: usize = Column::EventId as usize;
/// More columns than that are no index of ours.
const MOST_COLUMNS: usize = 8;
/// `uuid_ops` of b-trees in `pg_opfamily`, which has no name in PostgreSQL's headers.
const UUID_BTREE_FAM_OID: pg_sys::Oid = pg_sys::Oid::from_u32(2968);

/// An index of a partition, on text columns and then `event_id`, read backwards.
pub struct Index<'a> {
    partition: &'a Partition,
    relation: pg_sys::Relation,
    /// By the number of columns that they look at.
    scans: Vec<Option<Scan>>,
    standing: Option<Entry>,
}

/// A scan, with what its keys point to.
struct Scan {
    descriptor: pg_sys::IndexScanDesc,
    texts: Vec<Option<Text>>,
    id: Box<[u8; 16]>,
}

/// The entry that a scan stands on.
struct Entry {
    scan: pg_sys::IndexScanDesc,
    values: [pg_sys::Datum; MOST_COLUMNS],
    nulls: [bool; MOST_COLUMNS],
}

impl Index<'_> {
    /// Turns to the entries whose text columns are `prefix` (`None` is NULL) and whose id is `at_most` or less, and
    /// returns the first one's id. Its row may be one that the statement does not see, as with all entries.
    pub fn turn_to(&mut self, prefix: &[Option<Text>], at_most: Id) -> Option<Id> {
        self.start(prefix, Key::AtMost(at_most))
    }

    /// Turns to the entries whose first columns are `prefix` and whose next column, a text, is less than `below`, or not
    /// NULL where that is `None`. The greatest value comes first, of each the greatest id.
    pub fn turn_below(&mut self, prefix: &[Option<Text>], below: Option<&Text>) -> Option<Id> {
        self.start(prefix, below.map_or(Key::NotNull, Key::Below))
    }

    /// Goes on to the next entry and returns its id.
    pub fn step(&mut self) -> Option<Id> {
        let scan = self.standing.take()?.scan;
        // SAFETY: the scan was started. An entry has as many columns as there is room for (`key_columns` sees to it),
        // and the last one is a uuid that is not NULL.
        unsafe {
            if pg_sys::index_getnext_tid(scan, pg_sys::ScanDirection::BackwardScanDirection).is_null() {
                return None;
            }
            let mut entry =
                Entry { scan, values: [pg_sys::Datum::null(); MOST_COLUMNS], nulls: [true; MOST_COLUMNS] };
            let (values, nulls) = (entry.values.as_mut_ptr(), entry.nulls.as_mut_ptr());
            pg_sys::index_deform_tuple((*scan).xs_itup, (*scan).xs_itupdesc, values, nulls);
            let id: *const [u8; 16] = entry.values[self.scans.len() - 1].cast_mut_ptr();
            self.standing = Some(entry);
            Some(Id::from_be_bytes(id.read()))
        }
    }

    /// A text column of the entry that it stands on.
    pub fn value(&self, column: usize) -> Option<&[u8]> {
        let entry = self.standing.as_ref()?;
        // SAFETY: all columns but the last are texts; the entry's bytes stay until the scan goes on.
        (!entry.nulls[column]).then(|| unsafe { varlena_bytes(entry.values[column]) })
    }

    /// The event of the entry that it stands on, and its place, if the statement sees it.
    pub fn event(&mut self) -> Option<(Event<'_>, Place)> {
        let scan = self.standing.as_ref()?.scan;
        // SAFETY: the scan stands on an entry; the slot is the partition's.
        unsafe {
            if !pg_sys::index_fetch_heap(scan, self.partition.slot()) {
                return None;
            }
            Some((self.partition.event(), (*self.partition.slot()).tts_tid))
        }
    }

    /// Starts the scan for entries whose first columns are `prefix` and whose next is as `last` says, and goes to the first.
    fn start(&mut self, prefix: &[Option<Text>], last: Key<'_>) -> Option<Id> {
        let mut keys: Vec<_> = prefix.iter().map(|text| text.as_ref().map_or(Key::IsNull, Key::Is)).collect();
        keys.push(last);
        let (relation, heap, count) = (self.relation, self.partition.relation, keys.len());
        let scan = self.scans[count - 1].get_or_insert_with(|| Scan {
            // SAFETY: both relations are open, and the statement has an active snapshot, which outlives the scan.
            descriptor: unsafe {
                let snapshot = pg_sys::GetActiveSnapshot();
                let scan = pg_sys::index_beginscan(heap, relation, snapshot, count as c_int, 0);
                (*scan).xs_want_itup = true;
                scan
            },
            texts: Vec::new(),
            id: Box::default(),
        });
        scan.texts = keys.iter().map(Key::text).collect();
        if let Some(Key::AtMost(id)) = keys.last() {
            *scan.id = id.to_be_bytes();
        }
        let mut keys: Vec<_> = keys
            .iter()
            .zip(&scan.texts)
            .enumerate()
            .map(|(position, (key, text))| {
                let text = text.as_ref().map(|text| text.value().datum());
                key.at(position, text.unwrap_or(pg_sys::Datum::from(scan.id.as_ptr())))
            })
            .collect();
        let descriptor = scan.descriptor;
        // SAFETY: as many keys as the scan was begun with; what they point to lives as long as the scan.
        unsafe {
            pg_sys::index_rescan(descriptor, keys.as_mut_ptr(), count as c_int, std::ptr::null_mut(), 0);
        }
        self.standing = Some(Entry {
            scan: descriptor,
            values: [pg_sys::Datum::null(); MOST_COLUMNS],
            nulls: [true; MOST_COLUMNS],
        });
        self.step()
    }
}

impl Drop for Index<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun in `start` and opened in `Partition::index`; the lock stays until the transaction ends.
            unsafe {
                for scan in self.scans.iter().flatten() {
                    pg_sys::index_endscan(scan.descriptor);
                }
                pg_sys::index_close(self.relation, pg_sys::NoLock as i32);
            }
        }
    }
}

/// That of conditions without an operator, which pgrx does not bind.
const INVALID_STRATEGY: u32 = 0;

/// A condition on one column.
enum Key<'a> {
    /// It is this text.
    Is(&'a Text),
    /// It is NULL.
    IsNull,
    /// It is not.
    NotNull,
    /// It is less than this text.
    Below(&'a Text),
    /// It is this id or less.
    AtMost(Id),
}

impl Key<'_> {
    fn text(&self) -> Option<Text> {
        match self {
            Self::Is(text) | Self::Below(text) => Some((*text).clone()),
            _ => None,
        }
    }

    /// The condition on the column at `position`, whose argument is `argument` if it has one.
    fn at(&self, position: usize, argument: pg_sys::Datum) -> pg_sys::ScanKeyData {
        let (strategy, function, flags) = match self {
            Self::Is(_) => (pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, 0),
            Self::Below(_) => (pg_sys::BTLessStrategyNumber, pg_sys::F_TEXT_LT, 0),
            Self::AtMost(_) => (pg_sys::BTLessEqualStrategyNumber, pg_sys::F_UUID_LE, 0),
            Self::IsNull => (INVALID_STRATEGY, 0, pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL),
            Self::NotNull => (INVALID_STRATEGY, 0, pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNOTNULL),
        };
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: fills the key in; the function is one of PostgreSQL's own for the column's type.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                flags as c_int,
                position as i16 + 1,
                strategy as u16,
                pg_sys::InvalidOid,
                pg_sys::C_COLLATION_OID,
                pg_sys::Oid::from(function),
                if flags == 0 { argument } else { pg_sys::Datum::null() },
            );
        }
        key
    }
}

/// An event, as long as nothing else is read from its partition.
pub struct Event<'a> {
    row: Row<'a>,
    positions: &'a [usize; NAMES.len()],
}

impl<'a> Event<'a> {
    /// A column that is a text.
    pub fn text(&self, column: Column) -> Option<&'a [u8]> {
        // SAFETY: the column is declared as text.
        self.row.get(self.positions[column as usize]).map(|value| unsafe { varlena_bytes(value.datum()) })
    }

    /// When it occurred.
    pub fn occurred_at(&self) -> i64 {
        let value = self.row.get(self.positions[Column::OccurredAt as usize]);
        value.map_or(i64::MIN, |value| value.datum().value() as i64)
    }

    /// Its row, in the order of the partition's columns.
    pub(super) fn row(&self) -> Row<'a> {
        self.row
    }
}
