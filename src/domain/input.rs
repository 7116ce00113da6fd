//! The input of a job, and the fingerprint by which a changed manifest row is recognised.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::local_image::{self, LocalImage};

/// The fields that hold prompts.
pub(super) const PROMPT_FIELDS: [&str; 2] = ["prompt", "negative_prompt"];

/// The fields that a manifest row sets, under our names.
///
/// A field that the row does not set is absent, and the provider's own default applies. The
/// exception is the clip's length: if the model has a default for it, that is sent explicitly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Input(pub Map<String, Value>);

/// Recognises a changed row: half of a SHA-256.
pub type Fingerprint = [u8; 16];

impl Input {
    /// Returns the value of a field, or `None` if the row does not set it.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Returns the clip's length in seconds, or `None` if the row does not set it.
    pub fn duration(&self) -> Option<u32> {
        self.get("duration")
            .and_then(Value::as_u64)
            .and_then(|seconds| u32::try_from(seconds).ok())
    }

    /// Returns the fields that a poll needs: the prompts, which are kept out of its messages, and the
    /// clip's length, by which its processing time is measured.
    pub(crate) fn of_poll(&self) -> Self {
        let needed = PROMPT_FIELDS.into_iter().chain(["duration"]);
        let fields = needed.filter_map(|field| Some((field.to_owned(), self.get(field)?.clone())));
        Self(fields.collect())
    }

    /// Returns the local images that the input refers to, at any depth. One that is referred to
    /// twice is returned twice.
    pub fn local_images(&self) -> Vec<LocalImage> {
        let mut images = Vec::new();
        for value in self.0.values() {
            local_image::collect(value, &mut images);
        }
        images
    }

    /// Returns the first half of a SHA-256 over the model and the input.
    ///
    /// Two rows with the same fingerprint ask for the same clip. Keys are sorted first, so the
    /// order of a row's fields does not matter. A local image counts by its content: the same image
    /// in another folder gives the same fingerprint, another image under the same name does not.
    ///
    /// Fingerprints are stored in existing queues and must never change: a different one would make
    /// every row look changed, and be paid for again.
    pub fn fingerprint(&self, model: &str) -> Fingerprint {
        // Large enough for most rows, so that it seldom has to grow.
        let mut canonical = String::with_capacity(512);
        write_canonical_object(&self.0, &mut canonical);
        let mut hash = Sha256::new();
        hash.update(model.as_bytes());
        hash.update([0]);
        hash.update(canonical.as_bytes());
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(&hash.finalize()[..16]);
        fingerprint
    }
}

/// Formats the input as JSON.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

fn write_canonical_object(fields: &Map<String, Value>, out: &mut String) {
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (key, value) in fields {
        write_string(key, out);
        out.push(':');
        write_canonical(value, out);
        out.push(',');
    }
    out.push('}');
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => write_canonical_object(fields, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        // JSON parses 0.5 and 0.50 to the same number, but not 1 and 1.0, so whole floats are
        // written as integers.
        Value::Number(number) => match number.as_f64() {
            _ if number.is_i64() => out.push_str(&number.to_string()),
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
                out.push_str(&format!("{float:.0}"))
            }
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => match LocalImage::parse(text) {
            Some(image) => write_string(&image.placeholder(), out),
            None => write_string(text, out),
        },
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Writes a JSON string. Most text needs no escaping and takes the fast path.
fn write_string(text: &str, out: &mut String) {
    if text
        .bytes()
        .all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\'))
    {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str) -> Input {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_order_of_fields_does_not_change_the_fingerprint() {
        let a = input(r#"{"prompt":"x","image":"https://a/b.png"}"#);
        let b = input(r#"{"image":"https://a/b.png","prompt":"x"}"#);
        assert_eq!(a.fingerprint("m"), b.fingerprint("m"));
        assert_ne!(a.fingerprint("m"), a.fingerprint("n"));
    }

    #[test]
    fn a_fingerprint_never_changes() {
        // Existing queues store it: with another, every row would be paid for again.
        let row = input(
            r#"{
                "prompt": "a \"b\" \u0007 ü",
                "image": "x",
                "flag": true,
                "list": [1.0, {"b": null, "a": 0.5}]
            }"#,
        );
        let fingerprint = hex::encode(row.fingerprint("m"));
        assert_eq!(fingerprint, "d3d8b0a86e7ad68a3a1f52db4ffa85b2");
    }

    #[test]
    fn a_local_image_counts_by_its_content_and_not_by_its_folder() {
        let row = |folder: &str, digit: &str| {
            let image = format!("file:///{folder}/cup.jpg#sha256={}", digit.repeat(64));
            Input(
                [("image".to_owned(), Value::from(image))]
                    .into_iter()
                    .collect(),
            )
        };
        assert_eq!(
            row("a", "1").fingerprint("m"),
            row("b", "1").fingerprint("m")
        );
        assert_ne!(
            row("a", "1").fingerprint("m"),
            row("a", "2").fingerprint("m")
        );
        assert_eq!(row("a", "1").local_images().len(), 1);
    }

    #[test]
    fn equal_numbers_in_different_notations_have_the_same_fingerprint() {
        assert_eq!(
            input(r#"{"cfg_scale":1}"#).fingerprint("m"),
            input(r#"{"cfg_scale":1.0}"#).fingerprint("m")
        );
        assert_ne!(
            input(r#"{"cfg_scale":1}"#).fingerprint("m"),
            input(r#"{"cfg_scale":"1"}"#).fingerprint("m")
        );
    }
}
