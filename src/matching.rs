//! Patterns in SQL: `audit_match`, and what the planner may know of it.

use audit_core::pattern::{DEFAULT, Pattern, Range};

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

/// Where an index in byte order has what a pattern shows.
pub struct Place {
    /// From here on, the empty text for the beginning.
    pub low: Vec<u8>,
    /// And before this; `None` for the end.
    pub high: Option<Vec<u8>>,
    /// Whether nothing else is there.
    pub is_exact: bool,
    /// All that the pattern shows, where that is a list.
    pub list: Option<Vec<Vec<u8>>>,
}

impl Place {
    /// Of the pattern `text`. A malformed one shows nothing, and so does NULL.
    pub fn of(text: Option<&[u8]>) -> Self {
        let found = text.and_then(|text| Pattern::parse(text).ok()).and_then(|pattern| {
            let list = pattern.exact().map(|list| list.into_iter().map(<[u8]>::to_vec).collect());
            let ranges = pattern.ranges();
            let is_exact = ranges.len() == 1 && pattern.is_its_ranges();
            let all = ranges.into_iter().reduce(|all, next| Range { high: next.high, ..all })?;
            Some(Self { low: all.low, high: all.high.map(as_text), is_exact, list })
        });
        found.unwrap_or(Self {
            low: Vec::new(),
            high: Some(Vec::new()),
            is_exact: true,
            list: Some(Vec::new()),
        })
    }
}

/// No text holds a zero byte, so that what comes before one and before the next byte is the same.
fn as_text(mut end: Vec<u8>) -> Vec<u8> {
    if let Some(last @ 0) = end.last_mut() {
        *last = 1;
    }
    end
}

/// The share of events that is shown by a pattern that nobody knows yet: rather many, so that pages of the newest are
/// read as they come, and not all that an index may have of it sorted first.
pub const SHARE_OF_UNKNOWN: f64 = 0.1;

/// The share of events that the pattern `text` shows, as far as its form tells.
pub fn likely_share(text: &[u8]) -> f64 {
    let place = Place::of(Some(text));
    match (&place.list, &place.high) {
        (Some(list), _) => (0.005 * list.len() as f64).min(SHARE_OF_UNKNOWN),
        (None, Some(_)) => 0.05,
        (None, None) if place.is_exact => 1.0,
        (None, None) => 0.2,
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
