//! Doing something with other rights or under other settings, and always coming back.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::catalog;

/// Runs `work` with the rights of the extension's owner. The caller's own rights are checked before.
pub fn as_extension_owner<R>(work: impl FnOnce() -> R) -> R {
    match catalog::own_table(c"event").and_then(catalog::table_owner) {
        Some(owner) => as_role(owner, 0, work),
        None => work(),
    }
}

/// Runs `work` with the rights of `role` and no way to keep them: what it calls can neither set a role nor leave
/// anything behind in the session.
pub fn as_restricted<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> R {
    as_role(role, pg_sys::SECURITY_RESTRICTED_OPERATION as i32, work)
}

fn as_role<R>(role: pg_sys::Oid, restrictions: i32, work: impl FnOnce() -> R) -> R {
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back what was read.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: valid out parameters; the role exists, since it owns a table.
    let _restore = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let local = context | restrictions | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(role, local);
        Restore(user, context)
    };
    work()
}

/// Runs `work` with `settings` in force. What it sets besides, in functions of users', is taken back as well, or they
/// could change the session of whoever came by; an error takes it all back with its transaction.
pub fn with_settings<R>(settings: &[(&CStr, &CStr)], work: impl FnOnce() -> R) -> R {
    // SAFETY: the nest level is closed below, or by the transaction's abort.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in settings {
        // SAFETY: C strings; the server copies them.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
    let result = work();
    // SAFETY: closes the level opened above.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    result
}

/// A connection to SPI that may commit: what a procedure called outside a transaction block needs.
pub struct Commits(());

impl Commits {
    /// Connects.
    pub fn connect() -> Self {
        // SAFETY: finished in `drop`, or by the transaction's abort.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        Self(())
    }

    /// Commits what was done so far and begins the next transaction.
    pub fn commit(&self) {
        // SAFETY: connected non-atomically.
        unsafe { pg_sys::SPI_commit() };
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: connected by `connect`.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}
