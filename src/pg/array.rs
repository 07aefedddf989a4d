//! Arrays of text and of OIDs.

use pgrx::pg_sys;

use super::value::{Text, varlena_bytes};

/// A text[] of `texts`, in the current memory context.
pub fn of_texts<'a>(texts: impl Iterator<Item = &'a Text>) -> pg_sys::Datum {
    let mut values: Vec<_> = texts.map(|text| text.value().datum()).collect();
    // SAFETY: the values are texts, copied into the array.
    unsafe {
        pg_sys::Datum::from(pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            pg_sys::TEXTOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        ))
    }
}

/// An oid[] of `oids`, in the current memory context.
pub fn of_oids(oids: &[pg_sys::Oid]) -> pg_sys::Datum {
    let mut values: Vec<_> = oids.iter().map(|oid| pg_sys::Datum::from(*oid)).collect();
    // SAFETY: OIDs are passed by value, four bytes wide.
    unsafe {
        pg_sys::Datum::from(pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            pg_sys::OIDOID,
            4,
            true,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        ))
    }
}

/// The elements of a text[], NULL as `None`.
///
/// # Safety
/// `array` must be a text[] and live as long as `'a`, and so must the current memory context.
pub unsafe fn texts<'a>(array: pg_sys::Datum) -> Vec<Option<&'a [u8]>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: as the caller promises; deconstruct_array allocates `count` values and nulls.
    unsafe {
        pg_sys::deconstruct_array(
            pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast(),
            pg_sys::TEXTOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize).map(|at| (!*nulls.add(at)).then(|| varlena_bytes(*values.add(at)))).collect()
    }
}
