//! The link to a clip in the response for a finished prediction.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::domain::CostReport;
use crate::domain::public_address::check_link;

use super::json::sanitize;
use super::poll_result::PollResult;

/// Fields that are left out of a quoted response: they repeat what was sent, or say nothing about
/// the clip.
const UNQUOTED_FIELDS: [&str; 4] = ["input", "json_input", "urls", "logs"];

/// Returns what the response for a finished prediction says, with the URL that was found in it.
pub(super) fn done(
    output_url: Option<String>,
    response: &Value,
    cost: Option<CostReport>,
    processing: Option<Duration>,
) -> PollResult {
    match output_url {
        Some(output_url) => PollResult::Done {
            output_url,
            cost,
            processing,
        },
        None => PollResult::DoneWithoutLink {
            response: quotable(response),
            cost,
            processing,
        },
    }
}

/// Finds the URL of a clip in the places where a response may have it: a string, an object with
/// `url` or `video`, or the first usable one of a list. `None` if no place has a URL from which a
/// clip may be downloaded; with `allow_loopback`, one on this machine may be.
pub(super) fn find_clip_url<'a>(
    places: impl IntoIterator<Item = &'a Value>,
    allow_loopback: bool,
) -> Option<String> {
    let find = |place| find_in(place, allow_loopback);
    places.into_iter().find_map(find)
}

fn find_in(value: &Value, allow_loopback: bool) -> Option<String> {
    let find = |value| find_in(value, allow_loopback);
    match value {
        Value::String(text) => {
            let url = Url::parse(text).ok()?;
            check_link(&url, allow_loopback).ok().map(|()| text.clone())
        }
        Value::Array(items) => items.iter().find_map(find),
        Value::Object(fields) => ["url", "video", "video_url"]
            .iter()
            .find_map(|key| fields.get(*key).and_then(find)),
        _ => None,
    }
}

/// Returns a response as it may be quoted: without what it repeats of the request, and without the
/// queries of URLs.
fn quotable(body: &Value) -> Value {
    match body {
        Value::String(text) => sanitize(text).into(),
        Value::Array(items) => items.iter().map(quotable).collect(),
        Value::Object(fields) => {
            let quoted = fields
                .iter()
                .filter(|(name, _)| !UNQUOTED_FIELDS.contains(&name.as_str()));
            let quoted: Map<String, Value> = quoted
                .map(|(name, value)| (name.clone(), quotable(value)))
                .collect();
            quoted.into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_are_found_in_strings_lists_and_objects() {
        let url = "https://a.example/b.mp4";
        for output in [
            json!(url),
            json!([url]),
            json!([null, "", { "url": null }, { "url": url }]),
            json!({ "url": url }),
            json!({ "url": "", "video": { "url": url } }),
        ] {
            assert_eq!(
                find_clip_url([&output], false).as_deref(),
                Some(url),
                "{output}"
            );
        }
        assert_eq!(
            find_clip_url([&json!({}), &json!(url)], false).as_deref(),
            Some(url)
        );
    }

    #[test]
    fn what_no_clip_can_be_downloaded_from_is_no_link() {
        for output in [
            json!(null),
            json!(""),
            json!("pending"),
            json!("httpx://cdn.example/a.mp4"),
            json!("ftp://cdn.example/a.mp4"),
            json!("http://cdn.example/a.mp4"),
            json!("data:video/mp4;base64,AAAA"),
            json!("//cdn.example/a.mp4"),
            json!("/a.mp4"),
            json!("https://"),
            json!("https://10.0.0.8/a.mp4"),
            json!("https://localhost/a.mp4"),
            json!("http://127.0.0.1:80/a.mp4"),
            json!([]),
            json!([null]),
            json!({}),
            json!({ "url": null }),
            json!({ "error": "x" }),
            json!(17),
            json!(true),
        ] {
            assert_eq!(find_clip_url([&output], false), None, "{output}");
        }
        let local = json!("http://127.0.0.1:80/a.mp4");
        assert!(find_clip_url([&local], true).is_some());
    }

    #[test]
    fn a_quoted_response_has_neither_the_request_nor_a_signature() {
        let body = json!({
            "status": "success",
            "input": { "prompt": "a snowy road" },
            "output": [{ "url": "https://10.0.0.8/a.mp4?sig=1" }],
        });
        let quoted = json!({
            "status": "success",
            "output": [{ "url": "https://10.0.0.8/a.mp4" }],
        });
        assert_eq!(quotable(&body), quoted);
    }
}
