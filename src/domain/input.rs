//! A job's input, in our words, and the fingerprint that tells a changed row from an unchanged one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

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
        self.get("duration").and_then(Value::as_u64).and_then(|seconds| u32::try_from(seconds).ok())
    }

    /// Computes a SHA-256 over the model and the input, in hexadecimal.
    ///
    /// Keys are sorted first, so that the order of a row's fields does not make it another row.
    pub fn fingerprint(&self, model: &str) -> String {
        let mut canonical = String::new();
        write_canonical(&Value::Object(self.0.clone()), &mut canonical);
        let mut hash = Sha256::new();
        hash.update(model.as_bytes());
        hash.update([0]);
        hash.update(canonical.as_bytes());
        hex::encode(hash.finalize())
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for key in keys {
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&fields[key], out);
                out.push(',');
            }
            out.push('}');
        }
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
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => out.push_str(&format!("{float:.0}")),
            _ => out.push_str(&number.to_string()),
        },
        scalar => out.push_str(&scalar.to_string()),
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
