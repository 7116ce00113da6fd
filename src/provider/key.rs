//! API keys, and their redaction from whatever a provider returns.

use std::fmt;

use reqwest::header::HeaderValue;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::form_urlencoded::byte_serialize;

/// Minimum length of a secret to be redacted, in characters. A shorter one would be found in
/// ordinary words.
const MIN_SECRET_CHARS: usize = 8;

/// Minimum length of the id in `id:secret` to be redacted, in characters. Where the user chose it,
/// a shorter one may be a word.
const MIN_ID_CHARS: usize = 16;

/// Length of the mark of a key, in bytes.
const MARK_BYTES: usize = 8;

/// The text that replaces the key.
pub(super) const REDACTED: &str = "[key]";

/// A provider's API key. It has no `Display` and no `Serialize`, and its `Debug` shows nothing.
///
/// ```compile_fail
/// let key = overnight::provider::ApiKey::new("secret-123").unwrap();
/// println!("{key}");
/// ```
///
/// ```compile_fail
/// let key = overnight::provider::ApiKey::new("secret-123").unwrap();
/// serde_json::to_string(&key).unwrap();
/// ```
#[derive(Clone)]
pub struct ApiKey {
    text: String,
    /// What grants access, plain and percent-encoded: the whole key and, of `id:secret`, the
    /// secret.
    secrets: Vec<String>,
    /// The id of `id:secret`, plain and percent-encoded. It grants nothing, but identifies the
    /// account.
    ids: Vec<String>,
}

/// The error for a text that cannot be a key. Its message does not show the text, and follows the
/// name of the variable that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty or contains characters that a key cannot have")]
pub struct InvalidKey;

impl ApiKey {
    /// Parses a key as it is set in the environment; surrounding whitespace is ignored. Fails
    /// unless all characters are printable ASCII without spaces.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidKey);
        }
        let (id, secret) = text.split_once(':').unwrap_or_default();
        let spellings = |parts: &[&str], min_chars| {
            let long_enough = parts.iter().filter(|part| part.len() >= min_chars);
            long_enough
                .flat_map(|part| {
                    [
                        (*part).to_owned(),
                        byte_serialize(part.as_bytes()).collect(),
                    ]
                })
                .collect()
        };
        Ok(Self {
            text: text.to_owned(),
            secrets: spellings(&[text, secret], MIN_SECRET_CHARS),
            ids: spellings(&[id], MIN_ID_CHARS),
        })
    }

    /// Returns a mark that differs for another key and does not reveal this one: the beginning of the
    /// SHA-256 of the salt and the key.
    pub fn mark(&self, salt: &str) -> String {
        let digest = Sha256::digest(format!("{salt}\n{}", self.text));
        let hex = |byte: &u8| format!("{byte:02x}");
        digest.iter().take(MARK_BYTES).map(hex).collect()
    }

    /// Returns the value of the header that carries the key, marked as sensitive so that HTTP logs
    /// omit it. `prefix` precedes the key: `"Bearer "`.
    pub(super) fn to_header_value(&self, prefix: &str) -> Result<HeaderValue, InvalidKey> {
        let mut value =
            HeaderValue::from_str(&format!("{prefix}{}", self.text)).map_err(|_| InvalidKey)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Redacts the key in a message. A provider that refuses a key may quote it.
    pub(super) fn redact(&self, text: &str) -> String {
        replace_all(&replace_all(text, &self.secrets), &self.ids)
    }

    /// Redacts the key in every string of a body, before anything else reads it.
    pub(super) fn redact_json(&self, body: &mut Value) {
        match body {
            // In a URL the id is kept: without a part of its path, a paid clip could not be
            // downloaded.
            Value::String(text) if text.starts_with("http") => {
                *text = replace_all(text, &self.secrets);
            }
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => fields
                .values_mut()
                .for_each(|field| self.redact_json(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Replaces each of the parts by [`REDACTED`], in upper or lower case: `%3A` may be written `%3a`.
fn replace_all(text: &str, parts: &[String]) -> String {
    parts.iter().fold(text.to_owned(), |text, part| {
        let lower_text = text.to_ascii_lowercase();
        let lower_part = part.to_ascii_lowercase();
        let mut redacted = String::with_capacity(text.len());
        let mut copied = 0;
        for (start, found) in lower_text.match_indices(&lower_part) {
            redacted.push_str(&text[copied..start]);
            redacted.push_str(REDACTED);
            copied = start + found.len();
        }
        redacted + &text[copied..]
    })
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_output_and_errors_do_not_show_the_key() {
        let key = ApiKey::new(" secret-123 ").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!(!format!("{:?}", key.to_header_value("Key ").unwrap()).contains("secret"));
        for text in ["", " \n", "se cret", "se\ncret", "sécret"] {
            let error = ApiKey::new(text).unwrap_err();
            assert!(!error.to_string().contains("cret"), "{text:?}");
        }
    }

    fn redacted(key: &str, mut body: Value) -> Value {
        ApiKey::new(key).unwrap().redact_json(&mut body);
        body
    }

    #[test]
    fn a_key_quoted_by_a_provider_is_redacted_in_every_spelling() {
        let fal = "0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2";
        for (quoted, expected) in [
            (
                "no user for 0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2",
                "no user for [key]",
            ),
            (
                "Authorization: Key 0B5B3C1E-9F52-4A52:5F0C9D1E77AA4CE2;",
                "Authorization: Key [key];",
            ),
            (
                "?key=0b5b3c1e-9f52-4a52%3a5f0c9d1e77aa4ce2&x",
                "?key=[key]&x",
            ),
            ("bad secret 5f0c9d1e77aa4ce2", "bad secret [key]"),
            ("bad id 0b5b3c1e-9f52-4a52", "bad id [key]"),
        ] {
            assert_eq!(
                redacted(fal, json!({"a": [quoted]})),
                json!({"a": [expected]})
            );
        }
        assert_eq!(
            redacted("a/b+c=12345", json!("is a%2Fb%2Bc%3D12345 yours?")),
            json!("is [key] yours?")
        );
    }

    #[test]
    fn short_keys_are_not_redacted_in_ordinary_words_nor_ids_in_urls() {
        assert_eq!(
            redacted("key", json!("a key is missing")),
            json!("a key is missing")
        );
        assert_eq!(
            redacted("simulated:fal-key", json!("simulated fal-key")),
            json!("simulated fal-key")
        );
        let url = json!("https://cdn.example/0b5b3c1e-9f52-4a52/clip.mp4");
        assert_eq!(
            redacted("0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2", url.clone()),
            url
        );
    }
}
