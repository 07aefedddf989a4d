//! String settings: read without a copy, checked when set.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::{pg_guard, pg_sys};

/// Why a value is refused: detail and hint.
pub struct Refusal {
    /// What is wrong with it.
    pub detail: String,
    /// What to do instead.
    pub hint: &'static str,
}

/// Defines a setting that superusers set, and roles with `GRANT SET ON PARAMETER`.
pub fn define(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    check: pg_sys::GucStringCheckHook,
) {
    // SAFETY: the hooks below are guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Suset,
            GucFlags::default(),
            check,
            None,
            None,
        );
    }
}

/// Refuses what [`crate::settings::check_actor_type`] refuses.
#[pg_guard]
pub unsafe extern "C-unwind" fn check_actor_type(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value's address.
    unsafe { check(value, crate::settings::check_actor_type) }
}

/// Refuses what [`crate::settings::check_metadata`] refuses.
#[pg_guard]
pub unsafe extern "C-unwind" fn check_metadata(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value's address.
    unsafe { check(value, crate::settings::check_metadata) }
}

/// # Safety
/// `value` must point to null or a C string.
unsafe fn check(value: *mut *mut c_char, rule: fn(&[u8]) -> Result<(), Refusal>) -> bool {
    // SAFETY: as the caller promises; detail and hint are C strings in a context that outlives the report.
    unsafe {
        if (*value).is_null() {
            return true;
        }
        let Err(refusal) = rule(CStr::from_ptr(*value).to_bytes()) else {
            return true;
        };
        let keep = |text: &str| {
            let text = CString::new(text).unwrap_or_default();
            pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, text.as_ptr())
        };
        pg_sys::GUC_check_errdetail_string = keep(&refusal.detail);
        pg_sys::GUC_check_errhint_string = keep(refusal.hint);
        false
    }
}

/// The setting's value; unset and empty are `None`.
pub fn value(setting: &'static GucSetting<Option<CString>>) -> Option<&'static CStr> {
    // SAFETY: the setting is null or a C string, which no Rust code holds across a call that could set it.
    unsafe {
        let text: *const c_char = *setting.as_ptr();
        (!text.is_null() && *text != 0).then(|| CStr::from_ptr(text))
    }
}

/// Closes the prefix `audit.`: no placeholder can pose as one of its settings from now on.
pub fn reserve_prefix() {
    // SAFETY: a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"audit".as_ptr()) };
}
