//! PostgreSQL's binary JSONB (`src/include/utils/jsonb.h`), written byte by byte.
//!
//! A container is a header with its kind and count, one four-byte entry per value (for an object all keys
//! first, then all values), and the values' bytes in the same order. An entry holds its value's kind and
//! length; every 32nd holds the offset of its value's end instead, so that a reader need not add up all
//! lengths. Numerics and containers are aligned to four bytes, and their padding counts as theirs. The keys of
//! an object are sorted by length, then bytes, and are unique.

use thiserror::Error;

const ENTRY_MASK: usize = 0x0fff_ffff;
const ENTRY_HAS_OFFSET: u32 = 0x8000_0000;
const ENTRY_STRING: u32 = 0x0000_0000;
const ENTRY_NUMERIC: u32 = 0x1000_0000;
const ENTRY_FALSE: u32 = 0x2000_0000;
const ENTRY_TRUE: u32 = 0x3000_0000;
const ENTRY_NULL: u32 = 0x4000_0000;
const ENTRY_CONTAINER: u32 = 0x5000_0000;
const ENTRY_KIND: u32 = 0x7000_0000;
const OFFSET_STRIDE: u32 = 32;

const HEADER_COUNT: u32 = 0x0fff_ffff;
const HEADER_SCALAR: u32 = 0x1000_0000;
const HEADER_OBJECT: u32 = 0x2000_0000;
const HEADER_ARRAY: u32 = 0x4000_0000;

/// A value or a container is larger than JSONB can hold (256 MB), or has too many members.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a value of {0} bytes is larger than jsonb can hold ({ENTRY_MASK})")]
pub struct TooLarge(pub usize);

/// The order of keys in an object: by length, then by bytes.
pub fn key_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The four-byte header of an uncompressed varlena of `length` bytes, the header included.
pub fn varlena_header(length: usize) -> [u8; 4] {
    let length = length as u32;
    if cfg!(target_endian = "little") {
        (length << 2).to_ne_bytes()
    } else {
        (length & 0x3fff_ffff).to_ne_bytes()
    }
}

/// An open container. Close it with [`Builder::close`]; values go in in order, for an object after its keys.
#[must_use]
pub struct Container {
    base: usize,
    entries: usize,
    next: u32,
    total: usize,
}

/// Writes one JSONB value at the end of a buffer.
///
/// ```
/// use audit_core::jsonb::Builder;
/// let mut buffer = Vec::new();
/// let mut builder = Builder::new(&mut buffer);
/// let mut root = builder.object(1).unwrap();
/// builder.key(&mut root, b"name").unwrap();
/// builder.string(&mut root, b"datasource").unwrap();
/// builder.finish(root);
/// ```
pub struct Builder<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Builder<'a> {
    /// Begins a value at the end of `buffer`, aligned to eight bytes there.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        buffer.resize(buffer.len().next_multiple_of(8), 0);
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        Self { buffer, start }
    }

    /// Opens an object of `count` pairs.
    pub fn object(&mut self, count: usize) -> Result<Container, TooLarge> {
        self.open(HEADER_OBJECT, count, count * 2)
    }

    /// Opens an array of `count` elements.
    pub fn array(&mut self, count: usize) -> Result<Container, TooLarge> {
        self.open(HEADER_ARRAY, count, count)
    }

    fn open(&mut self, kind: u32, count: usize, entries: usize) -> Result<Container, TooLarge> {
        if entries * 4 > ENTRY_MASK {
            return Err(TooLarge(entries * 4));
        }
        let base = self.buffer.len();
        self.pad();
        self.buffer.extend_from_slice(&(kind | count as u32).to_ne_bytes());
        let first = self.buffer.len();
        self.buffer.resize(first + entries * 4, 0);
        Ok(Container { base, entries: first, next: 0, total: 0 })
    }

    /// Appends a key; all keys come before the first value, in [`key_order`].
    pub fn key(&mut self, object: &mut Container, key: &[u8]) -> Result<(), TooLarge> {
        self.string(object, key)
    }

    /// Appends a string, in the database's encoding.
    pub fn string(&mut self, container: &mut Container, value: &[u8]) -> Result<(), TooLarge> {
        self.buffer.extend_from_slice(value);
        self.entry(container, ENTRY_STRING, value.len())
    }

    /// Appends a null.
    pub fn null(&mut self, container: &mut Container) -> Result<(), TooLarge> {
        self.entry(container, ENTRY_NULL, 0)
    }

    /// Appends a boolean.
    pub fn boolean(&mut self, container: &mut Container, value: bool) -> Result<(), TooLarge> {
        self.entry(container, if value { ENTRY_TRUE } else { ENTRY_FALSE }, 0)
    }

    /// Appends an integer.
    pub fn integer(&mut self, container: &mut Container, value: i64) -> Result<(), TooLarge> {
        let from = self.buffer.len();
        self.pad();
        crate::numeric::push_integer(self.buffer, value);
        self.entry(container, ENTRY_NUMERIC, self.buffer.len() - from)
    }

    /// Appends the number that `text` writes; what is no number (`NaN`, `Infinity`) becomes a string.
    pub fn decimal(&mut self, container: &mut Container, text: &[u8]) -> Result<(), TooLarge> {
        let from = self.buffer.len();
        self.pad();
        if crate::numeric::push_decimal(self.buffer, text) {
            self.entry(container, ENTRY_NUMERIC, self.buffer.len() - from)
        } else {
            self.buffer.truncate(from);
            self.string(container, text)
        }
    }

    /// Appends a finite NUMERIC by its bytes after the varlena header.
    pub fn numeric(&mut self, container: &mut Container, body: &[u8]) -> Result<(), TooLarge> {
        let from = self.buffer.len();
        self.pad();
        self.buffer.extend_from_slice(&varlena_header(body.len() + 4));
        self.buffer.extend_from_slice(body);
        self.entry(container, ENTRY_NUMERIC, self.buffer.len() - from)
    }

    /// Appends another JSONB value by its bytes after the varlena header.
    pub fn jsonb(&mut self, container: &mut Container, body: &[u8]) -> Result<(), TooLarge> {
        let word = |at: usize| u32::from_ne_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let from = self.buffer.len();
        if word(0) & HEADER_SCALAR != 0 {
            // A scalar stands alone as an array of one; here it is the value itself. Its bytes follow an
            // aligned entry, so a numeric carries no padding of its own.
            let kind = word(4) & ENTRY_KIND;
            if kind == ENTRY_NUMERIC {
                self.pad();
            }
            self.buffer.extend_from_slice(&body[8..]);
            self.entry(container, kind, self.buffer.len() - from)
        } else {
            self.pad();
            self.buffer.extend_from_slice(body);
            self.entry(container, ENTRY_CONTAINER, self.buffer.len() - from)
        }
    }

    /// Closes `child` and makes it the next value of `parent`.
    pub fn close(&mut self, parent: &mut Container, child: Container) -> Result<(), TooLarge> {
        self.complete(&child);
        self.entry(parent, ENTRY_CONTAINER, self.buffer.len() - child.base)
    }

    /// Closes the outermost container and returns where in the buffer the value, header included, begins.
    pub fn finish(self, root: Container) -> usize {
        self.complete(&root);
        let header = varlena_header(self.buffer.len() - self.start);
        self.buffer[self.start..self.start + 4].copy_from_slice(&header);
        self.start
    }

    fn complete(&self, container: &Container) {
        let header = container.entries - 4;
        let word = u32::from_ne_bytes([
            self.buffer[header],
            self.buffer[header + 1],
            self.buffer[header + 2],
            self.buffer[header + 3],
        ]);
        let entries = (word & HEADER_COUNT) * if word & HEADER_OBJECT != 0 { 2 } else { 1 };
        assert_eq!(container.next, entries, "a container was closed before it was full");
    }

    fn entry(&mut self, container: &mut Container, kind: u32, length: usize) -> Result<(), TooLarge> {
        container.total += length;
        if container.total > ENTRY_MASK {
            return Err(TooLarge(container.total));
        }
        let word = if container.next.is_multiple_of(OFFSET_STRIDE) {
            kind | container.total as u32 | ENTRY_HAS_OFFSET
        } else {
            kind | length as u32
        };
        let at = container.entries + container.next as usize * 4;
        self.buffer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        container.next += 1;
        Ok(())
    }

    fn pad(&mut self) {
        let length = self.buffer.len() - self.start;
        self.buffer.resize(self.start + length.next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes_of_a_small_object() {
        let mut buffer = Vec::new();
        let mut builder = Builder::new(&mut buffer);
        let mut root = builder.object(2).unwrap();
        builder.key(&mut root, b"a").unwrap();
        builder.key(&mut root, b"bc").unwrap();
        builder.boolean(&mut root, true).unwrap();
        builder.string(&mut root, b"x").unwrap();
        builder.finish(root);
        let mut expected = varlena_header(28).to_vec();
        for word in [HEADER_OBJECT | 2, ENTRY_HAS_OFFSET | 1, 2, ENTRY_TRUE, ENTRY_STRING | 1] {
            expected.extend(word.to_ne_bytes());
        }
        expected.extend(b"abcx");
        assert_eq!(buffer, expected);
    }

    #[test]
    fn containers_are_aligned_and_their_padding_is_theirs() {
        let mut buffer = Vec::new();
        let mut builder = Builder::new(&mut buffer);
        let mut root = builder.array(2).unwrap();
        builder.string(&mut root, b"abc").unwrap();
        let mut child = builder.array(1).unwrap();
        builder.null(&mut child).unwrap();
        builder.close(&mut root, child).unwrap();
        builder.finish(root);
        // Header, array header, two entries, "abc", one byte of padding, the child's header and entry.
        assert_eq!(buffer.len(), 4 + 4 + 8 + 3 + 1 + 8);
        assert_eq!(buffer[12..16], (ENTRY_CONTAINER | 9).to_ne_bytes());
    }

    #[test]
    fn keys_sort_by_length_then_bytes() {
        let mut keys: Vec<&[u8]> = vec![b"id", b"name", b"a", b"zz", b"b"];
        keys.sort_by(|a, b| key_order(a, b));
        assert_eq!(keys, [&b"a"[..], b"b", b"id", b"zz", b"name"]);
    }

    #[test]
    #[should_panic(expected = "closed before it was full")]
    fn a_missing_value_is_noticed() {
        let mut buffer = Vec::new();
        let mut builder = Builder::new(&mut buffer);
        let root = builder.array(1).unwrap();
        builder.finish(root);
    }
}
