//! The filter language of `audit_match`: `entity.*, *.deleted, -entity.tag.*`.
//!
//! - `*` stands for any run of characters, dots included; every other character is itself.
//! - A comma means or. A leading `-` excludes, and exclusion wins; only exclusions means everything but them.
//! - White space around a term and empty terms are ignored; no term at all means [`DEFAULT`].
//! - Letters, digits, `_`, `-`, `.` and `*` may stand in a term. Anything else, more than [`MAX_BYTES`] or more
//!   than [`MAX_TERMS`] make the pattern malformed.
//!
//! Matching is linear in the action: a term is a prefix, a suffix and the pieces between, each found once by a
//! linear-time search. [`Pattern::ranges`] and [`Pattern::exact`] say where an index has to be read.

mod ranges;
#[cfg(test)]
mod tests;

use memchr::memmem::Finder;
use thiserror::Error;

pub use ranges::Range;

/// The longest pattern, in bytes.
pub const MAX_BYTES: usize = 1024;
/// The most terms in one pattern.
pub const MAX_TERMS: usize = 32;
/// What a pattern without any term means.
pub const DEFAULT: &str = "organisation.*";

/// Why a text is no pattern. Positions count characters from one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Longer than [`MAX_BYTES`].
    #[error("the pattern has {0} bytes, {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// More terms than [`MAX_TERMS`]; the position is the first term's that is too many.
    #[error("the pattern has more than {MAX_TERMS} terms, the next begins at character {0}")]
    TooManyTerms(usize),
    /// A `-` with nothing after it.
    #[error("nothing follows the \"-\" at character {0}")]
    LoneHyphen(usize),
    /// White space inside a term.
    #[error("white space inside a term at character {0}; separate terms with a comma")]
    SpaceInTerm(usize),
    /// A character that never stands in an action.
    #[error(
        "character {position} is {character}; letters, digits, \"_\", \"-\", \".\" and \"*\" may stand in a pattern"
    )]
    Character {
        /// The character as shown to the user, in ASCII.
        character: String,
        /// Where it is.
        position: usize,
    },
}

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    include: Vec<Term>,
    exclude: Vec<Term>,
}

impl Pattern {
    /// Parses `text`, in any encoding whose first 128 characters are ASCII's.
    ///
    /// ```
    /// use audit_core::pattern::Pattern;
    /// let pattern = Pattern::parse(b"organisation.*, -organisation.user.*").unwrap();
    /// assert!(pattern.matches(b"organisation.created"));
    /// assert!(!pattern.matches(b"organisation.user.added"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        if text.len() > MAX_BYTES {
            return Err(PatternError::TooLong(text.len()));
        }
        let mut pattern = Self { include: Vec::new(), exclude: Vec::new() };
        let mut start = 0;
        for piece in text.split(|byte| *byte == b',') {
            let leading = piece.iter().take_while(|byte| is_space(**byte)).count();
            let term = trim(piece);
            if !term.is_empty() {
                let at = start + leading;
                pattern.add(text, at, term)?;
            }
            start += piece.len() + 1;
        }
        if pattern.include.is_empty() {
            let all = if pattern.exclude.is_empty() { DEFAULT } else { "*" };
            pattern.include.push(Term::new(all.as_bytes()));
        }
        Ok(pattern)
    }

    fn add(&mut self, text: &[u8], at: usize, term: &[u8]) -> Result<(), PatternError> {
        if self.include.len() + self.exclude.len() == MAX_TERMS {
            return Err(PatternError::TooManyTerms(position(text, at)));
        }
        let foreign =
            |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*'));
        if let Some(offset) = term.iter().position(foreign) {
            let position = position(text, at + offset);
            return Err(if is_space(term[offset]) {
                PatternError::SpaceInTerm(position)
            } else {
                PatternError::Character { character: show(&term[offset..]), position }
            });
        }
        match term {
            [b'-'] => return Err(PatternError::LoneHyphen(position(text, at))),
            [b'-', excluded @ ..] => self.exclude.push(Term::new(excluded)),
            _ => self.include.push(Term::new(term)),
        }
        Ok(())
    }

    /// Whether the pattern shows `action`.
    pub fn matches(&self, action: &[u8]) -> bool {
        self.include.iter().any(|term| term.matches(action))
            && !self.exclude.iter().any(|term| term.matches(action))
    }
}

/// One term: what stands before the first star, after the last, and between stars.
#[derive(Debug, Clone)]
struct Term {
    prefix: Box<[u8]>,
    pieces: Box<[Finder<'static>]>,
    /// `None` without any star: then `prefix` is the whole action.
    suffix: Option<Box<[u8]>>,
}

impl Term {
    fn new(text: &[u8]) -> Self {
        let mut parts = text.split(|byte| *byte == b'*');
        let prefix = parts.next().unwrap_or_default().into();
        let suffix = parts.next_back().map(Into::into);
        let pieces =
            parts.filter(|part| !part.is_empty()).map(|part| Finder::new(part).into_owned()).collect();
        Self { prefix, pieces, suffix }
    }

    fn matches(&self, action: &[u8]) -> bool {
        let Some(suffix) = &self.suffix else {
            return *action == *self.prefix;
        };
        let middle = after(&self.prefix, action).and_then(|rest| before(suffix, rest));
        // The leftmost place of each piece leaves the most for the pieces after it.
        middle
            .and_then(|middle| {
                self.pieces
                    .iter()
                    .try_fold(middle, |rest, piece| rest.get(piece.find(rest)? + piece.needle().len()..))
            })
            .is_some()
    }
}

/// What follows `prefix` in `text`, if that begins with it. The first byte tells most texts apart without a call. Nothing is
/// compared with an empty prefix: an empty box points nowhere, and finding out that nothing of it is read takes some
/// processors ten times as long as all the rest.
fn after<'a>(prefix: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    match prefix.first() {
        None => Some(text),
        first if first == text.first() => text.strip_prefix(prefix),
        _ => None,
    }
}

/// What precedes `suffix` in `text`, if that ends with it.
fn before<'a>(suffix: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    if suffix.is_empty() { Some(text) } else { text.strip_suffix(suffix) }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The character, counted from one, that the byte at `offset` belongs to.
fn position(text: &[u8], offset: usize) -> usize {
    String::from_utf8_lossy(&text[..offset]).chars().count() + 1
}

/// The first character of `text` in ASCII, so that it can be shown in any encoding.
fn show(text: &[u8]) -> String {
    let first = text.utf8_chunks().next();
    match first.and_then(|chunk| chunk.valid().chars().next()) {
        Some(graphic) if graphic.is_ascii_graphic() => format!("\"{graphic}\""),
        Some(character) => format!("U+{:04X}", u32::from(character)),
        None => format!("byte 0x{:02X}", text[0]),
    }
}
