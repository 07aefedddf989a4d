//! What says how names and money are written, put aside for a while.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    /// `src/include/utils/pg_locale.h`, which pgrx does not bind.
    static mut locale_monetary: *mut c_char;
    /// Likewise: has the next look at `locale_monetary` be a new one.
    fn assign_locale_monetary(value: *const c_char, extra: *mut c_void);
}

/// While this lives, names are quoted only where SQL needs it.
pub struct PlainQuotes(bool);

impl PlainQuotes {
    /// Begins.
    pub fn begin() -> Self {
        // SAFETY: a backend has one thread.
        let client = unsafe { pg_sys::quote_all_identifiers };
        Self::enforce();
        Self(client)
    }

    /// Puts them in force.
    pub fn enforce() {
        // SAFETY: a backend has one thread.
        unsafe { pg_sys::quote_all_identifiers = false };
    }
}

impl Drop for PlainQuotes {
    fn drop(&mut self) {
        // SAFETY: a backend has one thread.
        unsafe { pg_sys::quote_all_identifiers = self.0 };
    }
}

/// While this lives, names of what is not in `pg_catalog` have their schema, as under an empty `search_path`.
pub struct QualifiedNames(());

impl QualifiedNames {
    /// Begins.
    pub fn begin() -> Self {
        let mut path = pg_sys::OverrideSearchPath { addCatalog: true, ..Default::default() };
        // SAFETY: the path is copied; it is taken back in `drop`, or by the abort of the transaction or savepoint.
        unsafe { pg_sys::PushOverrideSearchPath(&mut path) };
        Self(())
    }
}

impl Drop for QualifiedNames {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pushed by `begin`.
            unsafe { pg_sys::PopOverrideSearchPath() };
        }
    }
}

/// While this lives, money is written as under `lc_monetary` C.
pub struct PlainMoney(Option<*mut c_char>);

impl PlainMoney {
    /// Begins. Where the client's is C, which costs nothing, it stays.
    pub fn begin() -> Self {
        // SAFETY: the setting is a C string, and stays where it is: nothing sets it meanwhile.
        unsafe {
            let client = locale_monetary;
            if CStr::from_ptr(client) == c"C" {
                return Self(None);
            }
            Self::assign(c"C".as_ptr().cast_mut());
            Self(Some(client))
        }
    }

    /// # Safety
    /// `locale` must be a C string that lives until another is assigned.
    unsafe fn assign(locale: *mut c_char) {
        // SAFETY: a backend has one thread; the hook takes the next look at the variable.
        unsafe {
            locale_monetary = locale;
            assign_locale_monetary(locale, std::ptr::null_mut());
        }
    }
}

impl Drop for PlainMoney {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            // SAFETY: what it was before.
            unsafe { Self::assign(client) }
        }
    }
}
