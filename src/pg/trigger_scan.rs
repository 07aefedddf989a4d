//! The triggers that run given functions, read from `pg_trigger` itself: DDL is looked at command by command, no index of
//! the catalogue leads to them, and a query would cost more than the scan.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::catalog::to_utf8;
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
}

/// The triggers of `functions`, with what this transaction has done so far.
pub fn of_functions(functions: &[pg_sys::Oid]) -> Vec<Stored> {
    let mut found = Vec::new();
    // SAFETY: the catalogue is opened, scanned with a snapshot of its own and closed here, or by the transaction's abort; a
    // tuple lives until the next one and is a pg_trigger row.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let catalogue = pg_sys::table_open(pg_sys::TriggerRelationId, lock);
        let scan = pg_sys::systable_beginscan(
            catalogue,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
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
                    argument: (form.tgnargs == 1).then(|| only_argument(tuple, (*catalogue).rd_att)),
                });
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, lock);
    }
    found
}

/// The argument of a trigger that has one.
///
/// # Safety
/// `tuple` must be a pg_trigger row, and `descriptor` that of `pg_trigger`.
unsafe fn only_argument(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Vec<u8> {
    let mut is_null = false;
    // SAFETY: as the caller promises; tgargs is a bytea and never NULL, each argument in it ends with a NUL.
    let bytes = unsafe {
        let column = pg_sys::Anum_pg_trigger_tgargs as i32;
        varlena_bytes(pg_sys::SPI_getbinval(tuple, descriptor, column, &mut is_null))
    };
    bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec()
}
