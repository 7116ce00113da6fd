//! What a call that costs nothing shows: whether a provider answers, takes the key, and what time it has.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use url::Url;

use super::classify::{describe, remedy};
use super::http::{ApiClient, ApiResponse};

/// A probe is asked by a person who waits for it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// How long back a probe asks for the history: hardly anything is in it, and nobody reads what is.
const SPAN: SignedDuration = SignedDuration::from_secs(60);

/// What was found at one address of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is asked for there: `api`, or `history` where that has an address of its own.
    pub what: &'static str,
    /// The address, without what is asked for.
    pub address: String,
    /// How it answered.
    pub finding: ProbeResult,
    /// How far our clock is ahead of the one over there, if the answer tells.
    pub clock_ahead: Option<SignedDuration>,
}

/// How an address of a provider answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// As it should, so it took the key.
    Ok,
    /// It refuses the key, or the account.
    Refused {
        /// What it said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// It has trouble of its own, or had too many calls: this passes.
    Busy {
        /// What it said.
        reason: String,
    },
    /// It answered, but not as this API does.
    Unexpected {
        /// What it said.
        reason: String,
    },
    /// There was no answer.
    Unreachable {
        /// Why not.
        reason: String,
    },
}

/// Asks for one page, once.
pub(super) async fn probe(
    what: &'static str,
    client: &ApiClient,
    url: Url,
    is_fine: impl Fn(&ApiResponse) -> bool,
) -> Probe {
    let address = url.origin().ascii_serialization();
    let provider = client.provider();
    let answer = tokio::time::timeout(PROBE_TIMEOUT, client.get(Method::GET, url)).await;
    let silent = |reason| Probe {
        what,
        address: address.clone(),
        finding: ProbeResult::Unreachable { reason },
        clock_ahead: None,
    };
    let reply = match answer {
        Err(_) => {
            return silent(format!(
                "{provider} did not answer within {} s",
                PROBE_TIMEOUT.as_secs()
            ));
        }
        Ok(Err(failure)) => return silent(failure.to_string()),
        Ok(Ok(reply)) => reply,
    };
    let reason = describe(provider, &reply);
    let finding = match reply.status.as_u16() {
        401..=403 => ProbeResult::Refused {
            reason,
            remedy: remedy(provider, reply.status),
        },
        _ if is_fine(&reply) => ProbeResult::Ok,
        // 501 is no trouble that passes: what was asked for is not there.
        429 | 500 | 502..=599 => ProbeResult::Busy { reason },
        _ if reply.status.is_success() => ProbeResult::Unexpected {
            reason: format!("{provider} answered with something else than its API does"),
        },
        _ => ProbeResult::Unexpected { reason },
    };
    Probe {
        what,
        address,
        finding,
        clock_ahead: reply.clock_ahead,
    }
}

/// The span of time a probe asks the history for.
pub(super) fn span(now: Timestamp) -> (String, String) {
    let from = now.saturating_sub(SPAN).unwrap_or(Timestamp::MIN);
    (from.to_string(), now.to_string())
}
