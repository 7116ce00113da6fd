//! The normal form of an input. Two inputs with the same normal form ask for the same clip, however a
//! spreadsheet program saved them.

use std::borrow::Cow;

use serde_json::Value;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use url::Url;

use super::{Field, Fingerprint, Input, Model, Shape};

impl Model {
    /// Returns the fingerprint of an input's normal form.
    pub fn fingerprint(&self, input: &Input) -> Fingerprint {
        canonical_input(&self.fields, input).fingerprint(&self.name)
    }
}

/// Returns the normal form of an input that has the given fields: text composed (Unicode NFC), with
/// `\n` between lines and without blanks around it, links as [`canonical_link`] writes them, and no
/// field that is set to its default. A field that is not among the given ones stays as it is.
pub(super) fn canonical_input<'a>(fields: &[Field], input: &'a Input) -> Cow<'a, Input> {
    let mut canonical = Cow::Borrowed(input);
    for field in fields {
        let Some(value) = input.get(&field.name) else {
            continue;
        };
        let value = canonical_value(&field.shape, value);
        let default = field.default.as_ref();
        if default.is_some_and(|default| is_same(&canonical_value(&field.shape, default), &value)) {
            canonical.to_mut().0.remove(&field.name);
        } else if let Cow::Owned(value) = value {
            canonical.to_mut().0.insert(field.name.clone(), value);
        }
    }
    canonical
}

/// Returns whether two values in normal form are the same; `5` and `5.0` are.
fn is_same(value: &Value, other: &Value) -> bool {
    value == other || (value.is_number() && value.as_f64() == other.as_f64())
}

fn canonical_value<'a>(shape: &Shape, value: &'a Value) -> Cow<'a, Value> {
    let owned = match (shape, value) {
        (Shape::Text { .. }, Value::String(text)) => changed(canonical_text(text)),
        (Shape::Image, Value::String(link)) => changed(canonical_link(link)),
        (Shape::List { item, .. }, Value::Array(items)) => {
            let items = items.iter().map(|value| canonical_value(item, value));
            let items: Vec<Cow<'_, Value>> = items.collect();
            let is_changed = items.iter().any(|value| matches!(value, Cow::Owned(_)));
            let items = || items.into_iter().map(Cow::into_owned).collect();
            is_changed.then(|| Value::Array(items()))
        }
        (Shape::Object { fields }, Value::Object(values)) => {
            let values = Input(values.clone());
            match canonical_input(fields, &values) {
                Cow::Owned(values) => Some(Value::Object(values.0)),
                Cow::Borrowed(_) => None,
            }
        }
        _ => None,
    };
    owned.map_or(Cow::Borrowed(value), Cow::Owned)
}

fn changed(text: Cow<'_, str>) -> Option<Value> {
    match text {
        Cow::Owned(text) => Some(Value::String(text)),
        Cow::Borrowed(_) => None,
    }
}

fn canonical_text(text: &str) -> Cow<'_, str> {
    let is_composed = text.is_ascii() || is_nfc(text);
    let is_canonical = is_composed && text.trim().len() == text.len() && !text.contains('\r');
    if is_canonical {
        return Cow::Borrowed(text);
    }
    let lines = text.trim().replace("\r\n", "\n").replace('\r', "\n");
    Cow::Owned(lines.nfc().collect())
}

/// Returns a link with its scheme and host in lower case, without the scheme's default port, and with
/// the same characters percent-encoded as in any other spelling of it (RFC 3986, section 6.2). Text
/// that is no HTTP link only loses the blanks around it.
fn canonical_link(link: &str) -> Cow<'_, str> {
    if is_plain_link(link) {
        return Cow::Borrowed(link);
    }
    let text = canonical_text(link);
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    if !matches!(url.scheme(), "http" | "https") {
        return text;
    }
    if url.as_str().contains('%') {
        let path = canonical_escapes(url.path());
        let query = url.query().map(canonical_escapes);
        url.set_path(&path);
        url.set_query(query.as_deref());
    }
    if url.as_str() == link {
        return Cow::Borrowed(link);
    }
    Cow::Owned(url.into())
}

/// Returns whether a link is certainly in normal form. Parsing every link of a large manifest would take
/// longer than the rest of its checks.
fn is_plain_link(link: &str) -> bool {
    let after_scheme = link.strip_prefix("https://");
    let Some((host, path)) = after_scheme.and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_host = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/?=&:,+".contains(&byte);
    let Some((_, top_level)) = host.rsplit_once('.') else {
        return false;
    };
    // A host whose last part has a digit may be an address, which has several spellings.
    !top_level.is_empty()
        && top_level.bytes().all(|byte| byte.is_ascii_lowercase())
        && host.bytes().all(is_host)
        && !host.contains("xn--")
        && path.bytes().all(is_path)
        && !path.starts_with('.')
        && !path.contains("/.")
}

/// Decodes the escapes of characters that mean the same without, and writes the others in capitals.
/// Those are the unreserved characters of RFC 2396, which has more of them than RFC 3986: programs
/// differ in whether they encode parentheses.
fn canonical_escapes(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        canonical.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = rest.get(1..3);
        let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            canonical.push('%');
            rest = &rest[1..];
            continue;
        };
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
        if is_unreserved {
            canonical.push(byte.into());
        } else {
            canonical.push_str(&rest[..3].to_ascii_uppercase());
        }
        rest = &rest[3..];
    }
    canonical.push_str(rest);
    canonical
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::catalog;

    fn fingerprint(input: Value) -> Fingerprint {
        let catalog = catalog::load(&[]).unwrap();
        let model = catalog.model("kling-v1-standard").unwrap();
        model.fingerprint(&Input(input.as_object().unwrap().clone()))
    }

    fn row(image: &str, prompt: &str) -> Value {
        json!({ "image": image, "prompt": prompt })
    }

    #[test]
    fn what_another_program_saves_differently_asks_for_the_same_clip() {
        let saved = fingerprint(row(
            "https://shop.example/f/a%20b(1).jpg?w=1",
            "Caf\u{e9}\nturn",
        ));
        for (image, prompt) in [
            (
                "https://shop.example/f/a%20b(1).jpg?w=1",
                "Caf\u{e9}\r\nturn",
            ),
            (
                "https://shop.example/f/a%20b(1).jpg?w=1",
                "Cafe\u{301}\nturn",
            ),
            (
                "https://shop.example/f/a%20b(1).jpg?w=1",
                "  Caf\u{e9}\rturn\t\n",
            ),
            ("https://shop.example/f/a b(1).jpg?w=1 ", "Caf\u{e9}\nturn"),
            (
                "HTTPS://Shop.Example:443/f/a%20b%281%29.jpg?w=1",
                "Caf\u{e9}\nturn",
            ),
            (
                "https://shop.example/x/../f/%61%20b(1).jpg?%77=1",
                "Caf\u{e9}\nturn",
            ),
        ] {
            assert_eq!(fingerprint(row(image, prompt)), saved, "{image} {prompt:?}");
        }
    }

    proptest! {
        #[test]
        fn a_link_that_is_not_parsed_would_not_change(
            link in "https://[a-z0-9.-]{0,8}[.a-z0-9]/[a-zA-Z0-9%_.~/?=&:,+'()#-]{0,12}",
        ) {
            if is_plain_link(&link)
                && let Ok(url) = Url::parse(&link)
            {
                prop_assert_eq!(url.as_str(), link);
            }
        }
    }

    #[test]
    fn a_default_that_is_written_out_asks_for_the_same_clip() {
        let short = json!({ "image": "https://a/1.jpg", "prompt": "Turn" });
        let mut long = short.clone();
        for (field, value) in [
            ("duration", json!(5)),
            ("cfg_scale", json!(0.5)),
            ("aspect_ratio", json!("16:9")),
            ("negative_prompt", json!("blur, distort, and low quality ")),
        ] {
            long[field] = value;
        }
        assert_eq!(fingerprint(long), fingerprint(short.clone()));
        let mut other = short.clone();
        other["duration"] = json!(10);
        assert_ne!(fingerprint(other), fingerprint(short));
    }

    #[test]
    fn links_in_lists_have_a_normal_form_too() {
        let masks = |link: &str| {
            let points = json!([{ "x": 1, "y": 2 }, { "x": 3, "y": 4 }]);
            json!({ "dynamic_masks": [{ "mask": link, "trajectories": points }] })
        };
        assert_eq!(
            fingerprint(masks("https://a:443/m%C3%bc.png")),
            fingerprint(masks("https://A/m\u{fc}.png"))
        );
    }

    #[test]
    fn what_may_be_another_image_or_prompt_stays_different() {
        let links = [
            "https://a.example/1.jpg",
            "http://a.example/1.jpg",
            "https://a.example:8443/1.jpg",
            "https://a.example/1.JPG",
            "https://a.example/1.jpg?v=2",
            "https://a.example/1.jpg?v=%2B2",
            "https://a.example/1%2f.jpg",
            "https://a.example/1/.jpg",
            "https://a.example/100%.jpg",
            "photos/1.jpg",
        ];
        let mut seen: Vec<Fingerprint> = links.map(|link| fingerprint(row(link, "Turn"))).to_vec();
        seen.extend(["Turn ", "Turn  left", "Turn left", "turn"].map(|prompt| {
            let link = "https://b.example/1.jpg";
            fingerprint(row(link, prompt))
        }));
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn a_row_in_normal_form_keeps_the_fingerprint_of_earlier_queues() {
        let input = row("https://shop.example/f/a.jpg?v=17", "Slow turn\nleft");
        let input = Input(input.as_object().unwrap().clone());
        let catalog = catalog::load(&[]).unwrap();
        let model = catalog.model("kling-v1-standard").unwrap();
        assert_eq!(model.fingerprint(&input), input.fingerprint(&model.name));
    }
}
