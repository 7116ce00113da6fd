//! Keys that cannot be printed.

use std::fmt;

use reqwest::header::HeaderValue;

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
        assert_eq!(ApiKey::new(" \n").unwrap_err(), BadKey);
        assert!(!ApiKey::new("se cret").unwrap_err().to_string().contains("cret"));
    }
}
