//! Before a run submits: is this the queue that was run last, and what have its copies paid for?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::{JobState, ProviderName};
use crate::queue::{self, BatchStatus, Lineage, Queue};
use crate::worker::comparison::{Comparison, MAX_PERIOD, compare_histories};
use crate::worker::{StepContext, StopSignal};

use super::progress::took_over;
use super::render;
use super::run_markers::{Doubt, Evidence, MARKER_AGE, Markers, marker_paths, print_doubt};
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
    pub(super) markers: Option<Markers>,
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
    let lineage = queue.lineage().await?;
    let paths = marker_paths(setup, batches);
    let evidence = Evidence::read(&lineage, &paths);
    note_keys(setup, queue.as_ref(), context, &lineage).await?;
    let mut histories = Histories {
        queue: queue.as_ref(),
        context,
        used: &evidence.providers,
        found: 0,
    };
    let is_blocked = !histories.settle(&evidence, &lineage, stop).await?;
    print_found(histories.found);
    if is_blocked {
        // The next run has to compare again.
        return Ok(Standing {
            is_blocked,
            markers: None,
        });
    }
    queue.begin_run(evidence.generation + 1).await?;
    let markers = Markers {
        queue: Arc::clone(queue),
        paths,
    };
    markers.write().await?;
    Ok(Standing {
        is_blocked,
        markers: Some(markers),
    })
}

/// Returns from when on the queue may not know what was paid for.
fn period_start(doubt: Option<&Doubt>, lineage: &Lineage, now: Timestamp) -> Timestamp {
    let longest = now.saturating_sub(MAX_PERIOD).unwrap_or(Timestamp::MIN);
    let since = match (doubt, lineage.last_seen) {
        (Some(Doubt::Foreign(_)), _) => longest,
        // The clock was set back since.
        (_, Some(last_seen)) if last_seen > now => longest,
        (_, last_seen) => last_seen.unwrap_or(now),
    };
    lineage
        .doubt_since
        .map_or(since, |doubted| doubted.min(since))
}

/// Notes with which keys the queue is run, and says which have changed.
async fn note_keys(
    setup: &Setup,
    queue: &dyn Queue,
    context: &StepContext,
    lineage: &Lineage,
) -> anyhow::Result<()> {
    for provider in context.providers.keys() {
        let mark = setup.app.key_mark(*provider, &lineage.queue_id);
        if let Some(mark) = mark
            && queue.note_key(*provider, mark).await?
        {
            render::print_note(format_args!(
                "the key of {provider} has changed: if it is of another account, its history proves \
                 nothing about earlier submissions, so those in doubt wait for your decision"
            ));
        }
    }
    Ok(())
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

impl Histories<'_> {
    /// Compares the queue until it knows what was paid for. Returns `false` if it cannot, or if the run is
    /// to stop before that.
    async fn settle(
        &mut self,
        evidence: &Evidence,
        lineage: &Lineage,
        stop: StopSignal,
    ) -> anyhow::Result<bool> {
        let now = self.context.clock.now();
        let (doubt, seen_at) = match &evidence.doubt {
            Some(doubt) => (doubt, evidence.seen_at.or(lineage.last_seen)),
            None => {
                let comparison = self
                    .compare(period_start(None, lineage, now), PATIENCE)
                    .await?;
                for (provider, reason) in &comparison.unread {
                    tracing::info!(%provider, "its history was not compared with the queue: {reason}");
                }
                if comparison.continued == 0 {
                    return Ok(true);
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
            return Ok(false);
        };
        for (provider, reason) in &comparison.unread {
            render::print_note(format_args!(
                "nothing is submitted, because the history of {provider} cannot be read: {reason}"
            ));
        }
        Ok(comparison.unread.is_empty())
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
