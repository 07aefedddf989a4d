//! A condition on an index in place of `audit_match`: what the planner asks for, and where it ends at execution.

use std::ffi::CStr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{IntoDatum, PgList, pg_sys};

use super::array;
use super::catalog;
use super::value::{Text, varlena_bytes};
use crate::matching::Place;

mod unbound {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        /// `src/include/utils/pg_locale.h`, which pgrx does not bind.
        pub fn lc_collate_is_c(collation: pg_sys::Oid) -> bool;
    }
}

/// No text of a UTF-8 database has this byte, so that none comes after it.
const AFTER_ALL_TEXTS: &[u8] = b"\xff";
/// After all that an action is made of, and a text in any encoding.
const AFTER_ALL_ACTIONS: &[u8] = b"~";
/// How the calls in our conditions are marked. SQL cannot write such a call.
const MADE_HERE: pg_sys::CoercionForm::Type = pg_sys::CoercionForm::COERCE_SQL_SYNTAX;

/// Conditions on the index that hold wherever the pattern matches.
///
/// # Safety
/// `request` must be the planner's.
pub(super) unsafe fn condition(
    request: &mut pg_sys::SupportRequestIndexCondition,
) -> Option<PgList<pg_sys::Node>> {
    // SAFETY: nodes are what their tags say; the functions only look at what they are given.
    unsafe {
        let is_in_byte_order = match request.opfamily {
            pg_sys::TEXT_BTREE_FAM_OID => {
                let collation = request.indexcollation;
                pg_guard_ffi_boundary(|| unbound::lc_collate_is_c(collation))
            }
            pg_sys::TEXT_PATTERN_BTREE_FAM_OID => true,
            _ => false,
        };
        if !is_in_byte_order || request.indexarg != 0 || (*request.node).type_ != pg_sys::NodeTag::T_FuncExpr
        {
            return None;
        }
        let call: *const pg_sys::FuncExpr = request.node.cast();
        let arguments = PgList::<pg_sys::Node>::from_pg((*call).args);
        let (action, pattern) = (arguments.get_ptr(0)?, arguments.get_ptr(1)?);
        let key = Key { column: action, opfamily: request.opfamily, collation: request.indexcollation };
        if let Some(pattern) = constant(pattern) {
            let place = Place::of(pattern);
            return match (place.list, place.high) {
                // Behind a column that is not compared for equality a list would bring the rows in another order than
                // the planner believes.
                (Some(list), _) if list.len() == 1 || request.indexcol == 0 => {
                    request.lossy = false;
                    key.is_any_of(&list)
                }
                (_, Some(high)) => {
                    request.lossy = !place.is_exact;
                    key.is_between(text(&place.low)?, text(&high)?)
                }
                (_, None) => None,
            };
        }
        // In another encoding there may be texts after any.
        if !catalog::is_utf8() || !pg_sys::is_pseudo_constant_for_index(request.root, pattern, request.index)
        {
            return None;
        }
        request.lossy = true;
        key.is_between(end(c"pattern_low", pattern)?, end(c"pattern_high", pattern)?)
    }
}

/// A column of an index, or an expression, and how it is compared.
struct Key {
    column: *mut pg_sys::Node,
    opfamily: pg_sys::Oid,
    collation: pg_sys::Oid,
}

impl Key {
    /// The condition that the column compares like this with `other`, a text.
    fn compares(&self, strategy: u32, other: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
        let operator = self.operator(strategy)?;
        // SAFETY: both nodes are the planner's, and the operator's types.
        let condition = unsafe {
            pg_sys::make_opclause(
                operator,
                pg_sys::BOOLOID,
                false,
                self.column.cast(),
                other.cast(),
                pg_sys::InvalidOid,
                self.collation,
            )
        };
        Some(condition.cast())
    }

    fn operator(&self, strategy: u32) -> Option<pg_sys::Oid> {
        // SAFETY: a look-up in the catalogue.
        let oid = unsafe {
            pg_sys::get_opfamily_member(self.opfamily, pg_sys::TEXTOID, pg_sys::TEXTOID, strategy as i16)
        };
        (oid != pg_sys::InvalidOid).then_some(oid)
    }

    fn is_between(&self, low: *mut pg_sys::Node, high: *mut pg_sys::Node) -> Option<PgList<pg_sys::Node>> {
        Some(list([
            self.compares(pg_sys::BTGreaterEqualStrategyNumber, low)?,
            self.compares(pg_sys::BTLessStrategyNumber, high)?,
        ]))
    }

    fn is_any_of(&self, texts: &[Vec<u8>]) -> Option<PgList<pg_sys::Node>> {
        if let [one] = texts {
            return Some(list([self.compares(pg_sys::BTEqualStrategyNumber, text(one)?)?]));
        }
        let arguments = list([self.column, array_of(texts)?]);
        let operator = self.operator(pg_sys::BTEqualStrategyNumber)?;
        // SAFETY: a new node, zeroed, gets its tag and what it needs.
        unsafe {
            let any: *mut pg_sys::ScalarArrayOpExpr =
                pg_sys::palloc0(size_of::<pg_sys::ScalarArrayOpExpr>()).cast();
            *any = pg_sys::ScalarArrayOpExpr {
                xpr: pg_sys::Expr { type_: pg_sys::NodeTag::T_ScalarArrayOpExpr },
                opno: operator,
                useOr: true,
                inputcollid: self.collation,
                args: arguments.into_pg(),
                location: -1,
                ..Default::default()
            };
            Some(list([any.cast()]))
        }
    }
}

fn list<const N: usize>(nodes: [*mut pg_sys::Node; N]) -> PgList<pg_sys::Node> {
    let mut list = PgList::new();
    nodes.into_iter().for_each(|node| list.push(node));
    list
}

/// The text of a constant, `Some(None)` where it is NULL; `None` where `node` is no constant.
///
/// # Safety
/// `node` must be a text, and be there as long as what is returned.
pub(super) unsafe fn constant<'a>(node: *const pg_sys::Node) -> Option<Option<&'a [u8]>> {
    // SAFETY: nodes are what their tags say.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return None;
        }
        let constant: *const pg_sys::Const = node.cast();
        Some((!(*constant).constisnull).then(|| varlena_bytes((*constant).constvalue)))
    }
}

/// A constant of `bytes`.
fn text(bytes: &[u8]) -> Option<*mut pg_sys::Node> {
    constant_of(pg_sys::TEXTOID, bytes.into_datum()?)
}

/// A constant of these texts.
fn array_of(texts: &[Vec<u8>]) -> Option<*mut pg_sys::Node> {
    let texts: Vec<_> = texts.iter().map(|text| Text::new(text)).collect();
    constant_of(pg_sys::TEXTARRAYOID, array::of_texts(texts.iter()))
}

/// A constant of a type of varying length, as SQL would write it.
fn constant_of(type_oid: pg_sys::Oid, value: pg_sys::Datum) -> Option<*mut pg_sys::Node> {
    // SAFETY: the value is of the type and lives in the planner's memory.
    let node =
        unsafe { pg_sys::makeConst(type_oid, -1, pg_sys::DEFAULT_COLLATION_OID, -1, value, false, false) };
    Some(node.cast())
}

/// A call of a function of the extension that says where what `pattern` shows begins or ends.
fn end(function: &CStr, pattern: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    let oid = catalog::own_function(function, &[pg_sys::TEXTOID])?;
    // SAFETY: a function of one text, which the pattern is; two calls may share it, since nobody changes it.
    let call = unsafe {
        pg_sys::makeFuncExpr(
            oid,
            pg_sys::TEXTOID,
            list([pattern]).into_pg(),
            pg_sys::DEFAULT_COLLATION_OID,
            pg_sys::DEFAULT_COLLATION_OID,
            MADE_HERE,
        )
    };
    Some(call.cast())
}

/// `audit.pattern_low(pattern)`.
///
/// # Safety
/// `fcinfo` must be of a call of a strict function of one text.
pub(super) unsafe fn pattern_low(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller promises.
    let place = unsafe { Place::of(Some(varlena_bytes((*fcinfo).args.as_slice(1)[0].value))) };
    place.low.as_slice().into_datum().unwrap_or(pg_sys::Datum::null())
}

/// `audit.pattern_high(pattern)`. What comes after everything is no valid text; only our conditions are given it.
///
/// # Safety
/// As of [`pattern_low`].
pub(super) unsafe fn pattern_high(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller promises; nodes are what their tags say.
    unsafe {
        let place = Place::of(Some(varlena_bytes((*fcinfo).args.as_slice(1)[0].value)));
        let info = (*fcinfo).flinfo;
        let call = if info.is_null() { std::ptr::null_mut() } else { (*info).fn_expr };
        let is_ours = !call.is_null()
            && (*call).type_ == pg_sys::NodeTag::T_FuncExpr
            && (*call.cast::<pg_sys::FuncExpr>()).funcformat == MADE_HERE;
        let end = if is_ours { AFTER_ALL_TEXTS } else { AFTER_ALL_ACTIONS };
        place.high.as_deref().unwrap_or(end).into_datum().unwrap_or(pg_sys::Datum::null())
    }
}
