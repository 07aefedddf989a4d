//! Looking up what a foreign key refers to: an index scan of our own, with no SPI and none of the writer's rights.

use std::cmp::Reverse;
use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::catalog;
use super::list::cells;
use super::output::{Function, PlanMemory};
use super::row::{Attribute, OpenRelation, Row, Written, index_oids, updater};
use super::scope::as_restricted;
use super::value::OwnedValue;

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

/// A foreign key.
#[derive(Clone)]
pub struct ForeignKey {
    /// The constraint.
    pub oid: pg_sys::Oid,
    /// The table that it refers to.
    pub table: pg_sys::Oid,
    columns: Vec<KeyColumn>,
}

/// Positions count from zero.
#[derive(Clone)]
struct KeyColumn {
    /// The column's position.
    own: usize,
    /// The position of the column that it refers to.
    referenced: usize,
    operator: pg_sys::Oid,
}

impl ForeignKey {
    /// The positions of its columns.
    pub fn columns(&self) -> Vec<usize> {
        self.columns.iter().map(|column| column.own).collect()
    }
}

/// The foreign keys that the column at `position` (from zero) of `relation` is in: those of the fewest columns
/// first, and the oldest of them. A partition has its own after those that it shares with the tables above, those of the topmost
/// first, so that a path leads along the same from each.
pub fn foreign_keys(relation: pg_sys::Oid, position: usize) -> Vec<ForeignKey> {
    let Some(open) = OpenRelation::peek(relation) else { return Vec::new() };
    // SAFETY: the relation is open; its list of foreign keys belongs to the relation cache and is copied before
    // anything could invalidate it.
    let all: Vec<ForeignKey> = unsafe {
        let list = pg_sys::RelationGetFKeyList(open.relation().as_ptr());
        let column = |key: &pg_sys::ForeignKeyCacheInfo, n: usize| KeyColumn {
            own: key.conkey[n] as usize - 1,
            referenced: key.confkey[n] as usize - 1,
            operator: key.conpfeqop[n],
        };
        cells(list)
            .iter()
            .map(|cell| &*cell.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>())
            .map(|key| ForeignKey {
                oid: key.conoid,
                table: key.confrelid,
                columns: (0..key.nkeys as usize).map(|n| column(key, n)).collect(),
            })
            .collect()
    };
    // A reference to a partitioned table is also one to each of its partitions; the whole is meant.
    let of_a_whole = |key: &ForeignKey| {
        catalog::ancestors(key.table)
            .any(|whole| all.iter().any(|other| other.table == whole && other.columns() == key.columns()))
    };
    let mut keys: Vec<ForeignKey> = all
        .iter()
        .filter(|key| key.columns.iter().any(|column| column.own == position) && !of_a_whole(key))
        .cloned()
        .collect();
    keys.sort_by_cached_key(|key| {
        let above: Vec<_> = catalog::constraints_above(key.oid).collect();
        let root = above.last().unwrap_or(&key.oid);
        (Reverse(above.len()), key.columns.len(), root.to_u32())
    });
    keys
}

/// How to read columns of the row that a foreign key refers to.
pub struct Lookup {
    /// The table, with its partitions: whose change makes this stale.
    pub tables: Vec<pg_sys::Oid>,
    leaves: Vec<Leaf>,
    comparisons: Vec<Comparison>,
    wanted: Vec<Attribute>,
    /// Whose rights casts and comparisons of users' have: the referenced table's owner's, as where PostgreSQL checks the key.
    owner: pg_sys::Oid,
}

/// How a column of the key is compared with what it refers to.
struct Comparison {
    function: pg_sys::Oid,
    subtype: pg_sys::Oid,
    /// What makes the column's value one that the function takes, where the types differ.
    cast: Option<Function>,
}

/// A table with rows, its index on the key, and where the wanted columns stand.
struct Leaf {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    /// For each column of the index, which of the key's it is.
    order: Vec<usize>,
    positions: Vec<usize>,
}

impl Lookup {
    /// A lookup from `key` of `relation` to the columns `wanted` of the table it refers to; `None` if one is not
    /// there.
    pub fn new(
        memory: &PlanMemory,
        relation: pg_sys::Oid,
        key: &ForeignKey,
        wanted: &[String],
    ) -> Option<Self> {
        let own = OpenRelation::open(relation).relation().attributes();
        let columns = OpenRelation::open(key.table).relation().attributes();
        let named = |label: &String| columns.iter().flatten().find(|column| column.label == *label).cloned();
        let attributes = wanted.iter().map(named).collect::<Option<Vec<_>>>()?;
        let key_labels = key
            .columns
            .iter()
            .map(|column| Some(columns.get(column.referenced)?.as_ref()?.label.clone()))
            .collect::<Option<Vec<_>>>()?;
        let comparison = |column: &KeyColumn| {
            Some(Comparison::of(memory, column.operator, own.get(column.own)?.as_ref()?.type_oid))
        };
        let comparisons = key.columns.iter().map(comparison).collect::<Option<Vec<_>>>()?;
        let tables = with_partitions(key.table);
        let mut leaves = Vec::new();
        for table in &tables {
            let open = OpenRelation::open(*table);
            if !open.relation().is_partitioned() {
                let columns = open.relation().attributes();
                let position = |label: &String| {
                    columns.iter().position(|c| c.as_ref().is_some_and(|c| c.label == *label))
                };
                let positions = |labels: &[String]| labels.iter().map(position).collect::<Option<Vec<_>>>();
                let (index, order) = unique_index(&open, &positions(&key_labels)?)?;
                leaves.push(Leaf { table: *table, index, order, positions: positions(wanted)? });
            }
        }
        let owner = catalog::table_owner(key.table)?;
        Some(Self { tables, leaves, comparisons, wanted: attributes, owner })
    }

    /// The type of the first wanted column.
    pub fn type_oid(&self) -> pg_sys::Oid {
        self.wanted[0].type_oid
    }

    /// The wanted columns of the row that `key` refers to, and when that was written: as it is now, also where this very command
    /// made it, or else as it was when this transaction deleted it. `None` without such a row or where one of them is NULL.
    ///
    /// `was_written`: where the key is that of a row which is no more, when that was written. If the key passed to another row
    /// since, by a cascade or before a deferred constraint looked, the one that had it until then is meant.
    pub fn find(
        &self,
        key: &[OwnedValue],
        was_written: Option<Written>,
    ) -> Option<(Vec<OwnedValue>, Written)> {
        as_restricted(self.owner, || {
            let values = self.as_compared(key)?;
            let of_leaves = |found: &dyn Fn(&Leaf) -> Option<Version>| self.leaves.iter().find_map(found);
            let live = of_leaves(&|leaf| self.live(leaf, &values));
            let version = match (live, was_written) {
                (Some(live), Some(since)) if live.written > since => {
                    of_leaves(&|leaf| self.taken(leaf, &values, Some((since, live.place)))).unwrap_or(live)
                }
                (Some(live), _) => live,
                (None, _) => of_leaves(&|leaf| self.taken(leaf, &values, None))?,
            };
            Some((version.columns?, version.written))
        })
    }

    /// The key's values, of the types that they are compared as.
    fn as_compared(&self, key: &[OwnedValue]) -> Option<Vec<pg_sys::Datum>> {
        let as_compared = |(value, comparison): (&'_ OwnedValue, &Comparison)| match &comparison.cast {
            Some(cast) => cast.foreign_cast(value.value()).map(|value| value.datum()),
            None => Some(value.value().datum()),
        };
        key.iter().zip(&self.comparisons).map(as_compared).collect()
    }

    /// The row as it is now.
    fn live(&self, leaf: &Leaf, values: &[pg_sys::Datum]) -> Option<Version> {
        let mut found = None;
        self.scan(leaf, values, false, |slot| {
            // SAFETY: the scan put a row there.
            found = Some(unsafe { self.version(leaf, slot) });
            false
        });
        found
    }

    /// The version that this transaction took away last. `since`: or the first that it took away since then, unless it is an
    /// earlier one of the row at that place.
    fn taken(
        &self,
        leaf: &Leaf,
        values: &[pg_sys::Datum],
        since: Option<(Written, Place)>,
    ) -> Option<Version> {
        let (mut found, mut taken) = (None, None);
        let mut followed_by = HashMap::new();
        self.scan(leaf, values, true, |slot| {
            // SAFETY: the scan put a row there.
            let Some((command, place, next)) = (unsafe { taken_by(slot) }) else { return true };
            followed_by.insert(place, next);
            let is_it = match since {
                None => taken.is_none_or(|taken| command >= taken),
                Some((since, _)) => Written::by(command) > since && taken.is_none_or(|taken| command < taken),
            };
            if is_it {
                taken = Some(command);
                // SAFETY: as above.
                found = Some(unsafe { self.version(leaf, slot) });
            }
            true
        });
        let found: Version = found?;
        let Some((_, live)) = since else { return Some(found) };
        // Versions of one row follow each other, also where they have the same key.
        let (mut last, mut place) = (found.place, found.place);
        while let Some(next) = followed_by.remove(&place) {
            (last, place) = (place, next);
        }
        if place == live {
            return None;
        }
        // As the row was last while it had the key.
        let mut version = Some(found).filter(|found| found.place == last);
        if version.is_none() {
            self.scan(leaf, values, true, |slot| {
                // SAFETY: the scan put a row there.
                let here = unsafe { Place::of((*slot).tts_tableOid, &(*slot).tts_tid) };
                if here == last {
                    // SAFETY: as above.
                    version = Some(unsafe { self.version(leaf, slot) });
                }
                version.is_none()
            });
        }
        version
    }

    /// # Safety
    /// `slot` must hold a row of the leaf's table in a buffer.
    unsafe fn version(&self, leaf: &Leaf, slot: *mut pg_sys::TupleTableSlot) -> Version {
        // SAFETY: as the caller promises.
        unsafe {
            let row = Row::in_slot(slot);
            let columns = leaf.positions.iter().zip(&self.wanted);
            Version {
                columns: columns
                    .map(|(position, column)| Some(OwnedValue::copy(row.get(*position)?, column)))
                    .collect(),
                written: Written::of(&*header(slot)),
                place: Place::of((*slot).tts_tableOid, &(*slot).tts_tid),
            }
        }
    }

    /// Hands the row of that key to `visit`, or all its versions, until it has enough.
    fn scan(
        &self,
        leaf: &Leaf,
        values: &[pg_sys::Datum],
        versions: bool,
        mut visit: impl FnMut(*mut pg_sys::TupleTableSlot) -> bool,
    ) {
        // SAFETY: everything opened is closed, in reverse order; after an error the transaction's abort does
        // it. The keys' types are the operators' right sides. A registered snapshot is a copy of our own, so that
        // its command id can be raised by one.
        unsafe {
            let heap = pg_sys::table_open(leaf.table, pg_sys::AccessShareLock as i32);
            let tree = pg_sys::index_open(leaf.index, pg_sys::AccessShareLock as i32);
            let mut scan_keys = vec![pg_sys::ScanKeyData::default(); leaf.order.len()];
            for (column, (scan_key, which)) in scan_keys.iter_mut().zip(&leaf.order).enumerate() {
                pg_sys::ScanKeyEntryInitialize(
                    scan_key,
                    0,
                    column as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    self.comparisons[*which].subtype,
                    *(*tree).rd_indcollation.add(column),
                    self.comparisons[*which].function,
                    values[*which],
                );
            }
            let snapshot = if versions {
                &raw mut pg_sys::SnapshotAnyData
            } else {
                let latest = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
                (*latest).curcid = pg_sys::GetCurrentCommandId(false) + 1;
                latest
            };
            let slot = pg_sys::MakeSingleTupleTableSlot((*heap).rd_att, &pg_sys::TTSOpsBufferHeapTuple);
            let keys = scan_keys.len() as i32;
            let scan = pg_sys::index_beginscan(heap, tree, snapshot, keys, 0);
            pg_sys::index_rescan(scan, scan_keys.as_mut_ptr(), keys, std::ptr::null_mut(), 0);
            while pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot)
                && visit(slot)
            {}
            pg_sys::index_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            if !versions {
                pg_sys::UnregisterSnapshot(snapshot);
            }
            pg_sys::index_close(tree, pg_sys::NoLock as i32);
            pg_sys::table_close(heap, pg_sys::NoLock as i32);
        }
    }
}

/// A version of a row that a key refers to.
struct Version {
    /// The wanted columns, unless one is NULL.
    columns: Option<Vec<OwnedValue>>,
    written: Written,
    place: Place,
}

/// Where a version stands: table, block and number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place(u32, u16, u16, u16);

impl Place {
    fn of(table: pg_sys::Oid, tid: &pg_sys::ItemPointerData) -> Self {
        Self(table.to_u32(), tid.ip_blkid.bi_hi, tid.ip_blkid.bi_lo, tid.ip_posid)
    }
}

/// # Safety
/// `slot` must hold a heap tuple in a buffer.
unsafe fn header(slot: *mut pg_sys::TupleTableSlot) -> pg_sys::HeapTupleHeader {
    let mut copied = false;
    // SAFETY: a buffer slot hands out its own tuple, whose header is on the page.
    unsafe { (*pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut copied)).t_data }
}

/// The command of this transaction that deleted or replaced the row version in `slot`, if one did, where that version stands, and
/// where the one that follows it does: itself, if it was deleted.
///
/// # Safety
/// `slot` must hold a heap tuple in a buffer.
unsafe fn taken_by(slot: *mut pg_sys::TupleTableSlot) -> Option<(pg_sys::CommandId, Place, Place)> {
    // SAFETY: as the caller promises; only of this transaction's versions is the command known.
    unsafe {
        let header = header(slot);
        let table = (*slot).tts_tableOid;
        pg_sys::TransactionIdIsCurrentTransactionId(updater(&*header)).then(|| {
            (
                pg_sys::HeapTupleHeaderGetCmax(header),
                Place::of(table, &(*slot).tts_tid),
                Place::of(table, &(*header).t_ctid),
            )
        })
    }
}

impl Comparison {
    /// By `operator`, of a column of the type `own`.
    fn of(memory: &PlanMemory, operator: pg_sys::Oid, own: pg_sys::Oid) -> Self {
        let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        let mut function = pg_sys::InvalidOid;
        // SAFETY: valid out parameters; an unknown operator is an error that the guard takes along.
        let (compare, path) = unsafe {
            pg_guard_ffi_boundary(|| unbound::op_input_types(operator, &mut left, &mut right));
            let path = pg_sys::find_coercion_pathway(
                right,
                own,
                pg_sys::CoercionContext::COERCION_IMPLICIT,
                &mut function,
            );
            (pg_sys::get_opcode(operator), path)
        };
        let cast = path == pg_sys::CoercionPathType::COERCION_PATH_FUNC && own != right;
        Self { function: compare, subtype: right, cast: cast.then(|| Function::new(memory, function)) }
    }
}

/// A table and all its partitions.
pub fn with_partitions(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: the list lives in the current memory context and holds OIDs; the guard takes errors along.
    unsafe {
        let list = pg_guard_ffi_boundary(|| {
            unbound::find_all_inheritors(table, pg_sys::AccessShareLock as i32, std::ptr::null_mut())
        });
        cells(list).iter().map(|cell| cell.oid_value).collect()
    }
}

/// A unique index on just the columns at `positions`, and for each of its columns which of them it is.
fn unique_index(open: &OpenRelation, positions: &[usize]) -> Option<(pg_sys::Oid, Vec<usize>)> {
    // SAFETY: the relation is open; each index is opened and closed here.
    unsafe {
        index_oids(open.relation().as_ptr()).into_iter().find_map(|oid| {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let form = &*(*index).rd_index;
            let keys = form.indnkeyatts as usize;
            let fits = form.indisunique
                && form.indisvalid
                && keys == positions.len()
                && pg_sys::RelationGetIndexPredicate(index).is_null();
            let which = |key: &i16| positions.iter().position(|position| *position + 1 == *key as usize);
            let order = fits.then(|| form.indkey.values.as_slice(keys).iter().map(which).collect());
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            Some((oid, order.flatten()?))
        })
    }
}
