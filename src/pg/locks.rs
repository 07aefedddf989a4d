//! Locks on tables, one by one.

use std::time::Duration;

use pgrx::pg_sys;

const MODE: i32 = pg_sys::AccessExclusiveLock as i32;

/// Locks a table, after whoever came before.
pub fn wait_for(table: pg_sys::Oid) {
    // SAFETY: takes a lock of the transaction; what else changed meanwhile is told first.
    unsafe { pg_sys::LockRelationOid(table, MODE) }
}

/// Locks a table if nobody else has it.
pub fn try_lock(table: pg_sys::Oid) -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(table, MODE) }
}

/// Gives a lock back before the transaction ends. Nothing may have been done under it.
pub fn release(table: pg_sys::Oid) {
    // SAFETY: taken by one of the above.
    unsafe { pg_sys::UnlockRelationOid(table, MODE) }
}

/// A lock against dropping and most of ALTER TABLE, given back when this goes.
pub struct Shared(pg_sys::Oid);

/// Takes it, unless somebody has the table to himself.
pub fn shared_at_once(table: pg_sys::Oid) -> Option<Shared> {
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(table, pg_sys::AccessShareLock as i32) }.then_some(())?;
    Some(Shared(table))
}

impl Drop for Shared {
    fn drop(&mut self) {
        // After an error the transaction's abort gives it back.
        if !std::thread::panicking() {
            // SAFETY: taken by `shared_at_once`; a lock that the transaction had before stays.
            unsafe { pg_sys::UnlockRelationOid(self.0, pg_sys::AccessShareLock as i32) }
        }
    }
}

/// `lock_timeout`; `None` waits for ever.
pub fn timeout() -> Option<Duration> {
    // SAFETY: reads a variable of the backend.
    let milliseconds = unsafe { pg_sys::LockTimeout };
    u64::try_from(milliseconds).ok().filter(|&limit| limit > 0).map(Duration::from_millis)
}
