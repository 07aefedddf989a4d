//! The casts in a condition. Other than what is stored as a tree, such as a trigger's WHEN, a condition is read anew, and any
//! cast that is there by then is found, whoever made it.

use std::ffi::CStr;

use pgrx::pg_catalog::pg_proc::PgProc;
use pgrx::pg_sys;

use super::catalog::to_utf8;
use super::caught::Mistake;
use super::expression::nodes;

/// Refuses a cast whose code belongs to neither `owner`, as whom the condition is evaluated, nor a superuser: whoever owns a
/// type makes casts and checks of it, and would get `owner`'s rights.
///
/// # Safety
/// `expression` must be valid.
pub(super) unsafe fn refuse_foreign_casts(
    expression: *mut pg_sys::Node,
    owner: pg_sys::Oid,
) -> Result<(), Mistake> {
    // SAFETY: as the caller promises.
    unsafe {
        match nodes(expression).into_iter().find_map(|node| foreign(node, owner)) {
            Some(what) => Err(Mistake::foreign_cast(&what)),
            None => Ok(()),
        }
    }
}

/// What a node converts by, if it does and that is somebody else's.
///
/// # Safety
/// `node` must be part of an analysed expression.
unsafe fn foreign(node: *mut pg_sys::Node, owner: pg_sys::Oid) -> Option<String> {
    use pg_sys::CoercionForm::{COERCE_EXPLICIT_CAST, COERCE_IMPLICIT_CAST};
    let is_foreign = |role| {
        // SAFETY: looks the role up.
        role != owner && !unsafe { pg_sys::superuser_arg(role) }
    };
    // SAFETY: as the tags say; names are C strings in the current memory context, copied here.
    unsafe {
        let shown = |name: *mut std::ffi::c_char| to_utf8(CStr::from_ptr(name).to_bytes());
        if (*node).type_ == pg_sys::NodeTag::T_CoerceToDomain {
            let domain = (*node.cast::<pg_sys::CoerceToDomain>()).resulttype;
            return is_foreign(type_owner(domain)?)
                .then(|| format!("domain {}", shown(pg_sys::format_type_be_qualified(domain))));
        }
        if (*node).type_ != pg_sys::NodeTag::T_FuncExpr {
            return None;
        }
        let call = &*node.cast::<pg_sys::FuncExpr>();
        let is_cast = matches!(call.funcformat, COERCE_EXPLICIT_CAST | COERCE_IMPLICIT_CAST);
        (is_cast && is_foreign(PgProc::new(call.funcid)?.proowner()))
            .then(|| format!("function {}", shown(pg_sys::format_procedure_qualified(call.funcid))))
    }
}

fn type_owner(type_oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up, released after its last use; the tuple is a pg_type row.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            pg_sys::Datum::from(type_oid),
        );
        if tuple.is_null() {
            return None;
        }
        let form: *const pg_sys::FormData_pg_type = pg_sys::heap_tuple_get_struct(tuple);
        let owner = (*form).typowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}
