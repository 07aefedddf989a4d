//! The arguments of a SQL function, in any encoding.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::array;
use super::catalog::to_utf8;
use super::value::{Text, varlena_bytes};

/// The arguments of one call.
pub struct Arguments<'a>(&'a [pg_sys::NullableDatum]);

impl<'a> Arguments<'a> {
    /// The arguments behind `fcinfo`.
    ///
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to the function, and `'a` end with that call.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: fcinfo holds nargs arguments.
        Self(unsafe { (*fcinfo).args.as_slice((*fcinfo).nargs as usize) })
    }

    fn datum(&self, n: usize) -> Option<pg_sys::Datum> {
        (!self.0[n].isnull).then_some(self.0[n].value)
    }

    /// Argument `n`, an oid or regclass.
    pub fn oid(&self, n: usize) -> Option<pg_sys::Oid> {
        self.datum(n).map(|datum| pg_sys::Oid::from(datum.value() as u32))
    }

    /// Argument `n`, a boolean.
    pub fn boolean(&self, n: usize) -> Option<bool> {
        self.datum(n).map(|datum| datum.value() as u8 != 0)
    }

    /// Argument `n`, an integer.
    pub fn integer(&self, n: usize) -> Option<i32> {
        self.datum(n).map(|datum| datum.value() as i32)
    }

    /// Argument `n`, a timestamptz.
    pub fn timestamp(&self, n: usize) -> Option<i64> {
        self.datum(n).map(|datum| datum.value() as i64)
    }

    /// Argument `n`, a uuid.
    ///
    /// # Safety
    /// The argument must be declared as uuid.
    pub unsafe fn uuid(&self, n: usize) -> Option<[u8; 16]> {
        // SAFETY: as the caller promises; a uuid is sixteen bytes.
        self.datum(n).map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// A copy of argument `n`, a text or jsonb.
    ///
    /// # Safety
    /// The argument must be declared as a varlena.
    pub unsafe fn varlena(&self, n: usize) -> Option<Text> {
        // SAFETY: as the caller promises.
        self.datum(n).map(|datum| unsafe { Text::copy_of(datum) })
    }

    /// Argument `n`, a text, in UTF-8.
    ///
    /// # Safety
    /// The argument must be declared as text.
    pub unsafe fn text(&self, n: usize) -> Option<String> {
        // SAFETY: as the caller promises.
        self.datum(n).map(|datum| to_utf8(unsafe { varlena_bytes(datum) }))
    }

    /// Argument `n`, a jsonb, as JSON in UTF-8.
    ///
    /// # Safety
    /// The argument must be declared as jsonb.
    pub unsafe fn json(&self, n: usize) -> Option<String> {
        // SAFETY: as the caller promises; jsonb_out returns a C string.
        self.datum(n).map(|datum| unsafe {
            let text = pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(datum)])
                .expect("jsonb_out returns a value");
            to_utf8(CStr::from_ptr(text.cast_mut_ptr()).to_bytes())
        })
    }

    /// Argument `n`, an array of text, in UTF-8.
    ///
    /// # Safety
    /// The argument must be declared as text[].
    pub unsafe fn texts(&self, n: usize) -> Option<Vec<Option<String>>> {
        // SAFETY: as the caller promises.
        let texts = unsafe { array::texts(self.datum(n)?) };
        Some(texts.into_iter().map(|text| text.map(to_utf8)).collect())
    }
}
