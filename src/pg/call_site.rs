//! What a function keeps between the calls of one place in a query.

use pgrx::{PgMemoryContexts, pg_sys};

/// What the call site behind `info` keeps; made anew on the first call, and where it is not `current`.
///
/// # Safety
/// `info` must be of a function that keeps nothing but a `T`.
pub(super) unsafe fn kept<T>(
    info: &mut pg_sys::FmgrInfo,
    current: impl FnOnce(&T) -> bool,
    make: impl FnOnce(&pg_sys::FmgrInfo) -> T,
) -> &T {
    let known: *mut T = info.fn_extra.cast();
    // SAFETY: as the caller promises; what is kept lives in fn_mcxt and is dropped with it.
    unsafe {
        if known.is_null() {
            let made = make(info);
            info.fn_extra = PgMemoryContexts::For(info.fn_mcxt).leak_and_drop_on_delete(made).cast();
        } else if !current(&*known) {
            *known = make(info);
        }
        &*info.fn_extra.cast()
    }
}
