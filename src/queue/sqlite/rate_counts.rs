//! Counts the submissions that use up a provider's rate.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::policy::claim::{ProviderView, rate_window_start};
use crate::queue::Result;

use super::row::{query_value, timestamp_from_millis};

/// The last exact count of each provider's recent submissions.
///
/// Saves a query per claim. Attempt ids grow over all providers and processes, so the count plus
/// the number of attempts since is an upper bound of the submissions that count now. A provider is
/// counted again only when this bound reaches its rate.
#[derive(Clone, Debug, Default)]
pub(super) struct RateCounts(HashMap<ProviderName, RateCount>);

#[derive(Clone, Copy, Debug)]
struct RateCount {
    /// Submissions that counted against the rate.
    submits: u32,
    /// The highest attempt id at the time, of any provider.
    last_attempt: i64,
}

impl RateCounts {
    /// Sets a provider's recent submissions to the cached bound, or to the exact count if the bound
    /// reaches the rate. `last_attempt` is the highest attempt id there is, of any provider.
    pub(super) fn bound_recent_submits(
        &mut self,
        tx: &Connection,
        provider: &mut ProviderView,
        last_attempt: i64,
        now: Timestamp,
    ) -> Result<()> {
        let Some(cached) = self.0.get(&provider.limits.provider) else {
            return self.count_recent_submits(tx, provider, last_attempt, now);
        };
        let since = u32::try_from(last_attempt - cached.last_attempt).unwrap_or(u32::MAX);
        provider.recent_submits = cached.submits.saturating_add(since);
        if provider.needs_exact_count() {
            return self.count_recent_submits(tx, provider, last_attempt, now);
        }
        Ok(())
    }

    /// Sets a provider's recent submissions to the exact count, and caches it.
    pub(super) fn count_recent_submits(
        &mut self,
        tx: &Connection,
        provider: &mut ProviderView,
        last_attempt: i64,
        now: Timestamp,
    ) -> Result<()> {
        let name = provider.limits.provider;
        let submits = query_value(
            tx,
            "SELECT (SELECT count(*) FROM attempts
                     WHERE finished_at IS NULL AND state = 'submitting' AND provider = ?1)
                  + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)",
            params![name.as_str(), rate_window_start(now).as_millisecond()],
        )?
        .unwrap_or(0);
        provider.recent_submits = submits;
        provider.is_exact = true;
        let count = RateCount {
            submits,
            last_attempt,
        };
        self.0.insert(name, count);
        Ok(())
    }
}

/// Returns when the oldest submission that counts against a provider's rate was answered; `None` if
/// all of them are still unanswered.
pub(super) fn oldest_recent_submit(
    tx: &Connection,
    provider: ProviderName,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let oldest: Option<i64> = query_value(
        tx,
        "SELECT answered_at FROM attempts
         WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1",
        params![provider.as_str(), rate_window_start(now).as_millisecond()],
    )?;
    oldest.map(timestamp_from_millis).transpose()
}
