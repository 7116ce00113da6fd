//! Reads providers' bodies leniently: unknown keys, missing keys, `null`, and numbers written as strings are fine.

use std::time::Duration;

use serde_json::Value;

use crate::domain::{CostReport, Money};

use super::ApiKey;
use super::key::REDACTED;

/// A provider's message is shown, but not a whole page of it.
const MAX_MESSAGE_CHARS: usize = 300;

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

/// Tells whether a field says yes.
pub(super) fn is_true(value: &Value, path: &[&str]) -> bool {
    match at(value, path) {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// Looks an amount of dollars up.
pub(super) fn usd(value: &Value, path: &[&str]) -> Option<Money> {
    Money::parse_rounded(&text(value, path)?)
        .ok()
        .filter(|money| *money >= Money::ZERO)
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
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).ok()
    } else {
        None
    }
}

/// Finds the link of a clip: a text, an object with `url` or `video`, or the first of a list.
pub(super) fn link(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.starts_with("http") => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(link),
        Value::Object(fields) => ["url", "video", "video_url"]
            .iter()
            .find_map(|key| fields.get(*key).and_then(link)),
        _ => None,
    }
}

/// Finds what an error body says, in any of the forms the three APIs use.
/// The key is blotted out before anything is cut: half a key would not be known for one.
pub(super) fn message(body: &Value, key: &ApiKey) -> Option<String> {
    let message = |body: &Value| message(body, key);
    let error_message = match body {
        Value::String(text) => Some(key.redact(text)),
        Value::Array(items) => {
            let all: Vec<String> = items.iter().take(5).filter_map(message).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let main = [
                "message",
                "msg",
                "error_message",
                "detail",
                "error",
                "output",
            ]
            .iter()
            .find_map(|key| fields.get(*key).and_then(message));
            let main = main.map(|main| match field_of(fields) {
                Some(field) => format!("{}: {main}", key.redact(field)),
                None => main,
            });
            let details = fields.get("details").and_then(message);
            match (main, details) {
                (Some(main), Some(details)) if main != details => {
                    Some(format!("{main}: {details}"))
                }
                (main, details) => main.or(details),
            }
        }
        _ => None,
    }?;
    let clean: String = error_message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARS)
        .collect();
    let clean = without_links(clean.trim());
    (!clean.is_empty()).then_some(clean)
}

/// The input field that a validation error is about: `"loc": ["body", "image_url"]`.
fn field_of(error: &serde_json::Map<String, Value>) -> Option<&str> {
    error
        .get("loc")?
        .as_array()?
        .last()?
        .as_str()
        .filter(|field| *field != "body")
}

/// Cuts the query off links in a message: it may be a signature.
fn without_links(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let link = word.find("://").unwrap_or(0);
        // A link may stand there without its scheme, or as JSON writes it: `https:\/\/`.
        let query = word[link..]
            .find('?')
            .filter(|query| link > 0 || word[*query..].contains('='));
        &word[..query.map_or(word.len(), |query| link + query)]
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether two inputs are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputMatch {
    /// They are.
    Same,
    /// They are not.
    Different,
    /// What is shown does not tell.
    Inconclusive,
}

/// Compares what we sent with what a provider shows of it: each field we sent has to be there and equal; fields it
/// added are its own defaults. An input that is not shown at all, or empty, tells nothing.
pub(super) fn compare_inputs(sent: &Value, shown: Option<&Value>) -> InputMatch {
    match shown {
        Some(Value::Object(fields)) if !fields.is_empty() => {
            compare(sent, shown.unwrap_or(&Value::Null))
        }
        _ => InputMatch::Inconclusive,
    }
}

fn compare(sent: &Value, shown: &Value) -> InputMatch {
    match (sent, shown) {
        (Value::Object(sent), Value::Object(shown)) => all(sent
            .iter()
            .filter(|(_, sent)| !sent.is_null())
            .map(|(key, sent)| {
                shown
                    .get(key)
                    .map_or(InputMatch::Different, |shown| compare(sent, shown))
            })),
        (Value::Array(sent), Value::Array(shown)) if sent.len() == shown.len() => all(sent
            .iter()
            .zip(shown)
            .map(|(sent, shown)| compare(sent, shown))),
        (Value::String(sent), Value::String(shown)) if sent.trim() == shown.trim() => {
            InputMatch::Same
        }
        // A file sent inside the request may be shown as the link it was stored under.
        (Value::String(sent), Value::String(_)) if sent.starts_with("data:") => {
            InputMatch::Inconclusive
        }
        // What we cannot see is not proven to be different.
        (Value::String(_), Value::String(shown)) if shown.contains(REDACTED) => {
            InputMatch::Inconclusive
        }
        _ if sent == shown || number(sent).is_some_and(|sent| number(shown) == Some(sent)) => {
            InputMatch::Same
        }
        _ => InputMatch::Different,
    }
}

/// One difference settles it, whatever else is unclear.
fn all(parts: impl Iterator<Item = InputMatch>) -> InputMatch {
    parts.fold(InputMatch::Same, |whole, part| match (whole, part) {
        (InputMatch::Different, _) | (_, InputMatch::Different) => InputMatch::Different,
        (InputMatch::Inconclusive, _) | (_, InputMatch::Inconclusive) => InputMatch::Inconclusive,
        (InputMatch::Same, InputMatch::Same) => InputMatch::Same,
    })
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> ApiKey {
        ApiKey::new("secret-123").unwrap()
    }

    #[test]
    fn messages_are_found_in_every_documented_error_form() {
        for (body, error_message) in [
            (
                json!({"status": "error", "message": "Bad", "details": "image"}),
                Some("Bad: image"),
            ),
            (
                json!({"status": 402, "error": "payment required", "details": "balance"}),
                Some("payment required: balance"),
            ),
            (
                json!({"detail": "Request is still in progress"}),
                Some("Request is still in progress"),
            ),
            (
                json!({"detail": [{"loc": ["body"], "msg": "Failed to download the file", "type": "x"}]}),
                Some("Failed to download the file"),
            ),
            (
                json!({"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}]}),
                Some("prompt: field required"),
            ),
            (
                json!({"error": {"name": "ForbiddenException", "message": "no credits"}}),
                Some("no credits"),
            ),
            (json!({"message": ["one", "two"]}), Some("one; two")),
            (
                json!({"output": {"error": "Execution failed", "error_message": "rejected"}}),
                Some("rejected"),
            ),
            (json!({}), None),
            (
                json!({"message": "see https://x.example/a?sig=secret now"}),
                Some("see https://x.example/a now"),
            ),
            (
                json!({"message": "why?https://x.example/a?sig=secret"}),
                Some("why?https://x.example/a"),
            ),
            (
                json!({"message": "at x.example/a?sig=secret now"}),
                Some("at x.example/a now"),
            ),
            (
                json!({"message": "at https:\\/\\/x.example\\/a?sig=1"}),
                Some("at https:\\/\\/x.example\\/a"),
            ),
            (json!({"message": "why? what?!"}), Some("why? what?!")),
            (json!({"message": "two\nlines"}), Some("two lines")),
        ] {
            assert_eq!(message(&body, &key()).as_deref(), error_message, "{body}");
        }
    }

    #[test]
    fn a_message_is_cut_at_300_characters() {
        assert_eq!(
            message(&json!("ü".repeat(1000)), &key())
                .unwrap()
                .chars()
                .count(),
            300
        );
    }

    #[test]
    fn a_key_on_the_cut_of_a_message_is_blotted_out_whole() {
        let error_message =
            message(&json!(format!("{}secret-123", "x".repeat(295))), &key()).unwrap();
        assert_eq!(error_message, format!("{}[key]", "x".repeat(295)));
    }

    #[test]
    fn inputs_are_compared_as_a_provider_shows_them() {
        let sent = json!({"prompt": "x", "duration": "5", "cfg_scale": 0.5, "image_url": "https://a/1.jpg"});
        let with = |key: &str, value: Value| {
            let mut shown = sent.clone();
            shown[key] = value;
            compare_inputs(&sent, Some(&shown))
        };
        assert_eq!(with("duration", json!(5)), InputMatch::Same);
        assert_eq!(with("duration", json!(5.0)), InputMatch::Same);
        assert_eq!(
            with("negative_prompt", json!("its own default")),
            InputMatch::Same
        );
        assert_eq!(with("prompt", json!("x ")), InputMatch::Same);
        assert_eq!(with("duration", json!(10)), InputMatch::Different);
        assert_eq!(
            with("image_url", json!("https://a/2.jpg")),
            InputMatch::Different
        );
        assert_eq!(with("prompt", Value::Null), InputMatch::Different);
        assert_eq!(
            compare_inputs(&sent, Some(&json!({"prompt": "x"}))),
            InputMatch::Different
        );
    }

    #[test]
    fn an_input_that_is_not_shown_is_not_taken_for_another() {
        let sent = json!({"prompt": "x", "image_url": "data:image/png;base64,AAAA"});
        for shown in [
            None,
            Some(json!(null)),
            Some(json!({})),
            Some(json!("stored")),
        ] {
            assert_eq!(
                compare_inputs(&sent, shown.as_ref()),
                InputMatch::Inconclusive,
                "{shown:?}"
            );
        }
        let stored =
            |prompt| json!({"prompt": prompt, "image_url": "https://cdn.example/stored.png"});
        assert_eq!(
            compare_inputs(&sent, Some(&stored("x"))),
            InputMatch::Inconclusive
        );
        assert_eq!(
            compare_inputs(&sent, Some(&stored("y"))),
            InputMatch::Different
        );
        assert_eq!(compare_inputs(&sent, Some(&sent)), InputMatch::Same);
    }

    #[test]
    fn links_are_found_in_texts_lists_and_objects() {
        for output in [
            json!("https://a/b.mp4"),
            json!(["https://a/b.mp4"]),
            json!({"url": "https://a/b.mp4"}),
            json!({"video": {"url": "https://a/b.mp4"}}),
        ] {
            assert_eq!(
                link(&output).as_deref(),
                Some("https://a/b.mp4"),
                "{output}"
            );
        }
        assert_eq!(link(&json!({"error": "x"})), None);
    }
}
