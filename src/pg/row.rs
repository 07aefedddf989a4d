//! Open tables, their rows, and the rows' columns.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::catalog::to_utf8;
use super::list::cells;
use super::value::{OwnedValue, Value, is_plain, stored_bytes, varlena_bytes};

/// The transaction that deleted or replaced a row version, if any did.
///
/// # Safety
/// `header` must be a row's in a buffer or a copy of it.
pub(super) unsafe fn updater(header: &pg_sys::HeapTupleHeaderData) -> pg_sys::TransactionId {
    let mask = u32::from(header.t_infomask);
    // SAFETY: as the caller promises.
    unsafe {
        if mask & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0 {
            pg_sys::InvalidTransactionId
        } else if mask & pg_sys::HEAP_XMAX_IS_MULTI != 0 {
            pg_sys::HeapTupleGetUpdateXid(std::ptr::from_ref(header).cast_mut())
        } else {
            header.t_choice.t_heap.t_xmax
        }
    }
}

/// When a version of a row was written: before this transaction, or by which of its commands. Later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Written(Option<pg_sys::CommandId>);

impl Written {
    /// Of the version with this header.
    ///
    /// # Safety
    /// `header` must be a row's in a buffer or a copy of it.
    pub(super) unsafe fn of(header: &pg_sys::HeapTupleHeaderData) -> Self {
        let frozen = u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        // SAFETY: as the caller promises; only of a transaction's own versions is the command known.
        unsafe {
            let own = !frozen && pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmin);
            Self(own.then(|| pg_sys::HeapTupleHeaderGetCmin(std::ptr::from_ref(header).cast_mut())))
        }
    }

    /// By this command of it.
    pub(super) fn by(command: pg_sys::CommandId) -> Self {
        Self(Some(command))
    }
}

/// An open table.
#[derive(Clone, Copy)]
pub struct Relation<'a> {
    relation: &'a pg_sys::RelationData,
}

impl<'a> Relation<'a> {
    /// Wraps an open relation.
    ///
    /// # Safety
    /// It must stay open during `'a`.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        // SAFETY: as the caller promises.
        Self { relation: unsafe { &*relation } }
    }

    /// Its OID.
    pub fn oid(&self) -> pg_sys::Oid {
        self.relation.rd_id
    }

    pub(super) fn as_ptr(&self) -> pg_sys::Relation {
        std::ptr::from_ref(self.relation).cast_mut()
    }

    /// Whether it is partitioned, and so has no rows of its own.
    pub fn is_partitioned(&self) -> bool {
        // SAFETY: an open relation has its pg_class row at hand.
        unsafe { (*self.relation.rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE }
    }

    /// Whether it has rows that a query can read: a table, a view or a materialised view.
    pub fn can_be_read(&self) -> bool {
        // SAFETY: an open relation has its pg_class row at hand.
        let kind = unsafe { (*self.relation.rd_rel).relkind as u8 };
        [
            pg_sys::RELKIND_RELATION,
            pg_sys::RELKIND_PARTITIONED_TABLE,
            pg_sys::RELKIND_VIEW,
            pg_sys::RELKIND_MATVIEW,
        ]
        .contains(&kind)
    }

    /// Whether it ends with its session.
    pub fn is_temporary(&self) -> bool {
        // SAFETY: an open relation has its pg_class row at hand.
        unsafe { (*self.relation.rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP }
    }

    /// Whether it is an ordinary table that survives a crash.
    pub fn is_permanent(&self) -> bool {
        // SAFETY: an open relation has its pg_class row at hand.
        unsafe { (*self.relation.rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT }
    }

    /// For each generated column, by position, the positions of the columns that it is made from.
    pub fn generated_columns(&self) -> Vec<(usize, Vec<usize>)> {
        // SAFETY: an open relation's descriptor holds natts attributes and, where there are constraints, num_defval
        // default expressions as text; a set holds attribute numbers above the system columns'.
        unsafe {
            let descriptor = &*self.relation.rd_att;
            if descriptor.constr.is_null() || !(*descriptor.constr).has_generated_stored {
                return Vec::new();
            }
            let attributes = descriptor.attrs.as_slice(descriptor.natts as usize);
            let defaults = std::slice::from_raw_parts(
                (*descriptor.constr).defval,
                usize::from((*descriptor.constr).num_defval),
            );
            defaults
                .iter()
                .map(|default| (default.adnum as usize - 1, default.adbin))
                .filter(|(position, _)| attributes[*position].attgenerated != 0)
                .map(|(position, expression)| {
                    let mut set = std::ptr::null_mut();
                    pg_sys::pull_varattnos(pg_sys::stringToNode(expression).cast(), 1, &mut set);
                    let offset = pg_sys::FirstLowInvalidHeapAttributeNumber;
                    let sources = (0..attributes.len())
                        .filter(|at| pg_sys::bms_is_member(*at as i32 + 1 - offset, set));
                    (position, sources.collect())
                })
                .collect()
        }
    }

    /// Its triggers with this function.
    pub fn triggers(&self, function: pg_sys::Oid) -> Vec<TriggerInfo> {
        if self.relation.trigdesc.is_null() {
            return Vec::new();
        }
        // SAFETY: an open relation has a description of all its triggers; names and arguments are C strings.
        unsafe {
            let description = &*self.relation.trigdesc;
            std::slice::from_raw_parts(description.triggers, description.numtriggers as usize)
                .iter()
                .filter(|trigger| trigger.tgfoid == function)
                .map(|trigger| TriggerInfo {
                    name: to_utf8(CStr::from_ptr(trigger.tgname).to_bytes()),
                    argument: (trigger.tgnargs == 1)
                        .then(|| CStr::from_ptr(*trigger.tgargs).to_bytes().to_vec()),
                    enabled: trigger.tgenabled as u8,
                    for_row: u32::from(trigger.tgtype as u16) & pg_sys::TRIGGER_TYPE_ROW != 0,
                    on_truncate: u32::from(trigger.tgtype as u16) & pg_sys::TRIGGER_TYPE_TRUNCATE != 0,
                    is_clone: trigger.tgisclone,
                })
                .collect()
        }
    }

    /// Its columns by position, dropped ones as `None`.
    pub fn attributes(&self) -> Vec<Option<Attribute>> {
        // SAFETY: the tuple descriptor of an open relation holds natts attributes.
        unsafe { attributes(self.relation.rd_att) }
    }

    /// The positions, from zero, of the primary key's columns in key order; empty without a primary key.
    pub fn primary_key(&self) -> Vec<usize> {
        // SAFETY: the relation is open. The indexes' rows are read from the catalogue without locks, as the table is: one that
        // somebody is building anew would be waited for. RelationGetPrimaryKeyIndex would not tell of a deferrable key.
        unsafe { index_oids(self.as_ptr()).into_iter().find_map(primary_key_columns).unwrap_or_default() }
    }
}

/// The indexes of an open table.
///
/// # Safety
/// `relation` must be open.
pub(super) unsafe fn index_oids(relation: pg_sys::Relation) -> Vec<pg_sys::Oid> {
    // SAFETY: the list lives in the current memory context and holds OIDs.
    unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        cells(list).iter().map(|cell| cell.oid_value).collect()
    }
}

/// The positions, from zero, of the columns of an index, if it is a primary key's.
fn primary_key_columns(index: pg_sys::Oid) -> Option<Vec<usize>> {
    // SAFETY: a syscache look-up, released after its last use; the tuple is a pg_index row, whose indkey holds indnkeyatts key
    // columns.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::INDEXRELID as i32,
            pg_sys::Datum::from(index),
        );
        if tuple.is_null() {
            return None;
        }
        let form: *const pg_sys::FormData_pg_index = pg_sys::heap_tuple_get_struct(tuple);
        let columns = (*form).indisprimary.then(|| {
            let columns = (*form).indkey.values.as_slice((*form).indnkeyatts as usize);
            columns.iter().map(|attnum| *attnum as usize - 1).collect()
        });
        pg_sys::ReleaseSysCache(tuple);
        columns
    }
}

/// A table opened by its OID, closed when this goes; a lock taken stays until the transaction ends.
pub struct OpenRelation(pg_sys::Relation);

impl OpenRelation {
    /// Opens it for reading. An OID without a table is an error of PostgreSQL's.
    pub fn open(oid: pg_sys::Oid) -> Self {
        // SAFETY: closed in `drop`, or by the transaction's abort.
        Self(unsafe { pg_sys::relation_open(oid, pg_sys::AccessShareLock as i32) })
    }

    /// Opens it without a lock, to read what the relation cache has of it: its columns, keys and triggers as they
    /// are now. `None` if there is no such table.
    pub fn peek(oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: closed in `drop`, or by the transaction's abort.
        let relation = unsafe { pg_sys::RelationIdGetRelation(oid) };
        (!relation.is_null()).then(|| Self(relation))
    }

    /// Locks it by its OID against writers and other DDL, and opens it. `None` if there is no such table.
    pub fn lock(oid: pg_sys::Oid) -> Option<Self> {
        Self::locked(oid, pg_sys::ShareRowExclusiveLock)
    }

    /// The same, against DDL that shuts out readers, and nobody else.
    pub fn lock_shared(oid: pg_sys::Oid) -> Option<Self> {
        Self::locked(oid, pg_sys::AccessShareLock)
    }

    /// The same, against readers too.
    pub fn lock_alone(oid: pg_sys::Oid) -> Option<Self> {
        Self::locked(oid, pg_sys::AccessExclusiveLock)
    }

    fn locked(oid: pg_sys::Oid, mode: u32) -> Option<Self> {
        // SAFETY: takes a lock of the transaction.
        unsafe { pg_sys::LockRelationOid(oid, mode as i32) };
        Self::peek(oid)
    }

    /// The table.
    pub fn relation(&self) -> Relation<'_> {
        // SAFETY: open as long as `self`.
        unsafe { Relation::new(self.0) }
    }

    /// Whether this transaction has locked it as DDL does.
    pub fn is_being_altered(&self) -> bool {
        // SAFETY: the relation is open.
        unsafe { pg_sys::CheckRelationLockedByMe(self.0, pg_sys::ShareUpdateExclusiveLock as i32, true) }
    }
}

impl Drop for OpenRelation {
    fn drop(&mut self) {
        // After an error the transaction's abort closes it.
        if !std::thread::panicking() {
            // SAFETY: opened by `open` or `peek`.
            unsafe { pg_sys::RelationClose(self.0) }
        }
    }
}

/// One trigger of a table.
pub struct TriggerInfo {
    /// Its name, in UTF-8.
    pub name: String,
    /// Its only argument; `None` if it has none or several.
    pub argument: Option<Vec<u8>>,
    /// `O`, `A`, `R` or `D`, as `pg_trigger.tgenabled` has it.
    pub enabled: u8,
    /// Whether it fires for rows.
    pub for_row: bool,
    /// Whether it fires on TRUNCATE.
    pub on_truncate: bool,
    /// Whether it stands on a partition because it stands on the partitioned table.
    pub is_clone: bool,
}

/// One column of a table.
pub struct Attribute {
    /// Its name, in the database's encoding.
    pub name: Vec<u8>,
    /// Its name in UTF-8, as settings write it.
    pub label: String,
    /// Its type.
    pub type_oid: pg_sys::Oid,
    pub(super) by_value: bool,
    pub(super) length: i16,
}

/// The columns of a tuple descriptor by position, dropped ones as `None`.
///
/// # Safety
/// `descriptor` must be valid.
pub unsafe fn attributes(descriptor: pg_sys::TupleDesc) -> Vec<Option<Attribute>> {
    // SAFETY: a valid descriptor holds natts attributes.
    let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
    attributes
        .iter()
        .map(|attribute| {
            (!attribute.attisdropped).then(|| Attribute {
                // SAFETY: a name is a C string.
                name: unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) }.to_bytes().to_vec(),
                // SAFETY: as above.
                label: to_utf8(unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) }.to_bytes()),
                type_oid: attribute.atttypid,
                by_value: attribute.attbyval,
                length: attribute.attlen,
            })
        })
        .collect()
}

impl Attribute {
    /// Whether two values of this column differ in their bytes, detoasted where needed. Never by `=`: 1.0 and
    /// 1.00 differ, and not every type has an equality.
    pub fn differ(&self, a: Value<'_>, b: Value<'_>) -> bool {
        let (a, b) = (a.datum(), b.datum());
        if self.by_value {
            return a.value() != b.value();
        }
        // SAFETY: both are values of this column: pointers to `length` bytes, to a C string, or to a varlena.
        unsafe {
            let bytes = |datum: pg_sys::Datum, length| {
                std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>().cast_const(), length)
            };
            match self.length {
                -2 => CStr::from_ptr(a.cast_mut_ptr()) != CStr::from_ptr(b.cast_mut_ptr()),
                -1 => {
                    // A TOASTed value that did not change keeps its pointer, so it is not fetched.
                    stored_bytes(a) != stored_bytes(b)
                        && (is_plain(a)
                            && is_plain(b)
                            && pgrx::varlena::varsize_any_exhdr(a.cast_mut_ptr())
                                != pgrx::varlena::varsize_any_exhdr(b.cast_mut_ptr())
                            || varlena_bytes(a) != varlena_bytes(b))
                }
                length => bytes(a, length as usize) != bytes(b, length as usize),
            }
        }
    }
}

impl Attribute {
    /// How many bytes a value of this column has, uncompressed.
    pub fn size(&self, value: Value<'_>) -> usize {
        match self.length {
            // SAFETY: a value of this column is a varlena.
            -1 => unsafe { pg_sys::toast_raw_datum_size(value.datum()) },
            length => length.unsigned_abs().into(),
        }
    }
}

impl Clone for Attribute {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), label: self.label.clone(), ..*self }
    }
}

/// A row, all its columns at hand.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// The row in `slot`.
    ///
    /// # Safety
    /// `slot` must hold a row and keep it during `'a`.
    pub(super) unsafe fn in_slot(slot: *mut pg_sys::TupleTableSlot) -> Self {
        // SAFETY: slot_getsomeattrs_int fills natts values, also for columns added after the row was stored.
        unsafe {
            let columns = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < columns {
                pg_sys::slot_getsomeattrs_int(slot, columns);
            }
            Self {
                values: std::slice::from_raw_parts((*slot).tts_values, columns as usize),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, columns as usize),
            }
        }
    }

    /// A copy of the row that lives as long as it is needed; `attributes` are its columns.
    pub fn to_owned<'b>(&self, attributes: impl Iterator<Item = (usize, &'b Attribute)>) -> OwnedRow {
        let mut values = vec![None; self.values.len()];
        for (position, attribute) in attributes {
            values[position] = self.get(position).map(|value| OwnedValue::copy(value, attribute));
        }
        OwnedRow::new(values)
    }

    /// Makes `slot`, a virtual one of the same columns, show this row, as long as it lives.
    ///
    /// # Safety
    /// `slot` must be a virtual slot whose columns are the row's.
    pub(super) unsafe fn show_in(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: a virtual slot's values are only read by who evaluates expressions over it.
        unsafe {
            let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
            (*slot).tts_values = self.values.as_ptr().cast_mut();
            (*slot).tts_isnull = self.nulls.as_ptr().cast_mut();
            (*slot).tts_nvalid = self.values.len().min(columns) as i16;
            (*slot).tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16);
        }
    }

    /// The row as a table has it whose column `to` is this one's column `from`, for each pair; its other columns are
    /// NULL.
    pub fn rearranged(&self, width: usize, pairs: impl Iterator<Item = (usize, usize)>) -> Rearranged<'a> {
        let mut rearranged = Rearranged {
            values: vec![pg_sys::Datum::null(); width],
            nulls: vec![true; width],
            lifetime: std::marker::PhantomData,
        };
        for (from, to) in pairs {
            rearranged.values[to] = self.values[from];
            rearranged.nulls[to] = self.nulls[from];
        }
        rearranged
    }

    /// A row of values that were formed elsewhere.
    pub(super) fn of(values: &'a [pg_sys::Datum], nulls: &'a [bool]) -> Self {
        Self { values, nulls }
    }

    /// The value at `position`, counted from zero; `None` for NULL.
    pub fn get(&self, position: usize) -> Option<Value<'a>> {
        // SAFETY: the row lives during `'a`.
        (!self.nulls[position]).then(|| unsafe { Value::new(self.values[position]) })
    }
}

/// A row with its columns in another order.
pub struct Rearranged<'a> {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    lifetime: std::marker::PhantomData<&'a [u8]>,
}

impl Rearranged<'_> {
    /// The row.
    pub fn row(&self) -> Row<'_> {
        Row::of(&self.values, &self.nulls)
    }
}

/// A row of our own.
pub struct OwnedRow {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    // What `values` points into.
    _owned: Vec<Option<OwnedValue>>,
}

impl OwnedRow {
    fn new(owned: Vec<Option<OwnedValue>>) -> Self {
        Self {
            values: owned
                .iter()
                .map(|value| value.as_ref().map_or(pg_sys::Datum::null(), |value| value.value().datum()))
                .collect(),
            nulls: owned.iter().map(Option::is_none).collect(),
            _owned: owned,
        }
    }

    /// The row.
    pub fn row(&self) -> Row<'_> {
        Row::of(&self.values, &self.nulls)
    }
}
