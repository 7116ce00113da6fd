//! Before a run submits: is this the queue that was run last, and what have its copies paid for?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::{JobState, ProviderName};
use crate::queue::{self, BatchStatus, Lineage, Queue};
use crate::worker::comparison::{Comparison, compare_histories, earliest_read};
use crate::worker::{StepContext, StopSignal};

use super::progress::took_over;
use super::render;
use super::run_markers::{Doubt, Evidence, MARKER_AGE, MarkerPaths, Markers, print_doubt};
use super::setup::Setup;

/// How long histories are read before a run goes on without them.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long they are read if the run must not submit without them.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(300);

/// What is known before a run submits.
pub(super) struct Standing {
    /// Whether nothing may be submitted, because a history cannot be read although the queue may not
    /// know what was paid for.
    pub(super) is_blocked: bool,
    /// Keeps the markers up to date while the run works; `None` if the queue has not counted the run.
    pub(super) markers: Option<Arc<Markers>>,
}

/// Compares the queue with the markers of earlier runs and with the providers' histories, and counts this
/// run.
pub(super) async fn compare(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    context: &StepContext,
    batches: &[BatchStatus],
    stop: StopSignal,
) -> anyhow::Result<Standing> {
    let paths = MarkerPaths::new(setup, batches);
    let output = &context.files.output;
    let (evidence, lineage) = Evidence::read(queue.as_ref(), output.as_ref(), &paths).await?;
    if let Some((folder, owner)) = &evidence.owned {
        anyhow::bail!(
            "{folder} holds the clips of another queue, {}: both would write the same files\nhint: load the \
             batch of one of them again with another folder (`--out`), or delete that queue if it is no \
             longer used",
            owner.display()
        );
    }
    let mut histories = Histories {
        queue: queue.as_ref(),
        context,
        used: &evidence.providers,
        found: 0,
    };
    let settled = histories.settle(&evidence, &lineage, stop).await?;
    print_found(histories.found);
    let Some(Settled { since }) = settled else {
        // The next run has to compare again.
        return Ok(Standing {
            is_blocked: true,
            markers: None,
        });
    };
    let markers = Markers::create(Arc::clone(queue), Arc::clone(output), paths).await?;
    queue.begin_run(evidence.generation, since).await?;
    markers.update().await?;
    Ok(Standing {
        is_blocked: false,
        markers: Some(markers),
    })
}

/// Returns from when on the queue may not know what was paid for.
fn period_start(doubt: Option<&Doubt>, lineage: &Lineage, now: Timestamp) -> Timestamp {
    let since = match (doubt, lineage.last_seen) {
        (Some(Doubt::Foreign(_)), _) => earliest_read(now),
        // The clock was set back since.
        (_, Some(last_seen)) if last_seen > now => earliest_read(now),
        (_, last_seen) => last_seen.unwrap_or(now),
    };
    let unclaimed_since = unclaimed_since(lineage, now).filter(|_| doubt.is_some());
    let earlier = lineage.doubt_since.into_iter().chain(unclaimed_since);
    earlier.fold(since, Timestamp::min)
}

/// Returns since when another queue has paid for what may be loaded yet, if that is not too long ago.
fn unclaimed_since(lineage: &Lineage, now: Timestamp) -> Option<Timestamp> {
    let earliest = earliest_read(now);
    lineage.unclaimed_since.filter(|since| *since > earliest)
}

/// The histories with which a queue is compared.
struct Histories<'a> {
    queue: &'a dyn Queue,
    context: &'a StepContext,
    /// The providers that were used.
    used: &'a BTreeSet<ProviderName>,
    /// Number of predictions that were found so far and that the queue did not know.
    found: usize,
}

/// A queue that knows what was paid for.
struct Settled {
    /// Since when it did not; `None` if it always did.
    since: Option<Timestamp>,
}

impl Histories<'_> {
    /// Compares the queue until it knows what was paid for. Returns `None` if it cannot, or if the run is
    /// to stop before that.
    async fn settle(
        &mut self,
        evidence: &Evidence,
        lineage: &Lineage,
        stop: StopSignal,
    ) -> anyhow::Result<Option<Settled>> {
        let now = self.context.clock.now();
        let (doubt, seen_at) = match &evidence.doubt {
            Some(doubt) => (doubt, evidence.seen_at.or(lineage.last_seen)),
            None => {
                let since = period_start(None, lineage, now);
                let unclaimed_since = unclaimed_since(lineage, now);
                let comparison = self.compare_undoubted(since, unclaimed_since).await?;
                for (provider, reason) in &comparison.unread {
                    tracing::info!(%provider, "its history was not compared with the queue: {reason}");
                }
                if comparison.continued == 0 {
                    return Ok(Some(Settled { since: None }));
                }
                // A copy has paid for it, and may have more under way that is not listed yet.
                (&Doubt::Copied, None)
            }
        };
        print_doubt(doubt);
        let since = period_start(Some(doubt), lineage, now);
        self.queue.note_doubt(since).await?;
        let seen_at = seen_at.unwrap_or(now).saturating_add(MARKER_AGE)?.min(now);
        let Some(comparison) = self.compare_until_listed(since, seen_at, stop).await? else {
            return Ok(None);
        };
        for (provider, reason) in &comparison.unread {
            render::print_note(format_args!(
                "nothing is submitted, because the history of {provider} cannot be read: {reason}"
            ));
        }
        // What is loaded later may ask for what was paid for there as well.
        let settled = Settled { since: Some(since) };
        Ok(comparison.unread.is_empty().then_some(settled))
    }

    /// Compares a queue about which there is no doubt, also with what another has paid for that was not
    /// loaded here by then.
    async fn compare_undoubted(
        &mut self,
        since: Timestamp,
        unclaimed_since: Option<Timestamp>,
    ) -> queue::Result<Comparison> {
        if let Some(earlier) = unclaimed_since.filter(|earlier| *earlier < since) {
            let comparison = self.compare(earlier, PATIENCE).await?;
            if comparison.unread.is_empty() {
                return Ok(comparison);
            }
        }
        self.compare(since, PATIENCE).await
    }

    /// Compares the queue once the histories list everything that was submitted elsewhere until
    /// `seen_at`. Returns `None` if the run is to stop before that.
    async fn compare_until_listed(
        &mut self,
        since: Timestamp,
        seen_at: Timestamp,
        stop: StopSignal,
    ) -> anyhow::Result<Option<Comparison>> {
        let clock = self.context.clock.as_ref();
        let first = self.compare(since, PATIENCE_IN_DOUBT).await?;
        let listed_at = seen_at.saturating_add(first.listed_within)?;
        let status = self.queue.status(None).await?;
        let open = status.count(JobState::Queued) + status.count(JobState::InDoubt);
        if listed_at <= clock.now() || !first.unread.is_empty() || open == 0 {
            return Ok(Some(first));
        }
        wait(clock, listed_at, stop.clone()).await;
        if *stop.borrow() {
            return Ok(None);
        }
        Ok(Some(self.compare(since, PATIENCE_IN_DOUBT).await?))
    }

    async fn compare(&mut self, since: Timestamp, patience: Duration) -> queue::Result<Comparison> {
        let comparison =
            compare_histories(self.queue, self.context, self.used, since, patience).await?;
        self.found += comparison.found;
        if comparison.taken_over > 0 {
            render::print_note(took_over(comparison.taken_over));
        }
        Ok(comparison)
    }
}

fn print_found(found: usize) {
    if found > 0 {
        render::print_note(format_args!(
            "{} that this queue did not know {} found at the providers: nothing is paid again for \
             what they asked for",
            render::format_count(found as u64, "prediction"),
            if found == 1 { "was" } else { "were" }
        ));
    }
}

/// Waits until a time, or until the run is to stop.
async fn wait(clock: &dyn Clock, until: Timestamp, mut stop: StopSignal) {
    let left = until.duration_since(clock.now()).max(SignedDuration::ZERO);
    render::print_note(format_args!(
        "waiting {} s until the histories list everything that was submitted elsewhere",
        left.as_secs() + 1
    ));
    let stopped = stop.wait_for(|stop| *stop);
    // An error means that nothing can stop the run any more.
    let _ = tokio::time::timeout(left.unsigned_abs(), stopped).await;
}
