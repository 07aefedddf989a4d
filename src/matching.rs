//! Patterns in SQL: `audit_match` and its helpers.

use audit_core::pattern::{DEFAULT, Pattern};

/// A pattern parsed once per call site and used as long as the text stays the same.
pub struct CachedPattern {
    text: Vec<u8>,
    /// `None` for a malformed pattern, which matches nothing.
    pattern: Option<Pattern>,
}

impl CachedPattern {
    /// Parses `text`.
    pub fn new(text: &[u8]) -> Self {
        Self { text: text.to_vec(), pattern: Pattern::parse(text).ok() }
    }

    /// Whether this is `text`, parsed.
    pub fn is(&self, text: &[u8]) -> bool {
        self.text == text
    }

    /// Whether the pattern shows `action`. Never fails: an error that depends on rows would tell of rows that
    /// the reader may not see.
    pub fn matches(&self, action: &[u8]) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.matches(action))
    }
}

/// What is wrong with a pattern, `None` if it is well formed.
pub fn check(text: &[u8]) -> Option<String> {
    Pattern::parse(text).err().map(|error| error.to_string())
}

/// The pattern of an empty filter: everything in a project, organisation-level actions otherwise.
pub fn default_pattern(in_project: bool) -> &'static str {
    if in_project { "*" } else { DEFAULT }
}
