//! Suggestions for mistyped names.

use super::printable::printable_excerpt;

/// Maximum length of a name that is compared, in bytes. A longer one is no typing mistake, and the
/// cost of a comparison is the product of both lengths.
const MAX_NAME_BYTES: usize = 100;

/// Minimum length, in bytes, at which a name counts as similar because one contains the other.
const MIN_CONTAINED_BYTES: usize = 4;

/// Similarity of two names of which one contains the other, unless they are more similar anyway.
const CONTAINED_SIMILARITY: f64 = 0.8;

/// Minimum similarity of a suggestion.
const MIN_SIMILARITY: f64 = 0.75;

/// Returns the candidate most similar to a mistyped name, ignoring case; `None` if none is similar
/// enough.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_NAME_BYTES)
        .map(|candidate| (similarity(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns `, did you mean X?`, or an empty string if no candidate is similar enough.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    format_suggestion(nearest(name, candidates))
}

/// Returns `, did you mean X?`, or an empty string if there is no suggestion.
pub(crate) fn format_suggestion(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |nearest| {
        format!(", did you mean `{}`?", printable_excerpt(nearest))
    })
}

/// Returns the similarity of two lower-case names, in `0.0..=1.0`.
fn similarity(a: &str, b: &str) -> f64 {
    let jaro_winkler = strsim::jaro_winkler(a, b);
    // `image_link` is similar to `image`, although many letters differ.
    let is_contained = a.len() >= MIN_CONTAINED_BYTES
        && b.len() >= MIN_CONTAINED_BYTES
        && (a.contains(b) || b.contains(a));
    if is_contained {
        jaro_winkler.max(CONTAINED_SIMILARITY)
    } else {
        jaro_winkler
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognised_and_an_unrelated_name_is_not() {
        let fields = ["image", "prompt", "duration", "aspect_ratio"];
        assert_eq!(nearest("promt", fields), Some("prompt"));
        assert_eq!(nearest("Image_Link", fields), Some("image"));
        assert_eq!(nearest("aspectratio", fields), Some("aspect_ratio"));
        assert_eq!(nearest("warehouse", fields), None);
    }
}
