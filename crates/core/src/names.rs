//! Names in SQL text: where the column in `new.column` stands, so that a renamed one can be written there.
//!
//! Bytes, not characters: every encoding that a PostgreSQL database can have is ASCII where a byte is below 128.

use std::ops::Range;

/// Where the second name of `first.second` stands in `text`, the first one beginning at `start`. Names may be quoted,
/// and white space and comments may stand around the dot, as SQL allows. `None` if there is no such thing, or if the
/// name is written with Unicode escapes (`U&"…"`).
pub fn second_name(text: &[u8], start: usize) -> Option<Range<usize>> {
    let first = name(text, start)?;
    let dot = skip_space(text, first.end);
    if *text.get(dot)? != b'.' {
        return None;
    }
    name(text, skip_space(text, dot + 1))
}

/// The name that begins at `start`.
fn name(text: &[u8], start: usize) -> Option<Range<usize>> {
    let first = *text.get(start)?;
    if first == b'"' {
        let mut at = start + 1;
        while let Some(byte) = text.get(at) {
            at += 1;
            if *byte == b'"' {
                if text.get(at) != Some(&b'"') {
                    return Some(start..at);
                }
                at += 1;
            }
        }
        return None;
    }
    let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 128;
    let goes_on = |byte: &u8| begins(*byte) || byte.is_ascii_digit() || *byte == b'$';
    if !begins(first) || (matches!(first, b'U' | b'u') && text[start + 1..].starts_with(b"&\"")) {
        return None;
    }
    let length = text[start..].iter().take_while(|byte| goes_on(byte)).count();
    Some(start..start + length)
}

/// Where what follows white space and comments begins.
fn skip_space(text: &[u8], mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        if rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b) {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += rest.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')).count();
        } else if rest.starts_with(b"/*") {
            at += comment(rest);
        } else {
            return at;
        }
    }
}

/// The length of the comment that `text` begins with. Comments nest.
fn comment(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if text[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str, start: usize) -> Option<&str> {
        second_name(text.as_bytes(), start).map(|range| &text[range])
    }

    #[test]
    fn names_are_found_as_sql_writes_them() {
        assert_eq!(found("new.status = 'x'", 0), Some("status"));
        assert_eq!(found("NOT (NEW . \"Sta\"\"tus\") IS NULL", 5), Some("\"Sta\"\"tus\""));
        assert_eq!(found("new -- the row\n ./* a /* nested */ comment */größe$1+1", 0), Some("größe$1"));
        assert_eq!(found("\"new\".\"x\"", 0), Some("\"x\""));
    }

    #[test]
    fn what_is_no_pair_of_names_is_not_found() {
        for text in ["new", "new.", "new x", "new.*", "new.U&\"x\"", "new.\"x", "new /* .x", "", "1.x"] {
            assert_eq!(found(text, 0), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_found_whole(name in "[a-z\" .\u{e9}]{0,8}", before in "[ \n]{0,3}", after in ".{0,4}") {
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let text = format!("old{before}.{before}{quoted} {after}");
            prop_assert_eq!(found(&text, 0), Some(quoted.as_str()));
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..40), start in 0usize..40) {
            if let Some(range) = second_name(&text, start) {
                prop_assert!(range.end <= text.len() && range.start < range.end);
            }
        }
    }
}
