//! Expressions as PostgreSQL's analysis leaves them.

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

/// The nodes of an expression; they live as long as it does.
///
/// # Safety
/// `expression` must be analysed.
pub(super) unsafe fn nodes(expression: *mut pg_sys::Node) -> Vec<*mut pg_sys::Node> {
    let mut found = Vec::new();
    // SAFETY: as the caller promises; the guard takes errors along.
    unsafe {
        let into = std::ptr::from_mut(&mut found).cast();
        pg_guard_ffi_boundary(|| collect(expression, into));
    }
    found
}

/// Adds the nodes at or below `node` to the vector behind `found`.
///
/// # Safety
/// `node` must be null or an expression, and `found` a vector of nodes. Errors of PostgreSQL's jump to the caller's guard.
unsafe extern "C-unwind" fn collect(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        if node.is_null() {
            return false;
        }
        (*found.cast::<Vec<*mut pg_sys::Node>>()).push(node);
        // Not guarded at each level: an error may jump over this one, which owns nothing.
        unbound::expression_tree_walker(node, collect, found)
    }
}
