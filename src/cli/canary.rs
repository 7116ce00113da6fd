//! The first clips of a run, shown before the rest is paid for.

use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{JobId, JobState};
use crate::queue::{JobRecord, Queue};
use crate::worker::StopSignal;
use crate::worker::canary::Canary;

use super::args::RunArgs;
use super::progress::Progress;
use super::prompt::{Answer, ask, somebody_is_there};
use super::render;
use super::verify::find;

/// Letters of a reason that are shown, at most.
const LONGEST_REASON: usize = 160;

/// Shows the first clips, and says whether to go on.
#[derive(Clone)]
pub(super) struct CanaryReview {
    queue: Arc<dyn Queue>,
    batch: Option<String>,
    yes: bool,
    answer: watch::Sender<Option<bool>>,
    stop: StopSignal,
}

impl CanaryReview {
    /// What shows them, and what tells the pool of them; `None` where nobody wants to see any.
    pub(super) fn new(
        args: &RunArgs,
        queue: &Arc<dyn Queue>,
        stop: &StopSignal,
    ) -> Option<(Self, Canary)> {
        let jobs = args.canary?;
        let (answer, go_on) = watch::channel(None);
        let (queue, batch, stop) = (Arc::clone(queue), args.batch.clone(), stop.clone());
        Some((
            Self {
                queue,
                batch,
                yes: args.yes,
                answer,
                stop,
            },
            Canary { jobs, go_on },
        ))
    }

    /// Shows the first clips, and gives the pool its answer. The pool is at work beside it: it keeps its leases.
    pub(super) fn show(self, jobs: Vec<JobId>, progress: Progress) {
        tokio::spawn(async move {
            progress.hold();
            // What cannot be read or shown is no reason to pay for more.
            let goes_on = self.judge(&jobs).await.unwrap_or_else(|error| {
                render::error(&error);
                false
            });
            progress.let_go();
            // A pool that was stopped meanwhile listens no more.
            let _ = self.answer.send(Some(goes_on));
        });
    }

    async fn judge(&self, jobs: &[JobId]) -> anyhow::Result<bool> {
        let mut first = Vec::new();
        for job_id in jobs {
            first.push(find(self.queue.as_ref(), *job_id).await?);
        }
        first.sort_by_key(|job| job.job_id);
        show(&first)?;
        let status = self.queue.status(self.batch.clone()).await?;
        let price = self.queue.queued_price(self.batch.clone()).await?;
        let waiting: u64 = status
            .batches
            .iter()
            .map(|batch| batch.count(JobState::Queued))
            .sum();
        let rest = format!("{} wait, ${price:#} at most", render::count(waiting, "job"));
        let all_succeeded = first.iter().all(|job| job.state == JobState::Succeeded);
        if self.yes && all_succeeded {
            render::note(format_args!("all of them succeeded: going on; {rest}"));
            return Ok(true);
        }
        if self.yes || !somebody_is_there() {
            render::note(format_args!("stopped after the first clips; {rest}"));
            return Ok(false);
        }
        Ok(ask(&format!("{rest}. Go on?"), &self.stop).await == Answer::Yes)
    }
}

fn show(first: &[JobRecord]) -> anyhow::Result<()> {
    let mut table = vec![
        ["first", "state", "provider", "took", "cost", "clip"]
            .map(String::from)
            .to_vec(),
    ];
    for job in first {
        let took = job
            .submitted_at
            .zip(job.finished_at)
            .map(|(from, until)| until.duration_since(from).as_secs());
        let took = took.and_then(|seconds| u64::try_from(seconds).ok());
        let reason = || {
            job.error
                .as_deref()
                .map(|error| render::clipped(error, LONGEST_REASON))
        };
        table.push(vec![
            render::clipped(&job.id, 32),
            job.state.to_string(),
            job.provider
                .map_or("-".into(), |provider| provider.to_string()),
            took.map_or("-".into(), render::span),
            job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}")),
            job.output.clone().or_else(reason).unwrap_or_default(),
        ]);
    }
    render::table(&table)
}
