//! Keys that cannot be printed.

use std::fmt;

use reqwest::header::HeaderValue;

/// A shorter key is not looked for in messages: it would be found in ordinary words.
const SHORTEST_HIDDEN: usize = 8;

/// A provider's key. It has no `Display`, no `Serialize`, and a `Debug` that tells nothing.
#[derive(Clone)]
pub struct ApiKey(String);

/// A text that cannot be a key. The message never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty, or holds characters that no key has")]
pub struct BadKey;

impl ApiKey {
    /// Takes a key as it stands in the environment.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadKey);
        }
        Ok(Self(key.to_owned()))
    }

    /// Makes the header's value, marked so that HTTP logs leave it out. `scheme` comes before the key: `"Bearer "`.
    pub(super) fn header(&self, scheme: &str) -> Result<HeaderValue, BadKey> {
        let mut value = HeaderValue::from_str(&format!("{scheme}{}", self.0)).map_err(|_| BadKey)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Blots the key out of a message: a provider that refuses a key may quote it.
    pub(super) fn hide_in(&self, text: &str) -> String {
        // Of a key in two halves, `id:secret`, the second alone is a secret as well.
        let secret = self.0.rsplit(':').next().unwrap_or_default();
        [self.0.as_str(), secret]
            .into_iter()
            .filter(|part| part.len() >= SHORTEST_HIDDEN)
            .fold(text.to_owned(), |text, part| text.replace(part, "…"))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_key_that_a_provider_quotes_is_blotted_out() {
        let key = ApiKey::new("id-1:secret-123").unwrap();
        assert_eq!(key.hide_in("no user for id-1:secret-123"), "no user for …");
        assert_eq!(key.hide_in("bad secret secret-123"), "bad secret …");
        assert_eq!(ApiKey::new("key").unwrap().hide_in("a key is missing"), "a key is missing");
    }
}
