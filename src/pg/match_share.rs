//! How many rows `audit_match` leaves, by the statistics of the column.

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{IntoDatum, pg_sys};

use super::match_index::constant;
use crate::matching::{Place, SHARE_OF_UNKNOWN, likely_share};

/// With fewer values than these a histogram tells less than a pattern's form, in part or in whole.
const FULL_HISTOGRAM: i32 = 100;
const LEAST_HISTOGRAM: i32 = 10;

/// Puts the share of rows into `request`; `None` where nothing is known.
///
/// # Safety
/// `request` must be the planner's.
pub(super) unsafe fn estimate(request: &mut pg_sys::SupportRequestSelectivity) -> Option<()> {
    if request.is_join {
        return None;
    }
    let mut column = pg_sys::VariableStatData::default();
    let (mut pattern, mut column_is_first) = (std::ptr::null_mut(), false);
    // SAFETY: valid out parameters; what is found is released below.
    let is_found = unsafe {
        pg_sys::get_restriction_variable(
            request.root,
            request.args,
            request.varRelid,
            &mut column,
            &mut pattern,
            &mut column_is_first,
        )
    };
    if !is_found {
        request.selectivity = SHARE_OF_UNKNOWN;
        return Some(());
    }
    // SAFETY: the pattern is one of the call's arguments, both texts; the statistics are released after their last use.
    unsafe {
        request.selectivity = match constant(pattern) {
            Some(None) => 0.0,
            Some(Some(text)) if column_is_first => of_column(request, &mut column, pattern.cast(), text),
            _ => SHARE_OF_UNKNOWN,
        };
        if let (false, Some(release)) = (column.statsTuple.is_null(), column.freefunc) {
            pg_guard_ffi_boundary(|| release(column.statsTuple));
        }
    }
    Some(())
}

/// By the column's most common values, which are matched one by one, and by its histogram, which stands for the rest.
/// PostgreSQL looks whether the caller may know of them.
///
/// # Safety
/// The column must be found, and `pattern` the constant `text`.
unsafe fn of_column(
    request: &pg_sys::SupportRequestSelectivity,
    column: &mut pg_sys::VariableStatData,
    pattern: *const pg_sys::Const,
    text: &[u8],
) -> f64 {
    if let Some(actions) = Place::of(Some(text)).list {
        let of_action = |action: &Vec<u8>| {
            let action = action.as_slice().into_datum().unwrap_or(pg_sys::Datum::null());
            let equals = pg_sys::Oid::from(pg_sys::TextEqualOperator);
            // SAFETY: the column is compared with another text.
            unsafe { pg_sys::var_eq_const(column, equals, request.inputcollid, action, false, true, false) }
        };
        return actions.iter().map(of_action).sum::<f64>().min(1.0);
    }
    let mut function = pg_sys::FmgrInfo::default();
    let (mut common, mut values) = (0.0, 0);
    // SAFETY: audit_match takes two texts, the column's values first; statistics are a pg_statistic row.
    unsafe {
        pg_sys::fmgr_info(request.funcid, &mut function);
        let pattern = (*pattern).constvalue;
        let of_common =
            pg_sys::mcv_selectivity(column, &mut function, request.inputcollid, pattern, true, &mut common);
        let of_rest = pg_sys::histogram_selectivity(
            column,
            &mut function,
            request.inputcollid,
            pattern,
            true,
            LEAST_HISTOGRAM,
            1,
            &mut values,
        );
        let nulls = if column.statsTuple.is_null() {
            0.0
        } else {
            let row: *const pg_sys::FormData_pg_statistic = pg_sys::heap_tuple_get_struct(column.statsTuple);
            f64::from((*row).stanullfrac)
        };
        let weight = if of_rest < 0.0 {
            0.0
        } else {
            f64::from(values.min(FULL_HISTOGRAM)) / f64::from(FULL_HISTOGRAM)
        };
        let of_rest = (of_rest * weight + likely_share(text) * (1.0 - weight)).clamp(0.0001, 0.9999);
        (of_common + of_rest * (1.0 - nulls - common)).clamp(0.0, 1.0)
    }
}
