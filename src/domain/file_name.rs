//! File names made of row keys: safe on Linux, macOS and Windows, and different where the keys are.

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// Longest stem in bytes: with the suffix, the extension and the temporary name's marks it stays under the 255 that
/// file systems allow.
const MAX_STEM_BYTES: usize = 120;

/// Names Windows keeps for devices, whatever the extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Makes a file or folder name of a key. A key that is already safe stays as it is; a changed one gets eight
/// digits of its hash, so that `a/b` and `a_b` do not meet.
pub fn safe_file_stem(key: &str) -> String {
    let safe = |c| if is_safe(c) { c } else { '_' };
    // ASCII is normal as it is.
    let mut stem: String = if key.is_ascii() {
        key.chars().map(safe).collect()
    } else {
        key.nfc().map(safe).collect()
    };
    while stem.len() > MAX_STEM_BYTES {
        stem.pop();
    }
    let trimmed = stem
        .trim_end_matches(['.', ' '])
        .trim_start_matches([' ', '.', '-']);
    let unchanged = trimmed == key && !trimmed.is_empty() && !is_device(trimmed);
    if unchanged {
        trimmed.to_owned()
    } else {
        disambiguated_file_stem(trimmed, key)
    }
}

/// Adds eight digits of the key's hash to a stem, for a key whose name is taken.
pub fn disambiguated_file_stem(stem: &str, key: &str) -> String {
    let digest = hex::encode(Sha256::digest(key.as_bytes()));
    let stem = if stem.is_empty() || is_device(stem) {
        format!("_{stem}")
    } else {
        stem.to_owned()
    };
    format!("{stem}-{}", &digest[..8])
}

/// Folds a name so that two names one file system would take for the same are equal.
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

fn is_safe(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '-' | '_' | '.' | ' ' | '+' | '=' | '@' | ',' | '(' | ')' | '#' | '&' | '!'
        )
}

fn is_device(stem: &str) -> bool {
    // Folded, because Windows takes the raised digits for digits here: `com¹` is a device too.
    let first = case_folded(stem.split('.').next().unwrap_or(stem).trim_end());
    let bare = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = first.len() - bare.len();
    DEVICES.contains(&bare)
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
    fn a_safe_key_names_its_own_file() {
        for key in ["MUG-001", "tasse_blau.v2", "茶碗 3", "console", "com10"] {
            assert_eq!(safe_file_stem(key), key);
        }
    }

    #[test]
    fn hostile_keys_become_plain_names_that_differ() {
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
            assert!(!name.ends_with(['.', ' ']) && !is_device(name), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), keys.len());
    }

    #[test]
    fn long_keys_fit_every_file_system() {
        let (one, other) = (
            safe_file_stem(&format!("{}1", "é".repeat(400))),
            safe_file_stem(&format!("{}2", "é".repeat(400))),
        );
        assert!(one.len() < 140);
        assert_ne!(one, other);
    }

    #[test]
    fn names_that_differ_only_by_case_or_composition_fold_together() {
        assert_eq!(case_folded("MUG"), case_folded("mug"));
        assert_eq!(case_folded("e\u{301}"), case_folded("é"));
    }
}
