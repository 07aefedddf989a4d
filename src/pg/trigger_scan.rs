//! The triggers that run given functions, read from `pg_trigger` itself: DDL is looked at command by command, no index of
//! the catalogue leads to them, and a query would cost more than the scan.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::catalog::to_utf8;
use super::snapshot::Snapshot;
use super::value::varlena_bytes;

/// One of them.
pub struct Stored {
    /// Its table.
    pub table: pg_sys::Oid,
    /// Its name, in UTF-8.
    pub name: String,
    /// `O`, `A`, `R` or `D`, as `pg_trigger.tgenabled` has it.
    pub enabled: u8,
    /// What it runs.
    pub function: pg_sys::Oid,
    /// Whether it stands on a partition because it stands on the partitioned table.
    pub is_clone: bool,
    /// Its only argument; `None` if it has none or several.
    pub argument: Option<Vec<u8>>,
    /// When it fires: for what, and under which condition.
    pub shape: Vec<u8>,
}

/// The triggers of `functions`, with what this transaction has done so far, or as a snapshot has them.
pub fn of_functions(functions: &[pg_sys::Oid], at: Option<&Snapshot>) -> Vec<Stored> {
    let mut found = Vec::new();
    // SAFETY: the catalogue is opened, scanned with this snapshot or one of its own and closed here, or by the transaction's abort; a
    // tuple lives until the next one and is a pg_trigger row.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let catalogue = pg_sys::table_open(pg_sys::TriggerRelationId, lock);
        let scan = pg_sys::systable_beginscan(
            catalogue,
            pg_sys::InvalidOid,
            false,
            at.map_or(std::ptr::null_mut(), Snapshot::as_ptr),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form: *const pg_sys::FormData_pg_trigger = pg_sys::heap_tuple_get_struct(tuple);
            let form = &*form;
            if functions.contains(&form.tgfoid) {
                found.push(Stored {
                    table: form.tgrelid,
                    name: to_utf8(CStr::from_ptr(form.tgname.data.as_ptr()).to_bytes()),
                    enabled: form.tgenabled as u8,
                    function: form.tgfoid,
                    is_clone: form.tgparentid != pg_sys::InvalidOid,
                    argument: (form.tgnargs == 1).then(|| {
                        let bytes = column(tuple, (*catalogue).rd_att, pg_sys::Anum_pg_trigger_tgargs);
                        // Each argument ends with a NUL.
                        bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec()
                    }),
                    shape: [
                        &form.tgtype.to_ne_bytes(),
                        &[u8::from(form.tgdeferrable), u8::from(form.tginitdeferred)][..],
                        column(tuple, (*catalogue).rd_att, pg_sys::Anum_pg_trigger_tgattr),
                        column(tuple, (*catalogue).rd_att, pg_sys::Anum_pg_trigger_tgqual),
                    ]
                    .concat(),
                });
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, lock);
    }
    found
}

/// A column of a trigger's, nothing where it is NULL.
///
/// # Safety
/// `tuple` must be a pg_trigger row, `descriptor` that of `pg_trigger`, and the column a varlena.
unsafe fn column<'a>(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, number: u32) -> &'a [u8] {
    let mut is_null = false;
    // SAFETY: as the caller promises.
    unsafe {
        let value = pg_sys::SPI_getbinval(tuple, descriptor, number as i32, &mut is_null);
        if is_null { b"" } else { varlena_bytes(value) }
    }
}
