//! The language as it reads, against the parsed pattern.

use super::*;
use proptest::prelude::*;

fn matches(action: &str, pattern: &str) -> bool {
    Pattern::parse(pattern.as_bytes()).is_ok_and(|p| p.matches(action.as_bytes()))
}

/// The rules of the language as they read, by plain recursion.
fn naive(action: &str, pattern: &str) -> bool {
    fn glob(action: &[u8], term: &[u8]) -> bool {
        match term {
            [] => action.is_empty(),
            [b'*', rest @ ..] => (0..=action.len()).any(|skip| glob(&action[skip..], rest)),
            [first, rest @ ..] => action.first() == Some(first) && glob(&action[1..], rest),
        }
    }
    if pattern.len() > MAX_BYTES {
        return false;
    }
    let space = |c: char| " \t\n\r\u{b}\u{c}".contains(c);
    let terms: Vec<&str> =
        pattern.split(',').map(|term| term.trim_matches(space)).filter(|term| !term.is_empty()).collect();
    let well_formed = terms.len() <= MAX_TERMS
        && terms.iter().all(|term| {
            *term != "-" && term.chars().all(|c| c.is_ascii_alphanumeric() || "_-.*".contains(c))
        });
    let (exclude, include): (Vec<&str>, Vec<&str>) = terms.iter().partition(|term| term.starts_with('-'));
    let include = match (include.is_empty(), exclude.is_empty()) {
        (true, true) => vec![DEFAULT],
        (true, false) => vec!["*"],
        _ => include,
    };
    let any =
        |terms: &[&str], skip| terms.iter().any(|term| glob(action.as_bytes(), &term.as_bytes()[skip..]));
    well_formed && any(&include, 0) && !any(&exclude, 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Few letters, so that matches, overlaps and repeated pieces are frequent.
    #[test]
    fn agrees_with_the_naive_matcher(action in "[ab._-]{0,9}", pattern in "[ab.*_, -]{0,14}") {
        prop_assert_eq!(matches(&action, &pattern), naive(&action, &pattern));
    }

    #[test]
    fn agrees_on_foreign_characters(action in "[aé%.]{0,5}", pattern in "[aA*,é% \t\u{a0}-]{0,8}") {
        prop_assert_eq!(matches(&action, &pattern), naive(&action, &pattern));
    }

    #[test]
    fn agrees_on_real_actions(
        action in prop::sample::select(vec!["organisation.user.role.assigned", "project_member.added",
            "organisation.created", "organisations.created", "entity.deleted", "organisation"]),
        pattern in "(-?(organisation|project_member|entity|\\*)\\.?(\\*|user\\.\\*|created|deleted)(, )?){0,3}",
    ) {
        prop_assert_eq!(matches(action, &pattern), naive(action, &pattern));
    }

    #[test]
    fn never_panics(action: Vec<u8>, pattern: Vec<u8>) {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            pattern.matches(&action);
            pattern.ranges();
            pattern.exact();
        }
    }

    #[test]
    fn ranges_hold_what_matches(action in "[ab._\0/~é-]{0,5}", pattern in "[ab.*_, -]{0,14}") {
        if let Ok(pattern) = Pattern::parse(pattern.as_bytes()) {
            let (action, ranges) = (action.as_bytes(), pattern.ranges());
            let in_range = ranges.iter().any(|range| range.contains(action));
            prop_assert!(in_range || !pattern.matches(action));
            if pattern.is_its_ranges() {
                prop_assert_eq!(in_range, pattern.matches(action));
            }
            if let Some(exact) = pattern.exact() {
                prop_assert_eq!(exact.contains(&action), pattern.matches(action));
            }
            let apart = |pair: &[Range]| pair[0].high.as_ref().is_some_and(|high| *high < pair[1].low);
            prop_assert!(ranges.windows(2).all(apart), "{:?}", ranges);
            prop_assert!(ranges.iter().all(|range| range.contains(&range.low)));
        }
    }
}

#[test]
fn the_rules() {
    assert!(matches("organisation.user.role.assigned", "organisation.*"));
    assert!(!matches("organisation", "organisation.*"));
    assert!(!matches("organisations.created", "organisation.*"));
    assert!(!matches("projectxmember.added", "project_member.*"));
    assert!(matches("entity.deleted", "*.deleted"));
    assert!(matches("organisation.user.role.assigned", "organisation.*.assigned"));
    assert!(matches("dataset.created", "entity.*, dataset.*"));
    assert!(!matches("organisation.user.added", "organisation.*, -organisation.user.*"));
    assert!(!matches("entity.created", "-entity.*, entity.created"));
    assert!(matches("score.created", "-entity.*"));
    assert!(matches("organisation.created", " , ,"));
    assert!(!matches("entity.created", ""));
    assert!(!matches("entity.created", "Entity.*"));
    // A prefix and a suffix may not overlap in the action.
    assert!(!matches("aba", "ab*ba"));
}

#[test]
fn says_what_is_wrong_and_where() {
    let error = |pattern: &str| Pattern::parse(pattern.as_bytes()).unwrap_err().to_string();
    assert!(error("entity.%").starts_with("character 8 is \"%\""));
    assert!(error("é").starts_with("character 1 is U+00E9"));
    assert!(error("éa.*, ü.*").starts_with("character 1 is"));
    assert!(error("a.*, ü.*").starts_with("character 6 is U+00FC"));
    assert!(error("entity. *").starts_with("white space inside a term at character 8"));
    assert_eq!(error("entity.*, -"), "nothing follows the \"-\" at character 11");
    assert!(error(&"a".repeat(1025)).starts_with("the pattern has 1025 bytes"));
    assert!(
        error(&"a,".repeat(33))
            .starts_with("the pattern has more than 32 terms, the next begins at character 65")
    );
    assert!(Pattern::parse(&[0xff]).unwrap_err().to_string().starts_with("character 1 is byte 0xFF"));
    assert!(Pattern::parse("a,".repeat(32).as_bytes()).is_ok());
}

#[test]
fn matching_is_linear() {
    // Quadratic search would take hours: 2,000,000 × 500 characters, each pair nearly a match.
    let action = "a".repeat(2_000_000);
    let pattern = format!("*{}b*{}b*", "a".repeat(500), "a".repeat(500));
    assert!(!matches(&action, &pattern));
}

#[test]
fn ranges_of_the_usual_patterns() {
    let ranges = |pattern: &str| {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
        let ends =
            |range: Range| format!("{} to {}", text(range.low), range.high.map_or("the end".into(), text));
        (pattern.ranges().into_iter().map(ends).collect::<Vec<_>>().join(", "), pattern.is_its_ranges())
    };
    let all = " to the end".to_owned();
    assert_eq!(ranges("entity.created"), ("entity.created to entity.created\0".into(), true));
    assert_eq!(ranges("entity.*"), ("entity. to entity/".into(), true));
    assert_eq!(ranges("entity*, entity.*, entity.created"), ("entity to entitz".into(), true));
    assert_eq!(ranges("score.*, entity.**"), ("entity. to entity/, score. to score/".into(), true));
    assert_eq!(ranges("entity.*.x"), ("entity. to entity/".into(), false));
    assert_eq!(ranges("entity.*x*"), ("entity. to entity/".into(), false));
    assert_eq!(ranges("entity.*, -entity.tag.*"), ("entity. to entity/".into(), false));
    assert_eq!(ranges("entity.*, *"), (all.clone(), true));
    assert_eq!(ranges("entity.*, *.deleted, score.*"), (all.clone(), false));
    assert_eq!(ranges("-entity.*"), (all, false));
    assert_eq!(ranges(""), ("organisation. to organisation/".into(), true));
}

#[test]
fn lists_are_known() {
    let exact = |pattern: &str| {
        let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
        let text = |shown: Vec<&[u8]>| shown.join(&b' ').escape_ascii().to_string();
        pattern.exact().map(text)
    };
    assert_eq!(exact("b.a, a.b, b.a").as_deref(), Some("a.b b.a"));
    assert_eq!(exact("a.b, a.c, -*.b").as_deref(), Some("a.c"));
    assert_eq!(exact("a.b, -a.*").as_deref(), Some(""));
    assert_eq!(exact("a.b, a.*"), None);
    assert_eq!(exact(""), None);
    assert_eq!(exact("-a.b"), None);
}
