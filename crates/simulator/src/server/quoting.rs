//! Misbehaving providers that quote secrets in their messages: the caller's key, whole, in parts
//! and URL-encoded, a signed link, and the prompt if the response contains the input.
//!
//! Tests use this to prove that no secret reaches our logs and files.

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// The response fields in which the three APIs put messages.
const MESSAGE_FIELDS: [&str; 7] = [
    "message",
    "msg",
    "error_message",
    "detail",
    "details",
    "error",
    "error_type",
];

/// Returns a text with a signed link and the key from a call's headers, in every form in which it
/// could be quoted.
pub(super) fn secrets_of(headers: &HeaderMap) -> String {
    let header = ["authorization", "x-api-key"]
        .iter()
        .find_map(|name| headers.get(*name));
    let header = header.map_or("", |value| HeaderValue::to_str(value).unwrap_or_default());
    let key = header.rsplit(' ').next().unwrap_or_default();
    let encoded: String = byte_serialize(key.as_bytes()).collect();
    let (id, secret) = key.split_once(':').unwrap_or_default();
    format!(
        "(https://media.example/in.png?sig=5ec4e7 from `{header}`, {encoded}, {id} and {secret})"
    )
}

/// Appends the secrets to every message in a JSON response. A body that is not JSON is left as it
/// is.
pub(super) async fn quote(response: Response, secrets: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Ok(mut json) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    let prompt = json
        .pointer("/input/prompt")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let secrets = format!("{prompt} {secrets}");
    append_to_messages(&mut json, &secrets);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json.to_string()))
}

fn append_to_messages(json: &mut Value, secrets: &str) {
    match json {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| append_to_messages(item, secrets)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if MESSAGE_FIELDS.contains(&name.as_str()) => {
                        *text = format!("{text} {secrets}")
                    }
                    field => append_to_messages(field, secrets),
                }
            }
        }
        _ => {}
    }
}
