//! Looking up what a foreign key refers to: an index scan of our own, with no SPI and no rights needed.

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::row::{Attribute, OpenRelation, Row, index_oids};
use super::value::{OwnedValue, Value};

mod unbound {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        /// `src/include/utils/lsyscache.h`, which pgrx does not bind.
        pub fn op_input_types(operator: pg_sys::Oid, left: *mut pg_sys::Oid, right: *mut pg_sys::Oid);
        /// `src/include/catalog/pg_inherits.h`, likewise.
        pub fn find_all_inheritors(
            parent: pg_sys::Oid,
            lock: pg_sys::LOCKMODE,
            parents: *mut *mut pg_sys::List,
        ) -> *mut pg_sys::List;
    }
}

/// A foreign key of one column.
struct ForeignKey {
    table: pg_sys::Oid,
    /// The position of the column that it refers to.
    column: usize,
    operator: pg_sys::Oid,
}

/// The table that the column at `position` (from zero) of `relation` refers to; `None` if it is no foreign key
/// by itself.
pub fn referenced_table(relation: pg_sys::Oid, position: usize) -> Option<pg_sys::Oid> {
    foreign_key(relation, position).map(|key| key.table)
}

fn foreign_key(relation: pg_sys::Oid, position: usize) -> Option<ForeignKey> {
    let open = OpenRelation::peek(relation)?;
    // SAFETY: the relation is open; its list of foreign keys belongs to the relation cache and is read before
    // anything could invalidate it.
    unsafe {
        let list = pg_sys::RelationGetFKeyList(open.relation().as_ptr());
        if list.is_null() {
            return None;
        }
        let cells = std::slice::from_raw_parts((*list).elements, (*list).length as usize);
        cells
            .iter()
            .map(|cell| &*cell.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>())
            .find(|key| key.nkeys == 1 && key.conkey[0] as usize == position + 1)
            .map(|key| ForeignKey {
                table: key.confrelid,
                column: key.confkey[0] as usize - 1,
                operator: key.conpfeqop[0],
            })
    }
}

/// How to read one column of the row that a foreign key refers to.
pub struct Lookup {
    /// The table, with its partitions: whose change makes this stale.
    pub tables: Vec<pg_sys::Oid>,
    leaves: Vec<Leaf>,
    function: pg_sys::Oid,
    subtype: pg_sys::Oid,
    wanted: Attribute,
}

/// A table with rows, its index on the key, and where the wanted column stands.
struct Leaf {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    position: usize,
}

impl Lookup {
    /// A lookup from the foreign key at `position` of `relation` to the column `wanted` of the table it refers
    /// to; `None` if either is not there.
    pub fn new(relation: pg_sys::Oid, position: usize, wanted: &str) -> Option<Self> {
        let key = foreign_key(relation, position)?;
        let columns = OpenRelation::open(key.table).relation().attributes();
        let attribute = columns.iter().flatten().find(|column| column.label == wanted)?.clone();
        let key_label = columns.get(key.column)?.as_ref()?.label.clone();
        let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        // SAFETY: valid out parameters; an unknown operator is an error that the guard takes along.
        let function = unsafe {
            pg_guard_ffi_boundary(|| unbound::op_input_types(key.operator, &mut left, &mut right));
            pg_sys::get_opcode(key.operator)
        };
        let tables = with_partitions(key.table);
        let mut leaves = Vec::new();
        for table in &tables {
            let open = OpenRelation::open(*table);
            if !open.relation().is_partitioned() {
                let columns = open.relation().attributes();
                let position =
                    |label: &str| columns.iter().position(|c| c.as_ref().is_some_and(|c| c.label == label));
                let index = unique_index(&open, position(&key_label)?)?;
                leaves.push(Leaf { table: *table, index, position: position(wanted)? });
            }
        }
        Some(Self { tables, leaves, function, subtype: right, wanted: attribute })
    }

    /// The type of the wanted column.
    pub fn type_oid(&self) -> pg_sys::Oid {
        self.wanted.type_oid
    }

    /// The wanted column of the row that `key` refers to: as it is now, also where this very command made it,
    /// or else as it was when this transaction deleted it.
    pub fn find(&self, key: Value<'_>) -> Option<OwnedValue> {
        let scan = |deleted| self.leaves.iter().find_map(|leaf| self.scan(leaf, key, deleted));
        scan(false).or_else(|| scan(true)).flatten()
    }

    /// `None` without such a row, `Some(None)` where its column is NULL.
    fn scan(&self, leaf: &Leaf, key: Value<'_>, deleted: bool) -> Option<Option<OwnedValue>> {
        // SAFETY: everything opened is closed, in reverse order; after an error the transaction's abort does
        // it. The key's type is the operator's right side. A registered snapshot is a copy of our own, so that
        // its command id can be raised by one.
        unsafe {
            let heap = pg_sys::table_open(leaf.table, pg_sys::AccessShareLock as i32);
            let tree = pg_sys::index_open(leaf.index, pg_sys::AccessShareLock as i32);
            let mut scan_key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyEntryInitialize(
                &mut scan_key,
                0,
                1,
                pg_sys::BTEqualStrategyNumber as u16,
                self.subtype,
                *(*tree).rd_indcollation,
                self.function,
                key.datum(),
            );
            let snapshot = if deleted {
                &raw mut pg_sys::SnapshotAnyData
            } else {
                let latest = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
                (*latest).curcid = pg_sys::GetCurrentCommandId(false) + 1;
                latest
            };
            let slot = pg_sys::MakeSingleTupleTableSlot((*heap).rd_att, &pg_sys::TTSOpsBufferHeapTuple);
            let scan = pg_sys::index_beginscan(heap, tree, snapshot, 1, 0);
            pg_sys::index_rescan(scan, &mut scan_key, 1, std::ptr::null_mut(), 0);
            let mut found = None;
            while pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
                if deleted {
                    match deletion(slot) {
                        Deletion::Other => continue,
                        Deletion::Update if found.is_some() => continue,
                        Deletion::Update | Deletion::Delete => {}
                    }
                }
                let value = Row::in_slot(slot).get(leaf.position);
                found = Some(value.map(|value| OwnedValue::copy(value, &self.wanted)));
                if !deleted {
                    break;
                }
            }
            pg_sys::index_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            if !deleted {
                pg_sys::UnregisterSnapshot(snapshot);
            }
            pg_sys::index_close(tree, pg_sys::NoLock as i32);
            pg_sys::table_close(heap, pg_sys::NoLock as i32);
            found
        }
    }
}

/// What this transaction did to a row version.
enum Deletion {
    /// Deleted it: the version that a child's scope wants.
    Delete,
    /// Replaced it by another version.
    Update,
    /// Nothing.
    Other,
}

/// # Safety
/// `slot` must hold a heap tuple in a buffer.
unsafe fn deletion(slot: *mut pg_sys::TupleTableSlot) -> Deletion {
    // SAFETY: a buffer slot hands out its own tuple, whose header is on the page.
    unsafe {
        let mut copied = false;
        let tuple = &*pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut copied);
        let header = &*tuple.t_data;
        let mask = u32::from(header.t_infomask);
        if mask & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0 {
            return Deletion::Other;
        }
        let xmax = if mask & pg_sys::HEAP_XMAX_IS_MULTI != 0 {
            pg_sys::HeapTupleGetUpdateXid(tuple.t_data)
        } else {
            header.t_choice.t_heap.t_xmax
        };
        if !pg_sys::TransactionIdIsCurrentTransactionId(xmax) {
            return Deletion::Other;
        }
        let (own, next) = (tuple.t_self, header.t_ctid);
        let same = own.ip_posid == next.ip_posid
            && own.ip_blkid.bi_hi == next.ip_blkid.bi_hi
            && own.ip_blkid.bi_lo == next.ip_blkid.bi_lo;
        if same { Deletion::Delete } else { Deletion::Update }
    }
}

/// A table and all its partitions.
pub fn with_partitions(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: the list lives in the current memory context and holds OIDs; the guard takes errors along.
    unsafe {
        let list = pg_guard_ffi_boundary(|| {
            unbound::find_all_inheritors(table, pg_sys::AccessShareLock as i32, std::ptr::null_mut())
        });
        std::slice::from_raw_parts((*list).elements, (*list).length as usize)
            .iter()
            .map(|cell| cell.oid_value)
            .collect()
    }
}

/// A unique index on just the column at `position`.
fn unique_index(open: &OpenRelation, position: usize) -> Option<pg_sys::Oid> {
    // SAFETY: the relation is open; each index is opened and closed here.
    unsafe {
        index_oids(open.relation().as_ptr()).into_iter().find(|oid| {
            let index = pg_sys::index_open(*oid, pg_sys::AccessShareLock as i32);
            let form = &*(*index).rd_index;
            let fits = form.indisunique
                && form.indisvalid
                && form.indnkeyatts == 1
                && form.indkey.values.as_slice(1)[0] as usize == position + 1
                && pg_sys::RelationGetIndexPredicate(index).is_null();
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            fits
        })
    }
}
