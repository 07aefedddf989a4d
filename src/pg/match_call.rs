//! `audit_match` as the executor calls it, once for each row.

use pgrx::{pg_guard, pg_sys};

use super::call_site;
use super::match_index::constant;
use super::value::{is_plain, plain_bytes, varlena_bytes};
use crate::matching::CachedPattern;

/// What one call site keeps between its calls.
struct CallSite {
    pattern: CachedPattern,
    /// Whether the pattern is written out in the query, so that it is the same in every call.
    is_constant: bool,
}

/// `audit_match(action, pattern)`. It runs for every row of a scan, where a guard against errors would take as long as
/// the match itself: what can raise none is done without.
///
/// # Safety
/// `fcinfo` must be of a call of a strict function of two texts.
pub(super) unsafe fn audit_match(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller promises.
    unsafe { matches_at_once(fcinfo).map_or_else(|| matches(fcinfo), pg_sys::Datum::from) }
}

/// `None` where something has to be detoasted or parsed first. Neither PostgreSQL nor an allocation is called.
///
/// # Safety
/// As of [`audit_match`].
unsafe fn matches_at_once(fcinfo: pg_sys::FunctionCallInfo) -> Option<bool> {
    // SAFETY: as the caller promises; fn_extra is ours.
    unsafe {
        let [action, pattern] = (*fcinfo).args.as_slice(2) else { return None };
        let site = (*fcinfo).flinfo.as_ref()?.fn_extra.cast::<CallSite>().as_ref()?;
        let is_same =
            || is_plain(pattern.value) && site.pattern.is(plain_bytes(pattern.value.cast_mut_ptr()));
        (is_plain(action.value) && (site.is_constant || is_same()))
            .then(|| site.pattern.matches(plain_bytes(action.value.cast_mut_ptr())))
    }
}

/// # Safety
/// As of [`audit_match`].
#[pg_guard]
unsafe extern "C-unwind" fn matches(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller promises; fn_extra is ours.
    unsafe {
        let arguments = (*fcinfo).args.as_slice(2);
        let (action, pattern) = (varlena_bytes(arguments[0].value), varlena_bytes(arguments[1].value));
        let Some(info) = (*fcinfo).flinfo.as_mut() else {
            return CachedPattern::new(pattern).matches(action).into();
        };
        let site = call_site::kept(
            info,
            |site: &CallSite| site.pattern.is(pattern),
            |info| CallSite { pattern: CachedPattern::new(pattern), is_constant: has_constant_pattern(info) },
        );
        site.pattern.matches(action).into()
    }
}

/// Whether the second argument of the call that `info` is for is a constant. A parameter is none: PL/pgSQL calls
/// one expression again with others. Nor is the array of `= ANY`, whose elements come one by one.
///
/// # Safety
/// `info` must be valid.
unsafe fn has_constant_pattern(info: *const pg_sys::FmgrInfo) -> bool {
    // SAFETY: nodes are what their tags say; a function's expression has its arguments in a list.
    unsafe {
        let call = (*info).fn_expr;
        !call.is_null()
            && (*call).type_ == pg_sys::NodeTag::T_FuncExpr
            && pgrx::PgList::<pg_sys::Node>::from_pg((*call.cast::<pg_sys::FuncExpr>()).args)
                .get_ptr(1)
                .is_some_and(|pattern| constant(pattern).is_some())
    }
}
