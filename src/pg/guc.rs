//! String settings: read without a copy, checked when set.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

use crate::error::Error;

/// Why a value is refused.
pub struct Refusal {
    /// The SQLSTATE.
    pub code: PgSqlErrorCode,
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

/// Defines a switch that is off, and that superusers turn on for their own session alone: no file, database, role or
/// function does.
pub fn define_for_session(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<bool>,
) {
    // SAFETY: the hook below is guarded.
    unsafe {
        GucRegistry::define_bool_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Suset,
            GucFlags::DISALLOW_IN_FILE,
            Some(check_for_session),
            None,
            None,
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_for_session(
    value: *mut bool,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    use pg_sys::GucSource::{PGC_S_CLIENT, PGC_S_TEST};
    // SAFETY: PostgreSQL passes the new value's address; the texts are C strings that live for ever.
    unsafe {
        if !*value || source >= PGC_S_CLIENT && source != PGC_S_TEST {
            return true;
        }
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as i32);
        let keep = |text: &CStr| pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, text.as_ptr());
        pg_sys::GUC_check_errdetail_string = keep(c"It is turned on in a session, for that session.");
        pg_sys::GUC_check_errhint_string = keep(c"SET it where it is needed.");
        false
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
        pg_sys::GUC_check_errcode(refusal.code as i32);
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

/// Refuses to be loaded into a session whose client has set `name` before, without the right to: PostgreSQL would
/// drop the client's value, and with it what the configuration says.
pub fn refuse_placeholder(name: &'static CStr) {
    // SAFETY: the array ends with what the count says; names are C strings.
    let set_by_client = unsafe {
        let settings =
            std::slice::from_raw_parts(pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions() as usize);
        settings.iter().any(|setting| {
            CStr::from_ptr((**setting).name).to_bytes().eq_ignore_ascii_case(name.to_bytes())
                && (**setting).source >= pg_sys::GucSource::PGC_S_CLIENT
        })
    };
    // Who connected is asked, whoever's function this is. SAFETY: reads variables of the backend, which has a user once it
    // has client settings.
    if set_by_client && unsafe { !pg_sys::superuser_arg(pg_sys::GetAuthenticatedUserId()) } {
        Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to set parameter \"{}\"", name.to_string_lossy()),
        )
        .hint("Connect without setting it.")
        .raise();
    }
}

/// Closes the prefix `audit.`: no placeholder can pose as one of its settings from now on.
pub fn reserve_prefix() {
    // SAFETY: a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"audit".as_ptr()) };
}
