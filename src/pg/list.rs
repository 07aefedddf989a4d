//! PostgreSQL's lists.

use pgrx::pg_sys;

/// The cells of a list, of pointers or OIDs as it was made; none of a null one, which is an empty list.
///
/// # Safety
/// `list` must be null or a list, and neither be changed nor freed during `'a`.
pub(super) unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: a list holds `length` cells.
    unsafe { std::slice::from_raw_parts((*list).elements, (*list).length as usize) }
}
