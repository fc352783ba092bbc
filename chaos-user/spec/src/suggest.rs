//! "Did you mean": the nearest of the known names.

/// The known name that is nearest to `text` by edit distance (Damerau-Levenshtein), if it is near enough to be a slip:
/// at most a third of the length, and at least one edit is always forgiven.
pub(crate) fn closest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // No name is that long, and the distance costs the product of the lengths.
    if text.len() > 128 {
        return None;
    }
    let most = (text.chars().count() / 3).max(1);
    known
        .map(|name| (strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
