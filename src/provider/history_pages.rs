//! What the adapters share that read a history page by page. A history that cannot be read to its end
//! is a failure: a part of it proves nothing.

use std::collections::HashSet;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::domain::{Failure, ProviderName};

use super::classify::classify_unreadable;
use super::history::{History, HistoryEntry};
use super::http::{ApiClient, ApiResponse};

/// Entries per page of a history: the maximum that each of the three APIs documents.
pub(super) const HISTORY_PAGE: usize = 100;

/// Maximum number of pages read in one search. At 100 submissions a minute, the window of a typical
/// lost submission fills four.
pub(super) const MAX_PAGES: usize = 20;

/// Maximum number of entries of a history. What is longer is not that of the period that was asked for.
pub(super) const MAX_ENTRIES: usize = MAX_PAGES * HISTORY_PAGE;

/// Maximum time to read a history. A longer one would keep a worker from everything else.
const MAX_TIME: Duration = Duration::from_secs(600);

/// Maximum number of tries for one request of a search. A search sends dozens of requests, and
/// would hardly ever complete on an unreliable connection if each had to succeed at the first try.
const MAX_TRIES: u32 = 3;

/// Sends a GET request until the response passes `check`, at most [`MAX_TRIES`] times. Only a
/// transient failure without `Retry-After` is tried again.
pub(super) async fn get_with_retries(
    client: &ApiClient,
    url: &Url,
    deadline: Instant,
    check: impl Fn(&ApiResponse) -> Result<(), Failure>,
) -> Result<ApiResponse, Failure> {
    let mut tries = 1;
    if deadline < Instant::now() {
        return Err(history_too_long(client.provider()));
    }
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
    match response.success().and_then(|body| body.get(key)) {
        Some(Value::Array(entries)) => Ok(entries),
        // Some servers write an empty list as `null`.
        Some(Value::Null) if response.error_message.is_none() => Ok(&[]),
        _ => Err(classify_unreadable(provider, response, "a history")),
    }
}

/// The pages of a history that were read so far.
#[derive(Debug)]
pub(super) struct HistoryPages {
    entries: Vec<HistoryEntry>,
    ids: HashSet<String>,
    clock_ahead: Option<SignedDuration>,
    /// When the search is given up.
    pub(super) deadline: Instant,
}

impl Default for HistoryPages {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            ids: HashSet::new(),
            clock_ahead: None,
            deadline: Instant::now() + MAX_TIME,
        }
    }
}

impl HistoryPages {
    /// Reads one page, whose entries are under `key`, and notes the provider's time.
    pub(super) async fn get_page(
        &mut self,
        provider: ProviderName,
        client: &ApiClient,
        url: &Url,
        key: &str,
    ) -> Result<ApiResponse, Failure> {
        let response = get_with_retries(client, url, self.deadline, |response| {
            read_entries(provider, response, key).map(drop)
        })
        .await?;
        let entries = read_entries(provider, &response, key)?;
        if entries.len() > MAX_ENTRIES {
            return Err(history_too_long(provider));
        }
        self.clock_ahead = response.clock_ahead.or(self.clock_ahead);
        Ok(response)
    }

    /// Adds an entry. The same prediction may be on two pages, and then counts once.
    pub(super) fn add(&mut self, entry: HistoryEntry) {
        let id = entry.prediction_id.clone();
        if id.is_none_or(|id| self.ids.insert(id)) {
            self.entries.push(entry);
        }
    }

    /// Returns the history, which was read to its end. `lists_running` is what is known of the API; an
    /// entry that is still running shows it, too.
    pub(super) fn into_history(self, lists_running: bool) -> History {
        History {
            lists_running: lists_running || self.entries.iter().any(|entry| entry.is_running),
            entries: self.entries,
            clock_ahead: self.clock_ahead,
        }
    }
}

/// Returns the failure of a search that was not read to its end, and therefore proves nothing.
pub(super) fn history_too_long(provider: ProviderName) -> Failure {
    Failure::Transient {
        reason: format!("{provider}'s history is too long to search"),
        retry_after: None,
    }
}
