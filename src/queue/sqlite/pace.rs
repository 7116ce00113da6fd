//! What a provider's key allows, and how much of that is taken: slots, the create rate, and its gates.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::queue::{ProviderLimits, Result};

use super::row::{self, select, value};

/// The span a create rate counts over.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// A provider, what it allows, and how much of that is taken.
pub(super) struct Pace {
    pub(super) limits: ProviderLimits,
    pub(super) in_flight: u32,
    /// Creates that count against the rate now.
    pub(super) recent: u32,
    pub(super) creates_from: Timestamp,
    pub(super) failures: u32,
    pub(super) paused: bool,
}

impl Pace {
    /// Tells whether a create may be sent now.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        !self.paused
            && self.creates_from <= now
            && self.in_flight < self.limits.in_flight
            && self.recent < self.limits.creates_per_minute
    }

    /// Reads how a provider stands.
    pub(super) fn read(tx: &Connection, limits: ProviderLimits, now: Timestamp) -> Result<Self> {
        let provider = limits.provider.as_str();
        // A create reaches the provider somewhere between its commit and its answer. Counting it from the commit until
        // 60 seconds after the answer is the one count that no choice of a 60-second window can exceed. Both ends have
        // lost their fractions of a millisecond, so that the sixtieth second's last one counts as well.
        let recent = value(
            tx,
            "SELECT (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at IS NULL)
              + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)",
            params![provider, (now - RATE_WINDOW).as_millisecond()],
        )?;
        let mut pace = Self {
            limits,
            in_flight: 0,
            recent: recent.unwrap_or(0),
            creates_from: Timestamp::UNIX_EPOCH,
            failures: 0,
            paused: false,
        };
        select(tx, "SELECT * FROM providers WHERE provider = ?1", [provider], |columns| {
            pace.in_flight = columns.get("in_flight")?;
            pace.creates_from = columns.time("creates_from")?.max(columns.time("calls_from")?);
            pace.failures = columns.get("failures")?;
            pace.paused = columns.get::<Option<String>>("paused")?.is_some();
            Ok(())
        })?;
        Ok(pace)
    }

    /// When the oldest create that counts against the rate stops counting.
    pub(super) fn rate_frees_at(&self, tx: &Connection, now: Timestamp) -> Result<Timestamp> {
        let oldest: Option<i64> = value(
            tx,
            "SELECT answered_at FROM attempts WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1",
            params![self.limits.provider.as_str(), (now - RATE_WINDOW).as_millisecond()],
        )?;
        let oldest = oldest.map(row::time).transpose()?.unwrap_or(now);
        Ok(oldest + RATE_WINDOW + SignedDuration::from_millis(1))
    }
}
