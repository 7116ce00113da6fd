//! A job's input, in our words, and the fingerprint that tells a changed row from an unchanged one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::local_image::{self, LocalImage};

/// The fields a row gave, by our names. Fields left out are left out: the provider's own default applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Input(pub Map<String, Value>);

impl Input {
    /// Looks a field up.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Tells the clip's length in seconds, if the row says.
    pub fn duration(&self) -> Option<u32> {
        self.get("duration")
            .and_then(Value::as_u64)
            .and_then(|seconds| u32::try_from(seconds).ok())
    }

    /// Lists the images on disk it names, at any depth, each as often as it does.
    pub fn local_images(&self) -> Vec<LocalImage> {
        let mut found = Vec::new();
        self.0
            .values()
            .for_each(|value| local_image::find(value, &mut found));
        found
    }

    /// Computes the first half of a SHA-256 over the model and the input, in hexadecimal.
    ///
    /// Keys are sorted first, so that the order of a row's fields does not make it another row. An image on disk counts by
    /// its content: the same picture in another folder is the same row, another picture under the same name is not.
    pub fn fingerprint(&self, model: &str) -> String {
        // Room for most rows, so that it seldom has to grow.
        let mut canonical = String::with_capacity(512);
        write_object(&self.0, &mut canonical);
        let mut hash = Sha256::new();
        hash.update(model.as_bytes());
        hash.update([0]);
        hash.update(canonical.as_bytes());
        hex::encode(&hash.finalize()[..16])
    }
}

/// As JSON.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

fn write_object(fields: &Map<String, Value>, out: &mut String) {
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (key, value) in fields {
        write_text(key, out);
        out.push(':');
        write_canonical(value, out);
        out.push(',');
    }
    out.push('}');
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => write_object(fields, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        // 0.5 and 0.50 read as one number; 1 and 1.0 do not, so whole floats are written as integers.
        Value::Number(number) => match number.as_f64() {
            _ if number.is_i64() => out.push_str(&number.to_string()),
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
                out.push_str(&format!("{float:.0}"))
            }
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => match LocalImage::parse(text) {
            Some(image) => write_text(&image.placeholder(), out),
            None => write_text(text, out),
        },
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Writes text as JSON. Most text has nothing to escape, and is written as it is.
fn write_text(text: &str, out: &mut String) {
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
        // It stands in queues that are in use: another would have every row paid again.
        let row = input(
            r#"{"prompt":"a \"b\" \u0007 ü","image":"x","flag":true,"list":[1.0,{"b":null,"a":0.5}]}"#,
        );
        let known = "d3d8b0a86e7ad68a3a1f52db4ffa85b2";
        assert_eq!(row.fingerprint("m"), known);
    }

    #[test]
    fn an_image_on_disk_counts_by_its_content_wherever_it_is() {
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
    fn one_written_in_two_ways_is_one_number() {
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
