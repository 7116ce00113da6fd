//! File names derived from row keys: valid on Linux, macOS and Windows, and distinct for distinct
//! keys.

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// Maximum length of a stem, in bytes. With the suffix, the extension and the additions of the
/// temporary name it stays below the 255 bytes that file systems allow.
const MAX_STEM_BYTES: usize = 120;

/// Names that Windows reserves for devices, with any extension; `com` and `lpt` take a digit.
const DEVICE_NAMES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Returns a file or folder name for a key.
///
/// A key that is already a valid name is returned unchanged. Otherwise invalid characters are
/// replaced or trimmed and eight digits of the key's hash are appended, so that `a/b` and `a_b`
/// have different names.
pub fn safe_file_stem(key: &str) -> String {
    let replace_invalid = |c| if is_valid_char(c) { c } else { '_' };
    // ASCII needs no Unicode normalisation.
    let mut stem: String = if key.is_ascii() {
        key.chars().map(replace_invalid).collect()
    } else {
        key.nfc().map(replace_invalid).collect()
    };
    while stem.len() > MAX_STEM_BYTES {
        stem.pop();
    }
    let trimmed = stem
        .trim_end_matches(['.', ' '])
        .trim_start_matches([' ', '.', '-']);
    let is_unchanged = trimmed == key && !trimmed.is_empty() && !is_device_name(trimmed);
    if is_unchanged {
        trimmed.to_owned()
    } else {
        disambiguated_file_stem(trimmed, key)
    }
}

/// Appends eight digits of the key's hash to a stem, for a key whose name is already in use.
pub fn disambiguated_file_stem(stem: &str, key: &str) -> String {
    let digest = hex::encode(Sha256::digest(key.as_bytes()));
    let stem = if stem.is_empty() || is_device_name(stem) {
        format!("_{stem}")
    } else {
        stem.to_owned()
    };
    format!("{stem}-{}", &digest[..8])
}

/// Folds case and Unicode composition, so that two names which some file system treats as the same
/// become equal.
pub fn case_folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfkc()
        .collect::<String>()
        .to_lowercase()
        .nfkc()
        .collect()
}

fn is_valid_char(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '-' | '_' | '.' | ' ' | '+' | '=' | '@' | ',' | '(' | ')' | '#' | '&' | '!'
        )
}

fn is_device_name(stem: &str) -> bool {
    // Folded, because Windows treats superscript digits as digits here: `com¹` is a device too.
    let first = case_folded(stem.split('.').next().unwrap_or(stem).trim_end());
    let bare = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = first.len() - bare.len();
    DEVICE_NAMES.contains(&bare)
        && if matches!(bare, "com" | "lpt") {
            digits == 1
        } else {
            digits == 0
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_key_is_its_own_file_name() {
        for key in ["MUG-001", "tasse_blau.v2", "茶碗 3", "console", "com10"] {
            assert_eq!(safe_file_stem(key), key);
        }
    }

    #[test]
    fn hostile_keys_become_valid_and_distinct_names() {
        let keys = [
            "../../etc/passwd",
            "..",
            ".",
            "",
            "a/b",
            "a\\b",
            "a:b",
            "CON",
            "nul.txt",
            "lpt1",
            "COM¹",
            "x ",
            "x.",
            ".hidden",
            "-rf",
            "a\0b",
            "a\nb",
        ];
        let mut names: Vec<String> = keys
            .iter()
            .map(|key| case_folded(&safe_file_stem(key)))
            .collect();
        for name in &names {
            assert!(
                !name.contains(['/', '\\', ':', '\0', '\n'])
                    && !name.starts_with('.')
                    && !name.starts_with('-'),
                "{name}"
            );
            assert!(
                !name.ends_with(['.', ' ']) && !is_device_name(name),
                "{name}"
            );
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), keys.len());
    }

    #[test]
    fn names_of_long_keys_fit_every_file_system() {
        let first = safe_file_stem(&format!("{}1", "é".repeat(400)));
        let second = safe_file_stem(&format!("{}2", "é".repeat(400)));
        assert!(first.len() < 140);
        assert_ne!(first, second);
    }

    #[test]
    fn names_that_differ_only_in_case_or_composition_fold_to_the_same_name() {
        assert_eq!(case_folded("MUG"), case_folded("mug"));
        assert_eq!(case_folded("e\u{301}"), case_folded("é"));
    }
}
