//! What the searches for a lost submission have in common.
//!
//! Absence makes the queue pay again, so it is claimed only of a history that was read to its end and whose every row
//! could be judged. Anything less is a failure, and the job stays in doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::domain::{Failure, ProviderName};

use super::classify::unreadable;
use super::http::{ApiClient, ApiResponse};
use super::{CLOCK_SKEW, Reconciliation};

/// The two clocks may differ by so much: half of what a search allows for on either side.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(CLOCK_SKEW.as_secs() / 2);

/// How often one call of a search is tried. A search makes dozens, and would hardly ever come to its end on a bad day if
/// each had to succeed at once.
const MAX_TRIES: u32 = 3;

/// How long to wait before another try.
const RETRY_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// Makes one call of a search until its answer is what it should be.
pub(super) async fn ask(
    client: &ApiClient,
    url: &Url,
    check: impl Fn(&ApiResponse) -> Result<(), Failure>,
) -> Result<ApiResponse, Failure> {
    let mut tries = 1;
    loop {
        let answer = client.get(Method::GET, url.clone()).await;
        match answer.and_then(|reply| check(&reply).map(|()| reply)) {
            Err(Failure::Transient {
                retry_after: None, ..
            }) if tries < MAX_TRIES => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Reads one page's rows.
pub(super) fn rows<'a>(
    provider: ProviderName,
    reply: &'a ApiResponse,
    key: &str,
) -> Result<&'a [Value], Failure> {
    let body = reply.json.as_ref().filter(|_| reply.status.is_success());
    match body.and_then(|body| body.get(key)) {
        Some(Value::Array(rows)) => Ok(rows),
        // Some servers write an empty list so.
        Some(Value::Null) if reply.error_message.is_none() => Ok(&[]),
        _ => Err(unreadable(provider, reply, "a history")),
    }
}

/// What a search has shown so far.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: BTreeSet<String>,
    inconclusive: usize,
    clock_ahead: Option<SignedDuration>,
}

impl Search {
    /// Fetches one page, whose rows are under `key`, and notes what time it is over there.
    pub(super) async fn page(
        &mut self,
        provider: ProviderName,
        client: &ApiClient,
        url: &Url,
        key: &str,
    ) -> Result<ApiResponse, Failure> {
        let reply = ask(client, url, |reply| rows(provider, reply, key).map(drop)).await?;
        self.clock_ahead = reply.clock_ahead.or(self.clock_ahead);
        Ok(reply)
    }

    /// Notes a prediction that is the lost submission, or its twin. The same one may turn up on two pages.
    pub(super) fn found(&mut self, prediction_id: String) {
        self.found.insert(prediction_id);
    }

    /// Notes a row that may be the lost submission, but does not show enough to tell.
    pub(super) fn inconclusive(&mut self) {
        self.inconclusive += 1;
    }

    /// Judges a history that was read to its end.
    pub(super) fn close(
        self,
        provider: ProviderName,
        lists_running: bool,
    ) -> Result<Reconciliation, Failure> {
        if self.found.is_empty() && self.inconclusive > 0 {
            let rows = self.inconclusive;
            let reason = format!(
                "{provider}'s history lists {rows} predictions of that time that cannot be compared"
            );
            return Err(Failure::Transient {
                reason,
                retry_after: None,
            });
        }
        // The search asked for a span of time by our clock. By another it may have looked in the wrong place.
        if let Some(ahead) = self.clock_ahead.filter(|ahead| ahead.abs() > MAX_SKEW)
            && self.found.is_empty()
        {
            let (by, side) = (
                ahead.abs().as_secs(),
                if ahead.is_positive() {
                    "ahead of"
                } else {
                    "behind"
                },
            );
            let reason = format!(
                "this machine's clock is {by} seconds {side} {provider}'s, so its history proves nothing; set the clock"
            );
            return Err(Failure::Transient {
                reason,
                retry_after: None,
            });
        }
        Ok(Reconciliation::of(
            self.found.into_iter().collect(),
            lists_running,
        ))
    }
}
