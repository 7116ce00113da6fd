//! What an unsuccessful answer means. Decided by the HTTP status first, by the body second.

use reqwest::StatusCode;

use crate::domain::{Failure, ProviderName};

use super::http::ApiResponse;

/// Tells what an unsuccessful answer to a create means. `is_own` says that the body has the provider's own error form:
/// then its 500 and 503 are its word that it did not take the job; anybody's else say nothing about it.
pub(super) fn classify_submit(
    provider: ProviderName,
    reply: &ApiResponse,
    is_own: bool,
) -> Failure {
    let reason = describe(provider, reply);
    let retry_after = reply.retry_after;
    match reply.status.as_u16() {
        429 => Failure::RateLimited {
            reason,
            retry_after,
        },
        401..=403 => closed(provider, reply),
        // Both say that the connection was given up on, not that the request was refused.
        408 | 499 => Failure::Unknown { reason },
        400..=499 => Failure::Rejected { reason },
        500 | 503 if is_own => Failure::Transient {
            reason,
            retry_after,
        },
        _ => Failure::Unknown { reason },
    }
}

/// Tells what an unsuccessful answer to a look means.
pub(super) fn classify_poll(provider: ProviderName, reply: &ApiResponse) -> Failure {
    let reason = describe(provider, reply);
    let retry_after = reply.retry_after;
    match reply.status.as_u16() {
        429 => Failure::RateLimited {
            reason,
            retry_after,
        },
        401..=403 => closed(provider, reply),
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

/// Tells what an answer to a look means that is not `what` was asked for: its status says, or the body cannot be read.
pub(super) fn unreadable(provider: ProviderName, reply: &ApiResponse, what: &str) -> Failure {
    if reply.status.is_success() {
        let reason = format!("{provider} answered with a body that is not {what}");
        return Failure::Transient {
            reason,
            retry_after: reply.retry_after,
        };
    }
    classify_poll(provider, reply)
}

fn closed(provider: ProviderName, reply: &ApiResponse) -> Failure {
    let (reason, remedy) = (describe(provider, reply), remedy(provider, reply.status));
    Failure::AccessDenied {
        reason: format!("{reason}; {remedy}, then run again"),
    }
}

/// Says what to do about a refused key or account.
pub(super) fn remedy(provider: ProviderName, status: StatusCode) -> String {
    let variable = provider.key_variable();
    match status {
        StatusCode::UNAUTHORIZED => format!("check the key in {variable}"),
        StatusCode::PAYMENT_REQUIRED => format!("top up the balance at {provider}"),
        _ => {
            format!("top up the balance at {provider}, or check what the key in {variable} may do")
        }
    }
}

/// `eachlabs answered 429: too many requests`.
pub(super) fn describe(provider: ProviderName, reply: &ApiResponse) -> String {
    let status = reply.status.as_u16();
    let error_message = match &reply.error_message {
        _ if reply.status.is_redirection() => "a redirect, which is not followed".into(),
        Some(error_message) => error_message.clone(),
        None => reply
            .status
            .canonical_reason()
            .unwrap_or("no reason given")
            .to_lowercase(),
    };
    format!("{provider} answered {status}: {error_message}")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn reply(status: u16) -> ApiResponse {
        ApiResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            json: None,
            error_message: None,
            retry_after: None,
            clock_ahead: None,
        }
    }

    fn kind(failure: &Failure) -> &'static str {
        match failure {
            Failure::Transient { .. } => "transient",
            Failure::RateLimited { .. } => "rate limited",
            Failure::AccessDenied { .. } => "closed",
            Failure::Rejected { .. } => "rejected",
            Failure::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn only_a_providers_own_word_makes_a_failed_create_known() {
        let kind =
            |status, is_own| kind(&classify_submit(ProviderName::Fal, &reply(status), is_own));
        for (status, own, anybodys) in [
            (302, "unknown", "unknown"),
            (400, "rejected", "rejected"),
            (401, "closed", "closed"),
            (402, "closed", "closed"),
            (403, "closed", "closed"),
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
            assert_eq!(
                (kind(status, true), kind(status, false)),
                (own, anybodys),
                "{status}"
            );
        }
    }

    #[test]
    fn a_look_is_given_up_on_only_for_what_will_not_pass() {
        for (status, expected) in [
            (302, "transient"),
            (401, "closed"),
            (402, "closed"),
            (403, "closed"),
            (404, "transient"),
            (422, "rejected"),
            (429, "rate limited"),
            (500, "transient"),
            (501, "transient"),
            (524, "transient"),
        ] {
            assert_eq!(
                kind(&classify_poll(ProviderName::Aimlapi, &reply(status))),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn reasons_read_alone_and_say_what_to_do() {
        assert_eq!(
            describe(ProviderName::Fal, &reply(302)),
            "fal answered 302: a redirect, which is not followed"
        );
        let closed = |status| classify_submit(ProviderName::Fal, &reply(status), true).to_string();
        assert_eq!(
            closed(401),
            "fal answered 401: unauthorized; check the key in FAL_KEY, then run again"
        );
        assert_eq!(
            closed(402),
            "fal answered 402: payment required; top up the balance at fal, then run again"
        );
    }
}
