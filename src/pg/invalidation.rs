//! Being told when a table, a schema or a role changes, and when a transaction ends.
//!
//! PostgreSQL calls back in the middle of almost anything, so the rooms' listeners only mark what they hold as
//! stale, and free it later.

use pgrx::{pg_guard, pg_sys};

/// Asks to be told for the rest of the backend's life. Called once, by `_PG_init`.
pub fn listen() {
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null());
        pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), std::ptr::null_mut());
        for cache in [
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::AUTHOID,
            // What turns a value into JSON.
            pg_sys::SysCacheIdentifier::CASTSOURCETARGET,
            pg_sys::SysCacheIdentifier::TYPEOID,
            pg_sys::SysCacheIdentifier::PROCOID,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(name_changed), pg_sys::Datum::null());
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let relation = (relation != pg_sys::InvalidOid).then_some(relation);
    crate::relations::forget(relation);
    crate::fits::forget(relation);
    crate::trail_rows::note(relation);
    super::event_table::forget(relation);
    super::event_reader::forget(relation);
    super::event_policy::forget(relation);
}

/// A schema's or a role's name may be another now, or how a type becomes JSON: all of it is read again.
#[pg_guard]
unsafe extern "C-unwind" fn name_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    crate::relations::forget(None);
    crate::actor::forget();
}

/// Called where a transaction or a savepoint ends: a row that waits for its partition has arrived by then.
#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            if let Err(error) = crate::capture::settle(0) {
                error.raise();
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            crate::moves::forget(None);
            crate::trail::forget(None);
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => crate::trail::committed(),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        crate::moves::forget(Some(own));
        crate::trail::forget(Some(own));
    }
}
