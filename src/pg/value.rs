//! Datums with a lifetime, and varlena bytes of our own.

use std::marker::PhantomData;

use audit_core::jsonb::varlena_header;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::row::Attribute;

/// A datum that is not null, valid for `'a`. Its type is known by who made it: a column's value is read by
/// that column's encoder, a [`Text`]'s goes into a text column.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    datum: Datum,
    lifetime: PhantomData<&'a [u8]>,
}

impl<'a> Value<'a> {
    /// Wraps what PostgreSQL handed out.
    ///
    /// # Safety
    /// What `datum` points to, if it is a pointer, must live as long as `'a`.
    pub unsafe fn new(datum: Datum) -> Self {
        Self { datum, lifetime: PhantomData }
    }

    /// The datum itself, for handing it back to PostgreSQL.
    pub fn datum(self) -> Datum {
        self.datum
    }
}

/// The bytes of a varlena after its header, detoasted and decompressed where needed.
///
/// # Safety
/// `datum` must be of a varlena type and live as long as `'a`, and so must the current memory context, where
/// a detoasted copy is made.
pub unsafe fn varlena_bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: the caller promises a varlena; pg_detoast_datum_packed returns one in plain form, with a
    // short or a long header.
    unsafe {
        let varlena = if is_plain(datum) {
            datum.cast_mut_ptr()
        } else {
            pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())
        };
        plain_bytes(varlena)
    }
}

/// Whether the varlena is neither compressed nor stored elsewhere.
///
/// # Safety
/// `datum` must be of a varlena type.
pub unsafe fn is_plain(datum: Datum) -> bool {
    let varlena: *const pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: every varlena begins with a readable header.
    unsafe {
        pgrx::varlena::varatt_is_4b_u(varlena)
            || (pgrx::varlena::varatt_is_1b(varlena) && !pgrx::varlena::varatt_is_1b_e(varlena))
    }
}

/// The bytes of a varlena in plain form.
///
/// # Safety
/// `varlena` must be valid, neither compressed nor external, and live as long as `'a`.
pub unsafe fn plain_bytes<'a>(varlena: *const pg_sys::varlena) -> &'a [u8] {
    // SAFETY: header and length agree in a valid varlena.
    unsafe {
        std::slice::from_raw_parts(
            pgrx::varlena::vardata_any(varlena).cast(),
            pgrx::varlena::varsize_any_exhdr(varlena),
        )
    }
}

/// The raw bytes of a varlena as it stands in the tuple, header included: equal bytes are equal values.
///
/// # Safety
/// `datum` must be of a varlena type and live as long as `'a`.
pub unsafe fn stored_bytes<'a>(datum: Datum) -> &'a [u8] {
    let varlena: *const pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: varsize_any knows every form of a varlena, the 18 bytes of a TOAST pointer included.
    unsafe { std::slice::from_raw_parts(varlena.cast(), pgrx::varlena::varsize_any(varlena)) }
}

/// A copy of one value of a column, as it stands in the row: a TOASTed one keeps its pointer.
#[derive(Clone)]
pub struct OwnedValue {
    by_value: Option<Datum>,
    // Words keep any type's alignment.
    words: Vec<u64>,
}

impl OwnedValue {
    /// Copies `value`, which is of the column `attribute`.
    pub fn copy(value: Value<'_>, attribute: &Attribute) -> Self {
        let datum = value.datum();
        if attribute.by_value {
            return Self { by_value: Some(datum), words: Vec::new() };
        }
        // SAFETY: the value is a pointer to as many bytes as its type says; the words are as many.
        unsafe {
            let length = match attribute.length {
                -1 => stored_bytes(datum).len(),
                -2 => std::ffi::CStr::from_ptr(datum.cast_mut_ptr()).to_bytes_with_nul().len(),
                length => length as usize,
            };
            let mut words = vec![0u64; length.div_ceil(8)];
            words.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(datum.cast_mut_ptr::<u8>(), length);
            Self { by_value: None, words }
        }
    }

    /// The bytes, for comparing values of one column.
    pub fn words(&self) -> Vec<u64> {
        self.by_value.map_or_else(|| self.words.clone(), |datum| vec![datum.value() as u64])
    }

    /// The value.
    pub fn value(&self) -> Value<'_> {
        // SAFETY: the words live as long as `self`.
        unsafe { Value::new(self.by_value.unwrap_or_else(|| Datum::from(self.words.as_ptr()))) }
    }
}

/// A varlena of our own, built in Rust memory: a text, or any type with the same shape.
#[derive(Clone, Default)]
pub struct Text {
    // Words keep the header aligned, which PostgreSQL requires of a four-byte header.
    words: Vec<u64>,
    length: usize,
}

impl Text {
    /// A text of `bytes`, which are in the database's encoding.
    pub fn new(bytes: &[u8]) -> Self {
        let length = bytes.len() + 4;
        let mut words = vec![0u64; length.div_ceil(8)];
        let header = varlena_header(length);
        for (at, byte) in header.iter().chain(bytes).enumerate() {
            words[at / 8] |=
                u64::from(*byte) << if cfg!(target_endian = "little") { at % 8 * 8 } else { 56 - at % 8 * 8 };
        }
        Self { words, length }
    }

    /// A copy of a whole varlena in plain form.
    ///
    /// # Safety
    /// `datum` must be of a varlena type.
    pub unsafe fn copy_of(datum: Datum) -> Self {
        // SAFETY: as the caller promises.
        Self::new(unsafe { varlena_bytes(datum) })
    }

    /// The value, for a column of the event.
    pub fn value(&self) -> Value<'_> {
        // SAFETY: the words live as long as `self` and hold a complete varlena.
        unsafe { Value::new(Datum::from(self.words.as_ptr())) }
    }

    /// The bytes without the header.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `words` holds `length` initialised bytes; the first four are the header.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>().add(4), self.length - 4) }
    }
}

/// Byte by byte, as COLLATE "C" has it.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Text {}

/// The longest identifier that is stored whole, in bytes: three of them fit into an index entry, which holds 2,704.
const LONGEST_IDENTIFIER: usize = 800;

/// What stands for an identifier that no index could hold: its beginning, cut between two characters, and its MD5.
/// `None` for a shorter one.
pub fn shorter_identifier(value: Value<'_>) -> Option<Text> {
    // SAFETY: the value is a text; md5_text returns one too.
    unsafe {
        let bytes = varlena_bytes(value.datum());
        if bytes.len() <= LONGEST_IDENTIFIER {
            return None;
        }
        const DIGEST: usize = " md5:".len() + 32;
        let kept = pg_sys::pg_mbcliplen(
            bytes.as_ptr().cast(),
            bytes.len() as i32,
            (LONGEST_IDENTIFIER - DIGEST) as i32,
        ) as usize;
        let digest = pgrx::direct_function_call_as_datum(pg_sys::md5_text, &[Some(value.datum())])
            .expect("md5 returns a value");
        Some(Text::new(&[&bytes[..kept], b" md5:", varlena_bytes(digest)].concat()))
    }
}

/// An identifier as events hold it.
pub fn stored_identifier(id: Text) -> Text {
    shorter_identifier(id.value()).unwrap_or(id)
}

/// Begins a text at the end of `buffer`; append its bytes, then call [`finish_text`].
pub fn start_text(buffer: &mut Vec<u8>) -> usize {
    buffer.resize(buffer.len().next_multiple_of(8), 0);
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    start
}

/// Completes the text that began at `start`.
pub fn finish_text(buffer: &mut [u8], start: usize) {
    let header = varlena_header(buffer.len() - start);
    buffer[start..start + 4].copy_from_slice(&header);
}

/// The varlena at `start` of `buffer`: a finished text, or what `audit_core::jsonb` finished there.
pub fn built(buffer: &[u8], start: usize) -> Value<'_> {
    debug_assert!(
        (buffer.as_ptr() as usize + start).is_multiple_of(8),
        "the allocator aligns to eight bytes"
    );
    // SAFETY: the builder left a complete varlena at `start`, which lives as long as the borrow.
    unsafe { Value::new(Datum::from(buffer[start..].as_ptr())) }
}
