//! Probes: free requests that show whether a provider responds, accepts the key, and agrees with
//! our clock.

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::classify::{describe, remedy};
use super::http::{ApiClient, ApiResponse};

/// Length of the history window that a probe requests: short, because its entries are not read.
const PROBE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// The finding at one base URL of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What was probed: `api`, or `history` if that has a base URL of its own.
    pub what: &'static str,
    /// The origin of the URL: scheme, host and port.
    pub address: String,
    /// How it responded.
    pub finding: ProbeResult,
    /// How far our clock is ahead of the server's; `None` without a valid `Date` header.
    pub clock_ahead: Option<SignedDuration>,
}

/// How a base URL of a provider responded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// As this API does, so it accepted the key.
    Ok,
    /// It refused the key or the account: 401, 402 or 403.
    Refused {
        /// The status and the provider's message.
        reason: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// A rate limit or a server error, both of which pass.
    Busy {
        /// The status and the provider's message.
        reason: String,
    },
    /// A response that is not one of this API.
    Unexpected {
        /// What was returned instead.
        reason: String,
    },
    /// No response.
    Unreachable {
        /// Why there was none.
        reason: String,
    },
}

/// Sends one GET request, and judges the response; `is_expected` recognises one of this API.
pub(super) async fn probe(
    what: &'static str,
    client: &ApiClient,
    url: Url,
    is_expected: impl Fn(&ApiResponse) -> bool,
) -> Probe {
    let address = url.origin().ascii_serialization();
    let provider = client.provider();
    let timeout = client.timeouts().probe;
    let response = tokio::time::timeout(timeout, client.get(url)).await;
    let unreachable = |reason| Probe {
        what,
        address: address.clone(),
        finding: ProbeResult::Unreachable { reason },
        clock_ahead: None,
    };
    let response = match response {
        Err(_) => {
            return unreachable(format!(
                "{provider} did not respond within {} s",
                timeout.as_secs()
            ));
        }
        Ok(Err(failure)) => return unreachable(failure.to_string()),
        Ok(Ok(response)) => response,
    };
    let reason = describe(provider, &response);
    let finding = match response.status.as_u16() {
        401..=403 => ProbeResult::Refused {
            reason,
            remedy: remedy(provider, response.status),
        },
        _ if is_expected(&response) => ProbeResult::Ok,
        // A 501 does not pass: the server does not have what was requested.
        429 | 500 | 502..=599 => ProbeResult::Busy { reason },
        _ if response.status.is_success() => ProbeResult::Unexpected {
            reason: format!("{provider} returned a body that is not one of its API"),
        },
        _ => ProbeResult::Unexpected { reason },
    };
    Probe {
        what,
        address,
        finding,
        clock_ahead: response.clock_ahead,
    }
}

/// Returns the start and end of the history window that a probe requests, in RFC 3339.
pub(super) fn probe_window(now: Timestamp) -> (String, String) {
    let start = now.saturating_sub(PROBE_WINDOW).unwrap_or(Timestamp::MIN);
    (start.to_string(), now.to_string())
}
