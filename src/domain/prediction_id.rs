//! The form of a provider's id for a prediction.

/// Maximum length of an id, in characters. The longest documented ones are a UUID and a model's name.
const MAX_PREDICTION_ID_CHARS: usize = 200;

/// Returns whether a text can be the id of a prediction.
///
/// An id becomes a part of a URL, a row of the queue and a word in messages, so it has to be plain: at
/// most 200 ASCII letters, digits and `-_.:~=+@/`, with a letter or a digit, and without an empty part
/// or `.` or `..` between slashes. Documented are UUIDs, nanoids, digits and `uuid:model/name`.
pub(crate) fn is_prediction_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~=+@/".contains(&byte);
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    text.len() <= MAX_PREDICTION_ID_CHARS
        && text.bytes().all(is_plain)
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_ids_have_the_form_and_paths_have_not() {
        for id in [
            "764cabcf-b745-4b3e-ae38-1200304cf45b",
            "nJ8Xcj0YCh8jZL1noqiZH",
            "60ac7c34-3224-4b14-8e7d-0aa0db708325:kling-video/v1.6/standard",
            "17",
            "p-1",
            "req_01+a=@b~c",
        ] {
            assert!(is_prediction_id(id), "{id}");
        }
        let long = "x".repeat(MAX_PREDICTION_ID_CHARS + 1);
        for text in [
            "",
            " ",
            ".",
            "..",
            "/",
            "a/",
            "/a",
            "a//b",
            "../a",
            "a/..",
            "a/./b",
            "%2e%2e",
            "a%2Fb",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            " a",
            "a\n",
            "a\u{1b}[2J",
            "a\u{202e}",
            "ä",
            "-",
            "=..=",
            &long,
        ] {
            assert!(!is_prediction_id(text), "{text:?}");
        }
    }
}
