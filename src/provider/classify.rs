//! Classifies unsuccessful responses: by the HTTP status first, by the body second.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::{Failure, ProviderName};

use super::http::ApiResponse;
use super::json::get_text;

/// Longest delay before a call that costs nothing is repeated, whatever the provider asks for: a paid
/// clip must not wait for a day.
const MAX_POLL_DELAY: Duration = Duration::from_secs(3600);

/// Classifies an unsuccessful response to a submission.
///
/// `is_own_error` states that the body has the provider's own error form. A 500 or 503 with such a
/// body is taken as the provider's statement that it accepted nothing; with any other body, as a
/// gateway writes, it proves nothing.
pub(super) fn classify_submit(
    provider: ProviderName,
    response: &ApiResponse,
    is_own_error: bool,
) -> Failure {
    let reason = describe(provider, response);
    let retry_after = response.retry_after;
    match response.status.as_u16() {
        429 => Failure::RateLimited {
            reason,
            retry_after,
        },
        401..=403 => access_denied(provider, response),
        // Both mean that the connection was abandoned, not that the request was refused.
        408 | 499 => Failure::Unknown { reason },
        400..=499 => Failure::Rejected { reason },
        500 | 503 if is_own_error => Failure::Transient {
            reason,
            retry_after,
        },
        _ => Failure::Unknown { reason },
    }
}

/// Classifies an unsuccessful response to a poll, or to any other request that may be repeated.
pub(super) fn classify_poll(provider: ProviderName, response: &ApiResponse) -> Failure {
    let reason = describe(provider, response);
    let retry_after = response.retry_after.map(|delay| delay.min(MAX_POLL_DELAY));
    match response.status.as_u16() {
        429 => Failure::RateLimited {
            reason,
            retry_after,
        },
        401..=403 => access_denied(provider, response),
        404 | 408 | 499 => Failure::Transient {
            reason,
            retry_after,
        },
        400..=499 => Failure::Rejected { reason },
        _ => Failure::Transient {
            reason,
            retry_after,
        },
    }
}

/// Returns the body of a response to a poll, and its `status`.
///
/// # Errors
/// Fails as [`classify_unreadable`] says if the response is an error, or has no `status`.
pub(super) fn read_status<'a>(
    provider: ProviderName,
    response: &'a ApiResponse,
    expected: &str,
) -> Result<(&'a Value, String), Failure> {
    response
        .success()
        .and_then(|body| Some((body, get_text(body, &["status"])?)))
        .ok_or_else(|| classify_unreadable(provider, response, expected))
}

/// Classifies a response to a poll that cannot be read as what was `expected`: by its status if
/// that is an error, and otherwise as transient.
pub(super) fn classify_unreadable(
    provider: ProviderName,
    response: &ApiResponse,
    expected: &str,
) -> Failure {
    if response.status.is_success() {
        let reason = format!("{provider} returned a body that is not {expected}");
        return Failure::Transient {
            reason,
            retry_after: response.retry_after,
        };
    }
    classify_poll(provider, response)
}

fn access_denied(provider: ProviderName, response: &ApiResponse) -> Failure {
    Failure::AccessDenied {
        reason: denied_reason(provider, response),
    }
}

/// Formats a response that denies access as a reason, with what the user can do about it.
pub(super) fn denied_reason(provider: ProviderName, response: &ApiResponse) -> String {
    let reason = describe(provider, response);
    let remedy = remedy(provider, response.status);
    format!("{reason}; {remedy}, then run again")
}

/// Returns what the user can do if access is denied for the key or the account.
pub(super) fn remedy(provider: ProviderName, status: StatusCode) -> String {
    let variable = provider.key_variable();
    match status {
        StatusCode::UNAUTHORIZED => format!("check the key in {variable}"),
        StatusCode::PAYMENT_REQUIRED => format!("top up the balance at {provider}"),
        _ => format!(
            "top up the balance at {provider}, or check the permissions of the key in {variable}"
        ),
    }
}

/// Formats a response as a reason: `eachlabs returned 429: too many requests`.
pub(super) fn describe(provider: ProviderName, response: &ApiResponse) -> String {
    let status = response.status.as_u16();
    let message = match &response.error_message {
        _ if response.status.is_redirection() => "a redirect, which is not followed".into(),
        Some(message) => message.clone(),
        None => response
            .status
            .canonical_reason()
            .unwrap_or("no reason given")
            .to_lowercase(),
    };
    format!("{provider} returned {status}: {message}")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn response(status: u16) -> ApiResponse {
        ApiResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            json: None,
            error_message: None,
            retry_after: None,
            clock_ahead: None,
        }
    }

    fn variant(failure: &Failure) -> &'static str {
        match failure {
            Failure::Transient { .. } => "transient",
            Failure::RateLimited { .. } => "rate limited",
            Failure::AccessDenied { .. } => "access denied",
            Failure::Locked { .. } => "locked",
            Failure::BalanceInUse { .. } => "balance in use",
            Failure::Rejected { .. } => "rejected",
            Failure::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn a_server_error_on_submit_is_transient_only_with_the_providers_own_body() {
        let classify = |status, is_own_error| {
            let failure = classify_submit(ProviderName::Fal, &response(status), is_own_error);
            variant(&failure)
        };
        for (status, own, foreign) in [
            (302, "unknown", "unknown"),
            (400, "rejected", "rejected"),
            (401, "access denied", "access denied"),
            (402, "access denied", "access denied"),
            (403, "access denied", "access denied"),
            (404, "rejected", "rejected"),
            (408, "unknown", "unknown"),
            (409, "rejected", "rejected"),
            (413, "rejected", "rejected"),
            (415, "rejected", "rejected"),
            (422, "rejected", "rejected"),
            (429, "rate limited", "rate limited"),
            (499, "unknown", "unknown"),
            (500, "transient", "unknown"),
            (502, "unknown", "unknown"),
            (503, "transient", "unknown"),
            (504, "unknown", "unknown"),
            (520, "unknown", "unknown"),
            (524, "unknown", "unknown"),
        ] {
            assert_eq!(classify(status, true), own, "{status}");
            assert_eq!(classify(status, false), foreign, "{status}");
        }
    }

    #[test]
    fn a_poll_is_rejected_only_for_an_error_that_persists() {
        for (status, expected) in [
            (302, "transient"),
            (401, "access denied"),
            (402, "access denied"),
            (403, "access denied"),
            (404, "transient"),
            (422, "rejected"),
            (429, "rate limited"),
            (500, "transient"),
            (501, "transient"),
            (524, "transient"),
        ] {
            let failure = classify_poll(ProviderName::Aimlapi, &response(status));
            assert_eq!(variant(&failure), expected, "{status}");
        }
    }

    #[test]
    fn reasons_name_the_provider_and_the_remedy() {
        assert_eq!(
            describe(ProviderName::Fal, &response(302)),
            "fal returned 302: a redirect, which is not followed"
        );
        let reason =
            |status| classify_submit(ProviderName::Fal, &response(status), true).to_string();
        assert_eq!(
            reason(401),
            "fal returned 401: unauthorized; check the key in FAL_KEY, then run again"
        );
        assert_eq!(
            reason(402),
            "fal returned 402: payment required; top up the balance at fal, then run again"
        );
    }
}
