//! Keys that cannot be printed.

use std::fmt;

use reqwest::header::HeaderValue;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// A shorter secret is not looked for in answers: it would be found in ordinary words.
const MIN_SECRET_CHARS: usize = 8;

/// Nor is a shorter first half of a key in two: where it is chosen by a person it may be a word.
const MIN_ID_CHARS: usize = 16;

/// What stands in an answer where the key stood.
pub(super) const REDACTED: &str = "[key]";

/// A provider's key. It has no `Display`, no `Serialize`, and a `Debug` that tells nothing.
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
    /// What lets somebody in, in every way it may be written: the key, and of `id:secret` the second half.
    secrets: Vec<String>,
    /// The first half of `id:secret`, likewise. It opens nothing, but tells whose key it is.
    ids: Vec<String>,
}

/// A text that cannot be a key. The message never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty, or holds characters that no key has")]
pub struct InvalidKey;

impl ApiKey {
    /// Takes a key as it stands in the environment.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidKey);
        }
        let (id, secret) = text.split_once(':').unwrap_or_default();
        let spelled = |parts: &[&str], shortest| {
            let long = parts.iter().filter(|part| part.len() >= shortest);
            long.flat_map(|part| {
                [
                    (*part).to_owned(),
                    byte_serialize(part.as_bytes()).collect(),
                ]
            })
            .collect()
        };
        Ok(Self {
            text: text.to_owned(),
            secrets: spelled(&[text, secret], MIN_SECRET_CHARS),
            ids: spelled(&[id], MIN_ID_CHARS),
        })
    }

    /// Makes the header's value, marked so that HTTP logs leave it out. `scheme` comes before the key: `"Bearer "`.
    pub(super) fn header(&self, scheme: &str) -> Result<HeaderValue, InvalidKey> {
        let mut value =
            HeaderValue::from_str(&format!("{scheme}{}", self.text)).map_err(|_| InvalidKey)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Blots the key out of a message: a provider that refuses a key may quote it.
    pub(super) fn redact(&self, text: &str) -> String {
        without(&without(text, &self.secrets), &self.ids)
    }

    /// Blots the key out of every text of an answer, before anybody reads it.
    pub(super) fn redact_json(&self, answer: &mut Value) {
        match answer {
            // A link that lost a part of its path would be a paid clip that nobody can fetch: an id stays in it.
            Value::String(text) if text.starts_with("http") => *text = without(text, &self.secrets),
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => fields
                .values_mut()
                .for_each(|field| self.redact_json(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Puts the blot in the place of each of these, in capitals or not: `%3A` may be written `%3a`.
fn without(text: &str, parts: &[String]) -> String {
    parts.iter().fold(text.to_owned(), |text, part| {
        let (lower, part) = (text.to_ascii_lowercase(), part.to_ascii_lowercase());
        let mut clean = String::with_capacity(text.len());
        let mut from = 0;
        for (at, found) in lower.match_indices(&part) {
            clean.push_str(&text[from..at]);
            clean.push_str(REDACTED);
            from = at + found.len();
        }
        clean + &text[from..]
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
    fn a_key_is_never_shown() {
        let key = ApiKey::new(" secret-123 ").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!(!format!("{:?}", key.header("Key ").unwrap()).contains("secret"));
        for text in ["", " \n", "se cret", "se\ncret", "sécret"] {
            let error = ApiKey::new(text).unwrap_err();
            assert!(!error.to_string().contains("cret"), "{text:?}");
        }
    }

    fn hidden(key: &str, mut answer: Value) -> Value {
        ApiKey::new(key).unwrap().redact_json(&mut answer);
        answer
    }

    #[test]
    fn a_key_that_a_provider_quotes_is_blotted_out_wherever_it_stands() {
        let fal = "0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2";
        for (quoted, left) in [
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
            assert_eq!(hidden(fal, json!({"a": [quoted]})), json!({"a": [left]}));
        }
        assert_eq!(
            hidden("a/b+c=12345", json!("is a%2Fb%2Bc%3D12345 yours?")),
            json!("is [key] yours?")
        );
    }

    #[test]
    fn short_keys_are_not_found_in_ordinary_words_nor_ids_in_links() {
        assert_eq!(
            hidden("key", json!("a key is missing")),
            json!("a key is missing")
        );
        assert_eq!(
            hidden("simulated:fal-key", json!("simulated fal-key")),
            json!("simulated fal-key")
        );
        let link = json!("https://cdn.example/0b5b3c1e-9f52-4a52/clip.mp4");
        assert_eq!(
            hidden("0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2", link.clone()),
            link
        );
    }
}
