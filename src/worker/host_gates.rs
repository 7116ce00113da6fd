//! Holds downloads back from a host that is away. Its clips are paid for, so they wait for it instead of
//! using up their retries, and one download at a time tries it; those of other hosts go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Backoff, JobId};

/// Number of failures in a row after which a host is taken to be away. Before that, each is taken for the
/// fault of its own link.
const MAX_FAILURES: u32 = 3;

/// How long a host that is away is left alone between two tries: doubling from the first to the second.
const HOST_BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(300),
};

/// How long the others wait while one download tries a host that was away.
const TRIAL: Duration = Duration::from_secs(10);

/// The hosts that have failed lately. They are kept in memory: a new run tries each host anew.
#[derive(Debug, Default)]
pub struct HostGates {
    hosts: Mutex<BTreeMap<String, Failing>>,
}

/// A host whose last download failed.
#[derive(Debug)]
struct Failing {
    since: Timestamp,
    failures: u32,
    /// The job whose download failed first, and whether that of another has failed since.
    first_job: JobId,
    has_several_jobs: bool,
    /// Whether it is away, and not only a link of it.
    is_away: bool,
    last_failed_at: Timestamp,
    /// When the next download may try it.
    until: Timestamp,
}

/// What a failed download says about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostFailure {
    /// Since when no download from it has succeeded.
    pub(super) since: Timestamp,
    /// When the next download may try it.
    pub(super) until: Timestamp,
    /// Whether the host is away, and not only this link.
    pub(super) is_away: bool,
}

/// How much a failed download says about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostTrouble {
    /// The host is in trouble, and may have said how long.
    Certain {
        /// The delay that it asked for.
        retry_after: Option<Duration>,
    },
    /// It may be this link alone, unless the links of several jobs fail.
    Possible,
}

impl HostGates {
    /// Returns when a download from a host may be tried, if not now. Whoever tries a host that was away
    /// is alone with it for a while.
    pub(super) fn wait(&self, host: &str, now: Timestamp) -> Option<Timestamp> {
        let mut hosts = self.lock();
        let failing = hosts.get_mut(host)?;
        if failing.until > now {
            return Some(failing.until);
        }
        if failing.is_away {
            failing.until = after(now, TRIAL);
        }
        None
    }

    /// Notes that a host has served a clip.
    pub(super) fn succeeded(&self, host: &str) {
        self.lock().remove(host);
    }

    /// Notes that a download that was started at `started_at` failed. `random` in `0.0..1.0` selects the jitter.
    pub(super) fn failed(
        &self,
        host: &str,
        job: JobId,
        started_at: Timestamp,
        now: Timestamp,
        trouble: HostTrouble,
        random: f64,
    ) -> HostFailure {
        let mut hosts = self.lock();
        let failing = hosts.entry(host.to_owned()).or_insert_with(|| Failing {
            since: now,
            failures: 0,
            first_job: job,
            has_several_jobs: false,
            is_away: false,
            last_failed_at: Timestamp::MIN,
            until: now,
        });
        failing.has_several_jobs |= failing.first_job != job;
        // Those that were under way when it went away say nothing new.
        if failing.failures < MAX_FAILURES || started_at >= failing.last_failed_at {
            failing.failures = failing.failures.saturating_add(1);
        }
        failing.last_failed_at = now;
        let (is_certain, retry_after) = match trouble {
            HostTrouble::Certain { retry_after } => (true, retry_after),
            HostTrouble::Possible => (failing.has_several_jobs, None),
        };
        failing.is_away |= is_certain && failing.failures >= MAX_FAILURES;
        if failing.is_away || retry_after.is_some() {
            let tries = (failing.failures + 1).saturating_sub(MAX_FAILURES);
            let delay = retry_after.unwrap_or_else(|| HOST_BACKOFF.delay(tries, random));
            failing.until = failing.until.max(after(now, delay));
        }
        HostFailure {
            since: failing.since,
            until: failing.until,
            is_away: failing.is_away,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a time rounded up to the millisecond, to which the queue keeps due times: a job that is due
/// must not find its host's gate still closed.
fn after(now: Timestamp, delay: Duration) -> Timestamp {
    let until = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
    Timestamp::from_millisecond(until.as_millisecond() + 1).unwrap_or(Timestamp::MAX)
}
