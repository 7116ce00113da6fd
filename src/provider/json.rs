//! Lenient readers of the JSON bodies that providers return: unknown keys, missing keys, `null`,
//! and numbers written as strings are all accepted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::printable::printable;
use crate::domain::{CostReport, Money};

use super::ApiKey;
use super::redaction::REDACTED;

/// Maximum length of a provider's error message, in characters: some return a whole page.
const MAX_MESSAGE_CHARS: usize = 300;

/// Maximum number of messages joined from a list of errors.
const MAX_LISTED_ERRORS: usize = 5;

/// Maximum number of credits that is believed, exclusive. A larger one is not a cost.
const MAX_CREDITS: f64 = 1e15;

/// Returns the value at a path of keys; `None` if it is missing or `null`.
pub(super) fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    (!found.is_null()).then_some(found)
}

/// Returns the string at a path unless it is blank; a number is formatted as one.
pub(super) fn get_text(value: &Value, path: &[&str]) -> Option<String> {
    match get(value, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the time at a path, in the format of RFC 3339.
pub(super) fn get_time(value: &Value, path: &[&str]) -> Option<Timestamp> {
    get_text(value, path)?.parse().ok()
}

/// Returns whether the value at a path is `true`, as a boolean or as a string.
pub(super) fn is_true(value: &Value, path: &[&str]) -> bool {
    match get(value, path) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// Returns the amount at a path, in US dollars; `None` if it is negative or not a number.
pub(super) fn get_usd(value: &Value, path: &[&str]) -> Option<Money> {
    Money::parse_rounded(&get_text(value, path)?)
        .ok()
        .filter(|money| *money >= Money::ZERO)
}

/// Returns the balance at a path, in US dollars; zero if it is negative, `None` if it is not a number.
pub(super) fn get_balance(value: &Value, path: &[&str]) -> Option<Money> {
    let text = get_text(value, path)?;
    let amount: f64 = text.parse().ok()?;
    if amount < 0.0 {
        return Some(Money::ZERO);
    }
    Money::parse_rounded(&text).ok()
}

/// Returns the number of credits at a path, rounded up: a credit is far less than a cent.
pub(super) fn get_credits(value: &Value, path: &[&str]) -> Option<CostReport> {
    let credits: f64 = get_text(value, path)?.parse().ok()?;
    (0.0..MAX_CREDITS)
        .contains(&credits)
        .then(|| format!("{:.0}", credits.ceil()).parse().ok())?
        .map(CostReport::Credits)
}

/// Returns the time at a path, in seconds; `None` if it is not positive.
pub(super) fn get_seconds(value: &Value, path: &[&str]) -> Option<Duration> {
    let seconds: f64 = get_text(value, path)?.parse().ok()?;
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).ok()
    } else {
        None
    }
}

/// Finds the error message in a body, in any of the forms that the three APIs use. The result is a
/// single line of at most [`MAX_MESSAGE_CHARS`] characters, without the key.
///
/// The key is redacted before the message is truncated: half a key would not be recognised.
pub(super) fn find_message(body: &Value, key: &ApiKey) -> Option<String> {
    let find_message = |body: &Value| find_message(body, key);
    let message = match body {
        Value::String(text) => Some(key.redact(text)),
        Value::Array(items) => {
            let messages: Vec<String> = items
                .iter()
                .take(MAX_LISTED_ERRORS)
                .filter_map(find_message)
                .collect();
            (!messages.is_empty()).then(|| messages.join("; "))
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
            .find_map(|key| fields.get(*key).and_then(find_message));
            let main = main.map(|main| match error_field(fields) {
                Some(field) => format!("{}: {main}", key.redact(field)),
                None => main,
            });
            let details = fields.get("details").and_then(find_message);
            match (main, details) {
                (Some(main), Some(details)) if main != details => {
                    Some(format!("{main}: {details}"))
                }
                (main, details) => main.or(details),
            }
        }
        _ => None,
    }?;
    let message = sanitize(&message);
    (!message.is_empty()).then_some(message)
}

/// Returns a provider's text in a form that can be displayed and logged: a single line of at most
/// [`MAX_MESSAGE_CHARS`] characters, without the queries of URLs.
pub(super) fn sanitize(text: &str) -> String {
    let truncated: String = printable(text).chars().take(MAX_MESSAGE_CHARS).collect();
    strip_url_queries(truncated.trim())
}

/// Returns the input field that a validation error is about: `"loc": ["body", "image_url"]`.
fn error_field(error: &serde_json::Map<String, Value>) -> Option<&str> {
    error
        .get("loc")?
        .as_array()?
        .last()?
        .as_str()
        .filter(|field| *field != "body")
}

/// Removes the queries of URLs, because a query may be a signature.
fn strip_url_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let scheme_end = word.find("://").unwrap_or(0);
        // A URL may also lack its scheme, or be escaped as in JSON: `https:\/\/`.
        let query = word[scheme_end..]
            .find('?')
            .filter(|query| scheme_end > 0 || word[*query..].contains('='));
        &word[..query.map_or(word.len(), |query| scheme_end + query)]
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether an input in a provider's history is the one that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputMatch {
    /// Every field that we sent is there and equal.
    Same,
    /// At least one field that we sent is missing or differs.
    Different,
    /// No field differs, but not all of the input can be compared.
    Inconclusive,
}

/// Compares the input that we sent with the one that a provider returns for a prediction.
///
/// Each field that we sent has to be there and equal; further fields are the provider's own
/// defaults. An input that is missing, empty or not an object is inconclusive.
pub(super) fn compare_inputs(sent: &Value, returned: Option<&Value>) -> InputMatch {
    match returned {
        Some(returned @ Value::Object(fields)) if !fields.is_empty() => {
            compare_values(sent, returned)
        }
        _ => InputMatch::Inconclusive,
    }
}

fn compare_values(sent: &Value, returned: &Value) -> InputMatch {
    match (sent, returned) {
        (Value::Object(sent), Value::Object(returned)) => combine_matches(
            sent.iter()
                .filter(|(_, sent)| !sent.is_null())
                .map(|(key, sent)| {
                    returned.get(key).map_or(InputMatch::Different, |returned| {
                        compare_values(sent, returned)
                    })
                }),
        ),
        (Value::Array(sent), Value::Array(returned)) if sent.len() == returned.len() => {
            combine_matches(
                sent.iter()
                    .zip(returned)
                    .map(|(sent, returned)| compare_values(sent, returned)),
            )
        }
        (Value::String(sent), Value::String(returned)) if sent.trim() == returned.trim() => {
            InputMatch::Same
        }
        // A file that was sent inside the request may be returned as the URL it was stored under. The
        // placeholder of a local image stands for such a file.
        (Value::String(sent), Value::String(_))
            if sent.starts_with("data:") || sent.starts_with("sha256:") =>
        {
            InputMatch::Inconclusive
        }
        // The redacted part cannot be compared.
        (Value::String(_), Value::String(returned)) if returned.contains(REDACTED) => {
            InputMatch::Inconclusive
        }
        _ if sent == returned
            || as_number(sent).is_some_and(|sent| as_number(returned) == Some(sent)) =>
        {
            InputMatch::Same
        }
        _ => InputMatch::Different,
    }
}

/// Combines the matches of all parts. One difference decides, whatever else is inconclusive.
fn combine_matches(parts: impl Iterator<Item = InputMatch>) -> InputMatch {
    parts.fold(InputMatch::Same, |whole, part| match (whole, part) {
        (InputMatch::Different, _) | (_, InputMatch::Different) => InputMatch::Different,
        (InputMatch::Inconclusive, _) | (_, InputMatch::Inconclusive) => InputMatch::Inconclusive,
        (InputMatch::Same, InputMatch::Same) => InputMatch::Same,
    })
}

fn as_number(value: &Value) -> Option<f64> {
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
        for (body, expected) in [
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
                json!({ "detail": [
                    { "loc": ["body"], "msg": "Failed to download the file", "type": "x" },
                ] }),
                Some("Failed to download the file"),
            ),
            (
                json!({ "detail": [
                    { "loc": ["body", "prompt"], "msg": "field required", "type": "missing" },
                ] }),
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
            assert_eq!(find_message(&body, &key()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_message_is_truncated_to_300_characters() {
        let message = find_message(&json!("ü".repeat(1000)), &key()).unwrap();
        assert_eq!(message.chars().count(), 300);
    }

    #[test]
    fn a_key_at_the_end_of_a_truncated_message_is_redacted_as_a_whole() {
        let body = json!(format!("{}secret-123", "x".repeat(295)));
        let message = find_message(&body, &key()).unwrap();
        assert_eq!(message, format!("{}[key]", "x".repeat(295)));
    }

    #[test]
    fn defaults_and_number_formats_of_a_provider_do_not_make_inputs_different() {
        let sent = json!({
            "prompt": "x",
            "duration": "5",
            "cfg_scale": 0.5,
            "image_url": "https://a/1.jpg",
        });
        let with = |key: &str, value: Value| {
            let mut returned = sent.clone();
            returned[key] = value;
            compare_inputs(&sent, Some(&returned))
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
    fn an_input_that_is_not_returned_is_inconclusive() {
        let sent = json!({"prompt": "x", "image_url": "data:image/png;base64,AAAA"});
        for returned in [
            None,
            Some(json!(null)),
            Some(json!({})),
            Some(json!("stored")),
        ] {
            assert_eq!(
                compare_inputs(&sent, returned.as_ref()),
                InputMatch::Inconclusive,
                "{returned:?}"
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
}
