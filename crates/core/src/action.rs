//! Action names: what an event says happened, such as `organisation.user.role.assigned`.
//!
//! Grammar: `segment(.segment)+`, a segment is `[a-z0-9_][a-z0-9_-]*`, at most [`MAX_BYTES`] in all.

use thiserror::Error;

/// The longest action name, in bytes.
pub const MAX_BYTES: usize = 255;

/// Why a text is no action name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ActionError {
    /// Longer than [`MAX_BYTES`].
    #[error("it has {0} bytes, {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// Fewer than two segments.
    #[error("it needs at least two segments separated by a dot")]
    OneSegment,
    /// Nothing between two dots, or before the first, or after the last. Segments count from one.
    #[error("segment {0} is empty")]
    EmptySegment(usize),
    /// A character outside `[a-z0-9_-]`, or a hyphen that opens a segment.
    #[error("{character:?} at character {position} is not allowed there")]
    Character {
        /// The character.
        character: char,
        /// Where, in characters from one.
        position: usize,
    },
}

/// Checks `action` against the grammar.
///
/// ```
/// assert!(audit_core::action::check("datasource.deleted").is_ok());
/// assert!(audit_core::action::check("Datasource.deleted").is_err());
/// ```
pub fn check(action: &str) -> Result<(), ActionError> {
    if action.len() > MAX_BYTES {
        return Err(ActionError::TooLong(action.len()));
    }
    let mut opens_segment = true;
    for (index, character) in action.chars().enumerate() {
        let allowed = match character {
            'a'..='z' | '0'..='9' | '_' => true,
            '.' => true,
            '-' => !opens_segment,
            _ => false,
        };
        if !allowed {
            return Err(ActionError::Character { character, position: index + 1 });
        }
        opens_segment = character == '.';
    }
    if let Some(empty) = action.split('.').position(str::is_empty) {
        return Err(if action.contains('.') {
            ActionError::EmptySegment(empty + 1)
        } else {
            ActionError::OneSegment
        });
    }
    if !action.contains('.') {
        return Err(ActionError::OneSegment);
    }
    Ok(())
}

/// Whether `action` belongs to the audit system itself: only the extension may emit it.
pub fn is_reserved(action: &str) -> bool {
    action.starts_with("audit.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_grammar_generates_is_accepted(
            action in "[a-z0-9_][a-z0-9_-]{0,8}(\\.[a-z0-9_][a-z0-9_-]{0,8}){1,5}"
        ) {
            prop_assert_eq!(check(&action), Ok(()));
        }

        #[test]
        fn what_is_accepted_is_in_the_grammar(text in "[a-zA-Z0-9_.é -]{0,12}") {
            let segments: Vec<&str> = text.split('.').collect();
            let in_grammar = segments.len() >= 2
                && segments.iter().all(|segment| {
                    !segment.is_empty()
                        && !segment.starts_with('-')
                        && segment.bytes().all(|b| {
                            b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'
                        })
                });
            prop_assert_eq!(check(&text).is_ok(), in_grammar, "{}", text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(check("login"), Err(ActionError::OneSegment));
        assert_eq!(check(""), Err(ActionError::OneSegment));
        assert_eq!(check("user..added"), Err(ActionError::EmptySegment(2)));
        assert_eq!(check("user."), Err(ActionError::EmptySegment(2)));
        assert_eq!(check("user.-x"), Err(ActionError::Character { character: '-', position: 6 }));
        let longest = format!("a.{}", "b".repeat(253));
        assert_eq!(check(&longest), Ok(()));
        assert_eq!(check(&format!("{longest}b")), Err(ActionError::TooLong(256)));
    }

    #[test]
    fn the_audit_system_keeps_its_own_names() {
        assert!(is_reserved("audit.tracking.enabled"));
        assert!(!is_reserved("auditor.created"));
    }
}
