//! The last exact count of each provider's recent submissions, which saves most claims a count.

use std::collections::HashMap;

use crate::domain::ProviderName;

/// The last exact count of each provider's recent submissions, kept from one claim to the next.
///
/// Attempt ids grow over all providers and processes, so the count plus the number of attempts since
/// is an upper bound of the submissions that count now. A provider is counted again only when this
/// bound reaches its rate.
#[derive(Clone, Debug, Default)]
pub struct RateCounts(HashMap<ProviderName, RateCount>);

#[derive(Clone, Copy, Debug)]
struct RateCount {
    /// Submissions that counted against the rate.
    submits: u32,
    /// The highest attempt id at the time, of any provider.
    last_attempt: i64,
}

impl RateCounts {
    /// Returns an upper bound of a provider's recent submissions; `None` if they were never counted.
    /// `last_attempt` is the highest attempt id there is, of any provider.
    pub(super) fn bound(&self, provider: ProviderName, last_attempt: i64) -> Option<u32> {
        let counted = self.0.get(&provider)?;
        let since = u32::try_from(last_attempt - counted.last_attempt).unwrap_or(u32::MAX);
        Some(counted.submits.saturating_add(since))
    }

    /// Keeps an exact count.
    pub(super) fn insert(&mut self, provider: ProviderName, submits: u32, last_attempt: i64) {
        let count = RateCount {
            submits,
            last_attempt,
        };
        self.0.insert(provider, count);
    }
}
