//! What a provider's key allows and how much of it is used: slots, submission rate and holds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::queue::{ProviderLimits, Result};

use super::row::{self, query_value, select};

/// The window of the submission rate, `creates_per_minute`.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// The last exact count of each provider's recent submissions.
///
/// Saves a query per claim. Attempt ids grow over all providers and processes, so the count plus
/// the number of attempts since is an upper bound of the submissions that count now. A provider is
/// counted again only when this bound reaches its rate.
#[derive(Debug, Default)]
pub(super) struct RateCache(Mutex<HashMap<ProviderName, CachedCount>>);

#[derive(Debug)]
struct CachedCount {
    /// Submits that counted against the rate.
    submits: u32,
    /// The highest attempt id at the time, of any provider.
    last_attempt: i64,
}

/// A provider's limits and how much of them is used.
pub(super) struct ProviderCapacity {
    pub(super) limits: ProviderLimits,
    /// Open attempts: submitting, in doubt or accepted. Each occupies a slot.
    pub(super) in_flight: u32,
    /// Submits that count against the rate now; an upper bound unless `is_exact`.
    recent_submits: u32,
    is_exact: bool,
    /// No submission before this time.
    submits_held_until: Timestamp,
    /// No call at all before this time.
    pub(super) calls_held_until: Timestamp,
    /// Consecutive failed calls; sets the provider's backoff.
    pub(super) failures: u32,
    /// Whether submissions are suspended because the provider denied access for the key or balance.
    pub(super) is_suspended: bool,
    /// Whether polls and history searches are suspended as well.
    pub(super) refuses_polls: bool,
}

impl ProviderCapacity {
    /// Reads the providers' slots and holds. Recent submissions are not counted yet.
    ///
    /// A provider without a row has had no attempt and is unused.
    pub(super) fn read(tx: &Connection, limits: &[ProviderLimits]) -> Result<Vec<Self>> {
        let unused = |limits: &ProviderLimits| Self {
            limits: *limits,
            in_flight: 0,
            recent_submits: 0,
            is_exact: false,
            submits_held_until: Timestamp::UNIX_EPOCH,
            calls_held_until: Timestamp::UNIX_EPOCH,
            failures: 0,
            is_suspended: false,
            refuses_polls: false,
        };
        let mut capacities: Vec<Self> = limits.iter().map(unused).collect();
        select(tx, "SELECT * FROM providers", [], |columns| {
            let provider: String = columns.get("provider")?;
            let Some(capacity) = capacities
                .iter_mut()
                .find(|capacity| capacity.limits.provider.as_str() == provider)
            else {
                return Ok(());
            };
            capacity.in_flight = columns.get("in_flight")?;
            capacity.submits_held_until = columns.time("creates_from")?;
            capacity.calls_held_until = columns.time("calls_from")?;
            capacity.failures = columns.get("failures")?;
            capacity.is_suspended = columns.get::<Option<String>>("paused")?.is_some();
            capacity.refuses_polls = columns.get("refuses_looks")?;
            Ok(())
        })?;
        Ok(capacities)
    }

    /// Sets the recent submissions from the cache, or counts them if the cached bound reaches the
    /// rate.
    ///
    /// `last_attempt` is the highest attempt id of any provider.
    pub(super) fn refresh_if_near_limit(
        &mut self,
        tx: &Connection,
        now: Timestamp,
        last_attempt: i64,
        rate_cache: &RateCache,
    ) -> Result<()> {
        let provider = self.limits.provider;
        let mut rate_cache = rate_cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = rate_cache.get(&provider);
        if let Some(cached) = cached {
            let since = u32::try_from(last_attempt - cached.last_attempt).unwrap_or(0);
            self.recent_submits = cached.submits.saturating_add(since);
        }
        if cached.is_none() || self.recent_submits >= self.limits.creates_per_minute {
            self.count_recent_submits(tx, now)?;
            let counted = CachedCount {
                submits: self.recent_submits,
                last_attempt,
            };
            rate_cache.insert(provider, counted);
        }
        Ok(())
    }

    /// Returns the number of submissions that slots, rate and holds allow now.
    pub(super) fn available_submits(&self, now: Timestamp) -> u32 {
        if self.is_suspended || self.submits_allowed_from() > now {
            return 0;
        }
        let slots = self.limits.in_flight.saturating_sub(self.in_flight);
        let rate = self
            .limits
            .creates_per_minute
            .saturating_sub(self.recent_submits);
        slots.min(rate)
    }

    /// Reserves a slot and one submission of the rate, for an attempt that is already inserted.
    pub(super) fn reserve(&mut self, tx: &Connection, now: Timestamp) -> Result<()> {
        self.in_flight += 1;
        self.recent_submits += 1;
        if self.recent_submits >= self.limits.creates_per_minute && !self.is_exact {
            self.count_recent_submits(tx, now)?;
        }
        Ok(())
    }

    /// Returns when the provider's holds permit submissions again; in the past if they do now.
    pub(super) fn submits_allowed_from(&self) -> Timestamp {
        self.submits_held_until.max(self.calls_held_until)
    }

    /// Returns whether the provider may be polled now.
    pub(super) fn accepts_polls(&self, now: Timestamp) -> bool {
        !self.refuses_polls && self.calls_held_until <= now
    }

    /// Returns when the oldest submit that counts against the rate stops counting; `None` if the
    /// rate is not used up.
    pub(super) fn rate_available_at(
        &self,
        tx: &Connection,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        if self.recent_submits < self.limits.creates_per_minute {
            return Ok(None);
        }
        let oldest: Option<i64> = query_value(
            tx,
            "SELECT answered_at FROM attempts
             WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1",
            params![
                self.limits.provider.as_str(),
                (now - RATE_WINDOW).as_millisecond()
            ],
        )?;
        let oldest = oldest
            .map(row::timestamp_from_millis)
            .transpose()?
            .unwrap_or(now);
        // One more millisecond, because a submission answered exactly one window ago still counts.
        Ok(Some(oldest + RATE_WINDOW + SignedDuration::from_millis(1)))
    }

    fn count_recent_submits(&mut self, tx: &Connection, now: Timestamp) -> Result<()> {
        // The request reaches the provider at an unknown time between the commit of the intent and
        // the answer. Counting a submission from its commit until 60 seconds after its answer
        // guarantees the limit for every 60-second window. Stored times are truncated to
        // milliseconds, so an answer exactly 60 seconds ago still counts.
        let recent_submits = query_value(
            tx,
            "SELECT (SELECT count(*) FROM jobs
                     WHERE lease_pool IS NOT NULL AND state = 'submitting' AND at_provider = ?1)
                  + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)",
            params![
                self.limits.provider.as_str(),
                (now - RATE_WINDOW).as_millisecond()
            ],
        )?;
        self.recent_submits = recent_submits.unwrap_or(0);
        self.is_exact = true;
        Ok(())
    }
}
