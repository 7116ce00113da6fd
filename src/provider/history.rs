//! What the adapters' searches for a lost submission share.
//!
//! If a search reports absence, the queue pays for the job again. Absence is therefore reported
//! only if the history was read to its end and every entry could be compared. Anything less is a
//! failure, and the job stays in doubt.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;
use url::Url;

use crate::domain::{Failure, ProviderName};

use super::classify::classify_unreadable;
use super::http::{ApiClient, ApiResponse};
use super::reconciliation::{Reconciliation, WINDOW_MARGIN};

/// Maximum difference between the provider's clock and ours for absence to be believed: half of the
/// margin of a search window.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(WINDOW_MARGIN.as_secs() / 2);

/// Entries per page of a history: the maximum that each of the three APIs documents.
pub(super) const HISTORY_PAGE: usize = 100;

/// Maximum number of pages read in one search. At 100 submissions a minute, the window of a typical
/// lost submission fills four.
pub(super) const MAX_PAGES: usize = 20;

/// Maximum number of tries for one request of a search. A search sends dozens of requests, and
/// would hardly ever complete on an unreliable connection if each had to succeed at the first try.
const MAX_TRIES: u32 = 3;

/// Sends a GET request until the response passes `check`, at most [`MAX_TRIES`] times. Only a
/// transient failure without `Retry-After` is tried again.
pub(super) async fn get_with_retries(
    client: &ApiClient,
    url: &Url,
    check: impl Fn(&ApiResponse) -> Result<(), Failure>,
) -> Result<ApiResponse, Failure> {
    let mut tries = 1;
    loop {
        let response = client.get(url.clone()).await;
        match response.and_then(|response| check(&response).map(|()| response)) {
            Err(Failure::Transient {
                retry_after: None, ..
            }) if tries < MAX_TRIES => tries += 1,
            result => return result,
        }
        tokio::time::sleep(client.timeouts().retry_pause).await;
    }
}

/// Returns the entries of one page, which are the list under `key`.
pub(super) fn read_entries<'a>(
    provider: ProviderName,
    response: &'a ApiResponse,
    key: &str,
) -> Result<&'a [Value], Failure> {
    let body = response
        .json
        .as_ref()
        .filter(|_| response.status.is_success());
    match body.and_then(|body| body.get(key)) {
        Some(Value::Array(entries)) => Ok(entries),
        // Some servers write an empty list as `null`.
        Some(Value::Null) if response.error_message.is_none() => Ok(&[]),
        _ => Err(classify_unreadable(provider, response, "a history")),
    }
}

/// The findings of a search so far.
#[derive(Debug, Default)]
pub(super) struct HistorySearch {
    matches: BTreeSet<String>,
    inconclusive: usize,
    clock_ahead: Option<SignedDuration>,
}

impl HistorySearch {
    /// Reads one page, whose entries are under `key`, and notes the provider's time.
    pub(super) async fn get_page(
        &mut self,
        provider: ProviderName,
        client: &ApiClient,
        url: &Url,
        key: &str,
    ) -> Result<ApiResponse, Failure> {
        let response = get_with_retries(client, url, |response| {
            read_entries(provider, response, key).map(drop)
        })
        .await?;
        self.clock_ahead = response.clock_ahead.or(self.clock_ahead);
        Ok(response)
    }

    /// Adds a prediction that matches the lost submission. The same one may be on two pages.
    pub(super) fn add_match(&mut self, prediction_id: String) {
        self.matches.insert(prediction_id);
    }

    /// Counts an entry that may be the lost submission but does not show enough to be compared.
    pub(super) fn add_inconclusive(&mut self) {
        self.inconclusive += 1;
    }

    /// Concludes the search of a history that was read to its end.
    ///
    /// Without a match, this is an error if an entry was inconclusive, or if the clocks differ by
    /// more than [`MAX_CLOCK_SKEW`].
    pub(super) fn conclude(
        self,
        provider: ProviderName,
        lists_running: bool,
    ) -> Result<Reconciliation, Failure> {
        if self.matches.is_empty() && self.inconclusive > 0 {
            let entries = self.inconclusive;
            let reason = format!(
                "{provider}'s history lists {entries} predictions of that time that cannot be \
                 compared"
            );
            return Err(Failure::Transient {
                reason,
                retry_after: None,
            });
        }
        // The window was computed from our clock. If the provider's differs, the search may have
        // covered the wrong time.
        if let Some(ahead) = self
            .clock_ahead
            .filter(|ahead| ahead.abs() > MAX_CLOCK_SKEW)
            && self.matches.is_empty()
        {
            let seconds = ahead.abs().as_secs();
            let side = if ahead.is_positive() {
                "ahead of"
            } else {
                "behind"
            };
            let reason = format!(
                "this machine's clock is {seconds} seconds {side} {provider}'s, so its history \
                 proves nothing; set the clock"
            );
            return Err(Failure::Transient {
                reason,
                retry_after: None,
            });
        }
        Ok(Reconciliation::from_matches(
            self.matches.into_iter().collect(),
            lists_running,
        ))
    }
}

/// Returns the failure of a search that exceeded [`MAX_PAGES`] and therefore proves nothing.
pub(super) fn history_too_long(provider: ProviderName) -> Failure {
    Failure::Transient {
        reason: format!("{provider}'s history is too long to search"),
        retry_after: None,
    }
}
