//! The functions that a condition calls.

use std::ffi::c_void;

use pgrx::pg_sys;

use super::expression::nodes;

/// Those of `expression`, behind operators and casts, too. What these call in turn, nobody can tell.
///
/// # Safety
/// `expression` must be analysed.
pub(super) unsafe fn functions_called(expression: *mut pg_sys::Node) -> Vec<pg_sys::Oid> {
    let mut found: Vec<pg_sys::Oid> = Vec::new();
    // SAFETY: as the caller promises.
    unsafe {
        for node in nodes(expression) {
            pg_sys::check_functions_in_node(node, Some(add), std::ptr::from_mut(&mut found).cast());
        }
    }
    found
}

/// # Safety
/// `found` must be a vector of OIDs.
unsafe extern "C-unwind" fn add(function: pg_sys::Oid, found: *mut c_void) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*found.cast::<Vec<pg_sys::Oid>>()).push(function) }
    false
}
