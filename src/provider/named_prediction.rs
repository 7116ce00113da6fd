//! Which prediction a response is about. A cache or a proxy in between may answer with the response
//! for another one, whose clip must not become this job's.

use serde_json::Value;

use crate::domain::prediction_id::is_prediction_id;
use crate::domain::{Failure, ProviderName};

use super::http::ApiResponse;
use super::json::{get, get_text};

/// Where a provider's responses name the prediction that they are about.
pub(super) struct IdPlaces {
    /// Paths in the body.
    pub(super) body: &'static [&'static [&'static str]],
    /// Paths of URLs in the body, with the segment that precedes the id in them.
    pub(super) urls: &'static [(&'static [&'static str], &'static str)],
    /// Headers. They count only if the body names no prediction: some servers put the id of the HTTP
    /// request into such a header.
    pub(super) headers: &'static [&'static str],
}

impl IdPlaces {
    /// Checks that a response names no other prediction than `id`. One that names none passes.
    ///
    /// # Errors
    /// Returns [`Failure::Transient`] if it does: the same request may get its own response next time.
    pub(super) fn check(
        &self,
        provider: ProviderName,
        response: &ApiResponse,
        id: &str,
    ) -> Result<(), Failure> {
        let mut in_body = response.json.iter().flat_map(|body| self.named_in(body));
        let named = match in_body.next() {
            Some(first) => std::iter::once(first)
                .chain(in_body)
                .find(|named| named != id),
            None => {
                let headers = self.headers.iter().filter_map(|name| {
                    let value = response.headers.get(*name)?;
                    Some(value.to_str().unwrap_or_default().trim().to_owned())
                });
                headers.into_iter().find(|named| named != id)
            }
        };
        let Some(named) = named else {
            return Ok(());
        };
        let named = if is_prediction_id(&named) {
            format!("of prediction {named}")
        } else {
            "of another prediction".to_owned()
        };
        Err(Failure::Transient {
            reason: format!("{provider} returned the response {named} for this one"),
            retry_after: response.retry_after,
        })
    }

    fn named_in<'a>(&'a self, body: &'a Value) -> impl Iterator<Item = String> + 'a {
        let ids = self.body.iter().filter_map(|path| get_text(body, path));
        let in_url = |(path, before): &(&[&str], &str)| {
            let url = get(body, path)?.as_str()?;
            let path = url.split(['?', '#']).next()?;
            let mut segments = path.split('/').skip_while(|segment| segment != before);
            segments.nth(1).map(str::to_owned)
        };
        ids.chain(self.urls.iter().filter_map(in_url))
    }
}

/// Returns whether a body has a prediction id at one of these keys, of whatever form.
pub(super) fn names_prediction(body: &Value, keys: &[&str]) -> bool {
    keys.iter().any(|key| get_text(body, &[key]).is_some())
}

/// Returns the prediction id at the first of these keys that holds one; `None` if none has the form of
/// an id. A number with a fraction or an exponent has not: no provider uses one.
pub(super) fn read_prediction_id(body: &Value, keys: &[&str]) -> Option<String> {
    let mut found = keys
        .iter()
        .filter_map(|key| Some((get(body, &[key])?, get_text(body, &[key])?)));
    let (value, id) = found.next()?;
    (!value.is_f64() && is_prediction_id(&id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::provider::ApiKey;

    const PLACES: IdPlaces = IdPlaces {
        body: &[&["id"], &["data", "id"]],
        urls: &[(&["urls", "get"], "prediction")],
        headers: &["x-inference-id"],
    };

    fn check(body: &Value, header: Option<&'static str>) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("x-inference-id", header.parse().unwrap());
        }
        let key = ApiKey::new("secret-123").unwrap();
        let body = body.to_string();
        let response = ApiResponse::from_parts(
            StatusCode::OK,
            headers,
            body.as_bytes(),
            &key,
            Timestamp::UNIX_EPOCH,
        );
        PLACES.check(ProviderName::Fal, &response, "p-1")
    }

    #[test]
    fn an_id_is_a_word_or_a_whole_number() {
        let read = |id: Value| read_prediction_id(&json!({ "id": id }), &["request_id", "id"]);
        assert_eq!(read(json!("p-1")).as_deref(), Some("p-1"));
        assert_eq!(read(json!(17)).as_deref(), Some("17"));
        for id in [json!(1e308), json!(1.5), json!(""), json!("a b"), json!([])] {
            assert_eq!(read(id.clone()), None, "{id}");
        }
    }

    #[test]
    fn a_response_that_names_another_prediction_in_any_place_is_not_taken() {
        let url =
            |id: &str| json!({ "urls": { "get": format!("https://a/v1/prediction/{id}?x=1") } });
        for (body, header) in [
            (json!({ "id": "p-2" }), None),
            (json!({ "id": "p-1", "data": { "id": "p-2" } }), None),
            (json!({ "data": { "id": 2 } }), Some("p-1")),
            (url("p-2"), None),
            (json!({ "status": "success" }), Some("p-2")),
            (json!({ "id": "p-1\u{1b}" }), None),
        ] {
            let error = check(&body, header).unwrap_err().to_string();
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
        for (body, header) in [
            (json!({ "status": "success" }), None),
            (json!({ "id": "p-1" }), Some("of-the-http-request")),
            (json!({ "id": null, "data": { "id": "p-1" } }), None),
            (url("p-1"), None),
            (json!([]), Some("p-1")),
        ] {
            assert_eq!(check(&body, header), Ok(()), "{body}");
        }
    }
}
