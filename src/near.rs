//! What someone who misspelt a name may have meant.

/// `Did you mean "…"? ` where one of `known` is near `given`, otherwise nothing.
pub fn did_you_mean(given: &str, known: &[&str]) -> String {
    nearest(given, known).map_or(String::new(), |near| format!("Did you mean \"{near}\"? "))
}

/// The one of `known` that is nearest, if at most every third character differs.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let most = (given.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), *name))
        .filter(|(distance, _)| *distance <= most && !given.is_empty())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelt_name_is_found() {
        let known = ["password", "name", "id", "organisation_id"];
        assert_eq!(nearest("pasword", &known), Some("password"));
        assert_eq!(nearest("Organization_Id", &known), Some("organisation_id"));
        assert_eq!(nearest("di", &known), Some("id"));
    }

    #[test]
    fn what_is_far_from_all_is_not_guessed() {
        assert_eq!(nearest("wholly_different", &["password", "name"]), None);
        assert_eq!(nearest("x", &["id"]), None);
        assert_eq!(nearest("", &["id", "x"]), None);
    }
}
