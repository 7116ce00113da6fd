//! API keys, and their redaction from whatever a provider returns.

use std::fmt;

use reqwest::header::HeaderValue;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::redaction::KeyParts;

/// Length of the mark of a key, in bytes.
const MARK_BYTES: usize = 8;

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
    /// What is redacted of it.
    parts: KeyParts,
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
        Ok(Self {
            text: text.to_owned(),
            parts: KeyParts::new(text),
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

    /// Redacts the key, and parts of it, in a message. A provider that refuses a key may quote it.
    pub(super) fn redact(&self, text: &str) -> String {
        self.parts.redact(text)
    }

    /// Redacts the key in every string of a body, before anything else reads or shortens it.
    pub(super) fn redact_json(&self, body: &mut Value) {
        match body {
            Value::String(text) if is_url(text) => *text = self.parts.redact_url(text),
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => {
                let fields_before = std::mem::take(fields);
                fields.extend(fields_before.into_iter().map(|(name, mut field)| {
                    self.redact_json(&mut field);
                    (self.redact(&name), field)
                }));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Returns whether a text is a URL and nothing else.
fn is_url(text: &str) -> bool {
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    has_scheme && !text.contains(char::is_whitespace)
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
