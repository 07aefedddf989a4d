//! Being told when a table, a schema or a role changes.
//!
//! PostgreSQL calls back in the middle of almost anything, so the rooms' listeners only mark what they hold as
//! stale, and free it later.

use pgrx::{pg_guard, pg_sys};

/// Asks to be told for the rest of the backend's life. Called once, by `_PG_init`.
pub fn listen() {
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null());
        for cache in [pg_sys::SysCacheIdentifier::NAMESPACEOID, pg_sys::SysCacheIdentifier::AUTHOID] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(name_changed), pg_sys::Datum::null());
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let relation = (relation != pg_sys::InvalidOid).then_some(relation);
    crate::relations::forget(relation);
    super::event_table::forget(relation);
}

/// A schema's or a role's name may be another now: table names and role names are read again.
#[pg_guard]
unsafe extern "C-unwind" fn name_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    crate::relations::forget(None);
    crate::actor::forget();
}
