//! The functions that a condition calls.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

mod unbound {
    use std::ffi::c_void;

    use pgrx::pg_sys;

    pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;
    unsafe extern "C-unwind" {
        /// `src/include/nodes/nodeFuncs.h`, which pgrx does not bind.
        pub fn expression_tree_walker(node: *mut pg_sys::Node, walker: Walker, context: *mut c_void) -> bool;
    }
}

/// Those of `expression`, behind operators and casts, too. What these call in turn, nobody can tell.
///
/// # Safety
/// `expression` must be analysed.
pub(super) unsafe fn functions_called(expression: *mut pg_sys::Node) -> Vec<pg_sys::Oid> {
    let mut found: Vec<pg_sys::Oid> = Vec::new();
    // SAFETY: as the caller promises; the guard takes errors along.
    unsafe {
        pg_guard_ffi_boundary(|| collect(expression, (&raw mut found).cast()));
    }
    found
}

/// Adds the functions called at or below `node` to the vector behind `found`.
///
/// # Safety
/// `node` must be null or part of an analysed expression, and `found` a vector of OIDs. Errors of PostgreSQL's jump to the
/// caller's guard.
unsafe extern "C-unwind" fn collect(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    // SAFETY: as the caller promises. Nothing here owns anything that an error would jump over.
    unsafe {
        if node.is_null() {
            return false;
        }
        pg_sys::check_functions_in_node(node, Some(add), found);
        unbound::expression_tree_walker(node, collect, found)
    }
}

/// # Safety
/// `found` must be a vector of OIDs.
unsafe extern "C-unwind" fn add(function: pg_sys::Oid, found: *mut c_void) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*found.cast::<Vec<pg_sys::Oid>>()).push(function) }
    false
}
