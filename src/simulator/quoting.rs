//! Providers that quote what should be nobody's business in what they say: the caller's key, whole or in parts and in
//! every way it can be written, a signed link, and the prompt where they show the input.

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// The fields in which the three APIs say what is wrong.
const SAYINGS: [&str; 7] = [
    "message",
    "msg",
    "error_message",
    "detail",
    "details",
    "error",
    "error_type",
];

/// What the headers of a call tell of its key.
pub(super) fn of(headers: &HeaderMap) -> String {
    let sent = ["authorization", "x-api-key"]
        .iter()
        .find_map(|name| headers.get(*name));
    let sent = sent.map_or("", |value| HeaderValue::to_str(value).unwrap_or_default());
    let key = sent.rsplit(' ').next().unwrap_or_default();
    let encoded: String = byte_serialize(key.as_bytes()).collect();
    let (id, secret) = key.split_once(':').unwrap_or_default();
    format!("(https://media.example/in.png?sig=5ec4e7 from `{sent}`, {encoded}, {id} and {secret})")
}

/// Adds it to everything an answer says.
pub(super) async fn quote(answer: Response, quoted: &str) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Ok(mut json) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    let prompt = json
        .pointer("/input/prompt")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let quoted = format!("{prompt} {quoted}");
    add(&mut json, &quoted);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json.to_string()))
}

fn add(json: &mut Value, quoted: &str) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(|item| add(item, quoted)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if SAYINGS.contains(&name.as_str()) => {
                        *text = format!("{text} {quoted}")
                    }
                    field => add(field, quoted),
                }
            }
        }
        _ => {}
    }
}
