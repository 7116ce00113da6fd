//! Links to clips in the responses of the APIs, with their defects.

use serde_json::{Value, json};

use crate::link::{LinkDefect, Links};
use crate::prediction::Prediction;

use super::state::SharedState;

/// Sets a field of a response to the link to a prediction's clip, or to what is returned in place of
/// it. `wrap` returns the API's form of a link.
pub(super) fn set_link(
    response: &mut Value,
    field: &str,
    shared: &SharedState,
    prediction: &Prediction,
    (links, now): (Links, i64),
    wrap: impl Fn(String) -> Value,
) {
    let link = match links.defect_after(now - prediction.ends_at) {
        None => wrap(shared.clip_url(prediction, links.life_s, now)),
        Some(LinkDefect::Absent) => {
            if let Some(fields) = response.as_object_mut() {
                fields.remove(field);
            }
            return;
        }
        Some(LinkDefect::Null) => Value::Null,
        Some(LinkDefect::Empty) => wrap(String::new()),
        Some(LinkDefect::NotAUrl) => wrap("pending".into()),
        Some(LinkDefect::OtherScheme) => wrap(format!("s3://clips/{}.mp4", prediction.id)),
        Some(LinkDefect::PrivateAddress) => wrap(format!("https://10.0.0.1/{}", prediction.id)),
        Some(LinkDefect::EmptyList) => json!([]),
        Some(LinkDefect::NoUrlField) => json!({ "message": "see the gallery" }),
    };
    response[field] = link;
}
