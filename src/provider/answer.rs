//! Reads providers' bodies leniently: unknown keys, missing keys, `null`, and numbers written as strings are fine.

use std::time::Duration;

use serde_json::Value;

use crate::domain::{CostReport, Money};

/// A provider's message is shown, but not a whole page of it.
const LONGEST_MESSAGE: usize = 300;

/// Looks a path of keys up, skipping over `null`.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    (!found.is_null()).then_some(found)
}

/// Looks a text up that is not empty; a number is its text.
pub(super) fn text(value: &Value, path: &[&str]) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Looks an amount of dollars up.
pub(super) fn usd(value: &Value, path: &[&str]) -> Option<Money> {
    Money::parse_rounded(&text(value, path)?).ok().filter(|money| *money >= Money::ZERO)
}

/// Looks a number of credits up.
pub(super) fn credits(value: &Value, path: &[&str]) -> Option<CostReport> {
    let credits: f64 = text(value, path)?.parse().ok()?;
    // A credit is far less than a cent; a part of one is rounded up.
    (0.0..1e15)
        .contains(&credits)
        .then(|| format!("{:.0}", credits.ceil()).parse().ok())?
        .map(CostReport::Credits)
}

/// Looks a time in seconds up.
pub(super) fn seconds(value: &Value, path: &[&str]) -> Option<Duration> {
    let seconds: f64 = text(value, path)?.parse().ok()?;
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

/// Finds the link of a clip: a text, an object with `url` or `video`, or the first of a list.
pub(super) fn link(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.starts_with("http") => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(link),
        Value::Object(fields) => {
            ["url", "video", "video_url"].iter().find_map(|key| fields.get(*key).and_then(link))
        }
        _ => None,
    }
}

/// Finds what an error body says, in any of the forms the three APIs use.
pub(super) fn message(body: &Value) -> Option<String> {
    let said = match body {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let all: Vec<String> = items.iter().take(5).filter_map(message).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let main = ["message", "msg", "error_message", "detail", "error", "output"]
                .iter()
                .find_map(|key| fields.get(*key).and_then(message));
            let details = fields.get("details").and_then(message);
            match (main, details) {
                (Some(main), Some(details)) if main != details => Some(format!("{main}: {details}")),
                (main, details) => main.or(details),
            }
        }
        _ => None,
    }?;
    let clean: String =
        said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect();
    let clean = without_links(clean.trim());
    (!clean.is_empty()).then_some(clean)
}

/// Cuts the query off links in a message: it may be a signature.
fn without_links(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((link, _)) if link.contains("://") => link,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Tells whether `sent` is what a provider shows as `shown`: each field we sent is there and equal; fields it added are
/// its own defaults. Numbers and their texts are equal.
pub(super) fn same_input(sent: &Value, shown: &Value) -> bool {
    match (sent, shown) {
        (Value::Object(sent), Value::Object(shown)) => {
            sent.iter().all(|(key, value)| shown.get(key).is_some_and(|shown| same_input(value, shown)))
        }
        (Value::Array(sent), Value::Array(shown)) => {
            sent.len() == shown.len() && sent.iter().zip(shown).all(|(sent, shown)| same_input(sent, shown))
        }
        _ => sent == shown || number(sent).is_some_and(|sent| number(shown) == Some(sent)),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_found_in_every_documented_error_form() {
        for (body, said) in [
            (json!({"status": "error", "message": "Bad", "details": "image"}), Some("Bad: image")),
            (
                json!({"status": 402, "error": "payment required", "details": "balance"}),
                Some("payment required: balance"),
            ),
            (json!({"detail": "Request is still in progress"}), Some("Request is still in progress")),
            (
                json!({"detail": [{"loc": ["body"], "msg": "Failed to download the file", "type": "x"}]}),
                Some("Failed to download the file"),
            ),
            (json!({"error": {"name": "ForbiddenException", "message": "no credits"}}), Some("no credits")),
            (json!({"message": ["one", "two"]}), Some("one; two")),
            (json!({"output": {"error": "Execution failed", "error_message": "rejected"}}), Some("rejected")),
            (json!({}), None),
            (
                json!({"message": "see https://x.example/a?sig=secret now"}),
                Some("see https://x.example/a now"),
            ),
        ] {
            assert_eq!(message(&body).as_deref(), said, "{body}");
        }
    }

    #[test]
    fn inputs_are_compared_as_a_provider_shows_them() {
        let sent = json!({"prompt": "x", "duration": "5", "cfg_scale": 0.5});
        assert!(same_input(
            &sent,
            &json!({"prompt": "x", "duration": 5, "cfg_scale": 0.50, "negative_prompt": "blur"})
        ));
        assert!(!same_input(&sent, &json!({"prompt": "x", "duration": 10, "cfg_scale": 0.5})));
        assert!(!same_input(&sent, &json!({"prompt": "x"})));
    }

    #[test]
    fn links_are_found_in_texts_lists_and_objects() {
        for output in [
            json!("https://a/b.mp4"),
            json!(["https://a/b.mp4"]),
            json!({"url": "https://a/b.mp4"}),
            json!({"video": {"url": "https://a/b.mp4"}}),
        ] {
            assert_eq!(link(&output).as_deref(), Some("https://a/b.mp4"), "{output}");
        }
        assert_eq!(link(&json!({"error": "x"})), None);
    }
}
