//! The arguments of a SQL function, in any encoding.

use std::ffi::CStr;

use pgrx::pg_sys;

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
        let datum = self.datum(n)?;
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: as the caller promises; deconstruct_array allocates `count` values and nulls.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
            pg_sys::deconstruct_array(
                array,
                pg_sys::TEXTOID,
                -1,
                false,
                pg_sys::TYPALIGN_INT as std::ffi::c_char,
                &mut values,
                &mut nulls,
                &mut count,
            );
            Some(
                (0..count as usize)
                    .map(|at| (!*nulls.add(at)).then(|| to_utf8(varlena_bytes(*values.add(at)))))
                    .collect(),
            )
        }
    }
}
