//! What a provider's key allows, and how much of that is taken: slots, the create rate, and its gates.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::queue::{ProviderLimits, Result};

use super::row::{self, select, value};

/// The span a create rate counts over.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// How many creates counted against each provider's rate when they were last counted, and the last attempt there was.
/// Only the attempts since can have come on top, whichever process made them: as long as there is room for those as
/// well, nothing needs to be counted.
#[derive(Debug, Default)]
pub(super) struct RateCache(Mutex<HashMap<ProviderName, (u32, i64)>>);

/// A provider, what it allows, and how much of that is taken.
pub(super) struct ProviderCapacity {
    pub(super) limits: ProviderLimits,
    pub(super) in_flight: u32,
    /// Creates that count against the rate now; no more than that, unless `is_counted`.
    recent: u32,
    is_counted: bool,
    creates_from: Timestamp,
    pub(super) calls_from: Timestamp,
    pub(super) failures: u32,
    pub(super) paused: bool,
    /// Whether it refuses the key for looks as well.
    pub(super) refuses_polls: bool,
}

impl ProviderCapacity {
    /// Reads how the providers stand, but for how many creates count against their rates.
    pub(super) fn read(tx: &Connection, limits: &[ProviderLimits]) -> Result<Vec<Self>> {
        let unused = |limits: &ProviderLimits| Self {
            limits: *limits,
            in_flight: 0,
            recent: 0,
            is_counted: false,
            creates_from: Timestamp::UNIX_EPOCH,
            calls_from: Timestamp::UNIX_EPOCH,
            failures: 0,
            paused: false,
            refuses_polls: false,
        };
        let mut capacities: Vec<Self> = limits.iter().map(unused).collect();
        select(tx, "SELECT * FROM providers", [], |columns| {
            let provider: String = columns.get("provider")?;
            let Some(pace) = capacities
                .iter_mut()
                .find(|pace| pace.limits.provider.as_str() == provider)
            else {
                return Ok(());
            };
            pace.in_flight = columns.get("in_flight")?;
            pace.creates_from = columns.time("creates_from")?;
            pace.calls_from = columns.time("calls_from")?;
            pace.failures = columns.get("failures")?;
            pace.paused = columns.get::<Option<String>>("paused")?.is_some();
            pace.refuses_polls = columns.get("refuses_looks")?;
            Ok(())
        })?;
        Ok(capacities)
    }

    /// Counts the creates that count against the rate, unless it has room for all there may have been since they were
    /// last counted; `last_attempt` is the last there is, at whichever provider.
    pub(super) fn refresh_if_near_limit(
        &mut self,
        tx: &Connection,
        now: Timestamp,
        last_attempt: i64,
        rate_cache: &RateCache,
    ) -> Result<()> {
        let provider = self.limits.provider;
        let mut rate_cache = rate_cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = rate_cache.get(&provider);
        if let Some((count, last)) = known {
            self.recent = count.saturating_add(u32::try_from(last_attempt - last).unwrap_or(0));
        }
        if known.is_none() || self.recent >= self.limits.creates_per_minute {
            self.count(tx, now)?;
            rate_cache.insert(provider, (self.recent, last_attempt));
        }
        Ok(())
    }

    /// Tells for how many creates there is room, now.
    pub(super) fn room(&self, now: Timestamp) -> u32 {
        if self.paused || self.creates_open_at() > now {
            return 0;
        }
        let slots = self.limits.in_flight.saturating_sub(self.in_flight);
        slots.min(self.limits.creates_per_minute.saturating_sub(self.recent))
    }

    /// Takes a slot, and one of the creates of this minute.
    pub(super) fn take(&mut self, tx: &Connection, now: Timestamp) -> Result<()> {
        self.in_flight += 1;
        self.recent += 1;
        if self.recent >= self.limits.creates_per_minute && !self.is_counted {
            self.count(tx, now)?;
        }
        Ok(())
    }

    /// When its gates for creates open.
    pub(super) fn creates_open_at(&self) -> Timestamp {
        self.creates_from.max(self.calls_from)
    }

    /// Tells whether it may be asked for its predictions, now.
    pub(super) fn accepts_polls(&self, now: Timestamp) -> bool {
        !self.refuses_polls && self.calls_from <= now
    }

    /// When the oldest create that counts against the rate stops counting; `None` where the rate has room.
    pub(super) fn rate_frees_at(
        &self,
        tx: &Connection,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        if self.recent < self.limits.creates_per_minute {
            return Ok(None);
        }
        let oldest: Option<i64> = value(
            tx,
            "SELECT answered_at FROM attempts WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1",
            params![
                self.limits.provider.as_str(),
                (now - RATE_WINDOW).as_millisecond()
            ],
        )?;
        let oldest = oldest.map(row::time).transpose()?.unwrap_or(now);
        Ok(Some(oldest + RATE_WINDOW + SignedDuration::from_millis(1)))
    }

    fn count(&mut self, tx: &Connection, now: Timestamp) -> Result<()> {
        // A create reaches the provider somewhere between its commit and its answer. Counting it from the commit until
        // 60 seconds after the answer is the one count that no choice of a 60-second window can exceed. Both ends have
        // lost their fractions of a millisecond, so that the sixtieth second's last one counts as well.
        let recent = value(
            tx,
            "SELECT (SELECT count(*) FROM jobs WHERE lease_pool IS NOT NULL AND state = 'submitting' AND at_provider = ?1)
              + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)",
            params![self.limits.provider.as_str(), (now - RATE_WINDOW).as_millisecond()],
        )?;
        self.recent = recent.unwrap_or(0);
        self.is_counted = true;
        Ok(())
    }
}
