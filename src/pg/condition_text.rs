//! The text of a condition: what PostgreSQL's parser makes of it, and which columns it names where.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ops::Range;

use audit_core::names::second_name;
use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::catalog::to_utf8;
use super::caught::{Mistake, caught};
use super::list::cells;
use super::naming::PlainQuotes;
use super::scope::with_settings;

mod unbound {
    use std::ffi::c_void;

    use pgrx::pg_sys;

    pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;
    unsafe extern "C-unwind" {
        /// `src/include/nodes/nodeFuncs.h`, which pgrx does not bind.
        pub fn raw_expression_tree_walker(
            node: *mut pg_sys::Node,
            walker: Walker,
            context: *mut c_void,
        ) -> bool;
    }
}

/// What the parser looks at and a client can set.
pub(super) const PARSED: [(&CStr, &CStr); 3] = [
    (c"standard_conforming_strings", c"on"),
    (c"escape_string_warning", c"off"),
    (c"transform_null_equals", c"off"),
];

/// A column that a condition names, as in `new.status`.
pub struct Reference {
    /// Its name, in the database's encoding.
    pub name: Vec<u8>,
    /// Where the name stands in the text; `None` where it is written in a way that cannot be rewritten.
    pub place: Option<Range<usize>>,
}

/// The columns that `text`, in the database's encoding, names.
pub fn references(text: &[u8]) -> Result<Vec<Reference>, Mistake> {
    let source = CString::new(text).map_err(|_| Mistake::syntax("it holds a zero byte"))?;
    let mut found: Vec<(Vec<u8>, usize)> = Vec::new();
    // SAFETY: the tree is walked before the memory context that holds it is reset; errors are caught and lead to one
    // of ours.
    let walk = || unsafe {
        let into = std::ptr::from_mut(&mut found).cast();
        parse(&source).map(|node| pg_guard_ffi_boundary(|| collect(node, into)))
    };
    caught(|| with_settings(&PARSED, walk))??;
    let reference = |(name, start)| Reference { name, place: second_name(text, start) };
    Ok(found.into_iter().map(reference).collect())
}

/// `name`, quoted where SQL needs it.
pub fn quoted(name: &[u8]) -> Vec<u8> {
    let name = CString::new(name).unwrap_or_default();
    let _quotes = PlainQuotes::begin();
    // SAFETY: the result is the name itself or a C string in the current memory context, copied here.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())).to_bytes().to_vec() }
}

/// `name` in quotes.
pub fn in_quotes(name: &[u8]) -> Vec<u8> {
    let doubled = name.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    std::iter::once(b'"').chain(doubled).chain(std::iter::once(b'"')).collect()
}

/// The expression that `text` is; anything else that a SELECT could have is refused.
///
/// # Safety
/// Errors of PostgreSQL's must be caught by the caller.
pub(super) unsafe fn parse(text: &CStr) -> Result<*mut pg_sys::Node, Mistake> {
    // SAFETY: the parser gives a list with one RawStmt; in this mode its statement is a SELECT with what PL/pgSQL
    // takes for an expression, which is more than one.
    unsafe {
        let list = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let [statement] = cells(list) else { return Err(Mistake::syntax("it is no expression")) };
        let select = &*(*statement.ptr_value.cast::<pg_sys::RawStmt>()).stmt.cast::<pg_sys::SelectStmt>();
        let [target] = cells(select.targetList) else {
            let what =
                if select.targetList.is_null() { "it is empty" } else { "it is more than one expression" };
            return Err(Mistake::syntax(what));
        };
        let target = &*target.ptr_value.cast::<pg_sys::ResTarget>();
        if !target.name.is_null() {
            let name = to_utf8(CStr::from_ptr(target.name).to_bytes());
            return Err(Mistake::syntax(&format!("it gives its result the name \"{name}\"")));
        }
        let more = !select.distinctClause.is_null()
            || !select.fromClause.is_null()
            || !select.whereClause.is_null()
            || !select.groupClause.is_null()
            || !select.havingClause.is_null()
            || !select.windowClause.is_null()
            || !select.sortClause.is_null()
            || !select.limitOffset.is_null()
            || !select.limitCount.is_null()
            || !select.lockingClause.is_null()
            || !select.withClause.is_null()
            || !select.intoClause.is_null()
            || select.op != pg_sys::SetOperation::SETOP_NONE
            || !target.indirection.is_null();
        if more { Err(Mistake::syntax("it is a query, not an expression")) } else { Ok(target.val) }
    }
}

/// Adds the columns named at or below `node` to the vector behind `found`, each with its place.
///
/// # Safety
/// `node` must be null or a raw parse tree, and `found` a vector of names and places. Errors of PostgreSQL's jump to the
/// caller's guard.
unsafe extern "C-unwind" fn collect(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    // SAFETY: as the caller promises; a ColumnRef's fields are names or a star.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ != pg_sys::NodeTag::T_ColumnRef {
            // Not guarded at each level: a panic must not unwind through PostgreSQL's frames, nor a guard's. An error
            // (the tree is too deep) may jump over this one, which owns nothing.
            return unbound::raw_expression_tree_walker(node, collect, found);
        }
        let column = &*node.cast::<pg_sys::ColumnRef>();
        let name = |field: &pg_sys::ListCell| {
            let node = field.ptr_value.cast::<pg_sys::Node>();
            ((*node).type_ == pg_sys::NodeTag::T_String)
                .then(|| CStr::from_ptr((*node.cast::<pg_sys::String>()).sval).to_bytes().to_vec())
        };
        if let [row, field] = cells(column.fields)
            && let (Some(row), Some(field)) = (name(row), name(field))
            && matches!(&row[..], b"old" | b"new")
        {
            let location: c_int = column.location;
            (*found.cast::<Vec<(Vec<u8>, usize)>>()).push((field, location.max(0) as usize));
        }
        false
    }
}
