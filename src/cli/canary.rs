//! Reviews the canary clips of a run before the rest is submitted.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use crate::domain::{JobId, JobState};
use crate::queue::job_reader::find_by_number;
use crate::queue::{JobRecord, Queue, RouteStatus};
use crate::worker::StopSignal;
use crate::worker::canary::Canary;

use super::args::RunArgs;
use super::progress::Progress;
use super::prompt::{Answer, is_interactive, prompt_yes_no};
use super::{render, screen};

/// Maximum columns of an id in the table.
const MAX_ID_COLUMNS: usize = 32;

/// Maximum columns of a failure reason in the table.
const MAX_REASON_COLUMNS: usize = 160;

/// Prints the canary clips, and decides whether the run continues.
#[derive(Clone)]
pub(super) struct CanaryReview {
    queue: Arc<dyn Queue>,
    batch: Option<String>,
    /// Continue without a prompt if every canary clip succeeded.
    yes: bool,
    decision: watch::Sender<Option<bool>>,
    stop: StopSignal,
}

impl CanaryReview {
    /// Returns a review and the canary settings of its pool, or `None` without `--canary`.
    pub(super) fn new(
        args: &RunArgs,
        queue: &Arc<dyn Queue>,
        stop: &StopSignal,
    ) -> Option<(Self, Canary)> {
        let jobs = args.canary?;
        let (sender, decision) = watch::channel(None);
        let review = Self {
            queue: Arc::clone(queue),
            batch: args.batch.clone(),
            yes: args.yes,
            decision: sender,
            stop: stop.clone(),
        };
        Some((review, Canary { jobs, decision }))
    }

    /// Reviews the canary clips in a task of its own, and sends the decision to the pool. The pool
    /// keeps running meanwhile, so that its leases are renewed.
    pub(super) fn show(self, jobs: Vec<JobId>, progress: Progress) {
        tokio::spawn(async move {
            progress.suspend();
            // If the clips cannot be read or printed, do not pay for more.
            let continues = self.review(&jobs).await.unwrap_or_else(|error| {
                render::print_error(&error);
                false
            });
            progress.resume();
            // A pool that was stopped meanwhile no longer listens.
            let _ = self.decision.send(Some(continues));
        });
    }

    /// Prints the canary clips, and returns whether to continue.
    async fn review(&self, job_ids: &[JobId]) -> anyhow::Result<bool> {
        let mut jobs = Vec::new();
        for job_id in job_ids {
            let job = find_by_number(self.queue.as_ref(), *job_id).await?;
            jobs.push(job.with_context(|| format!("job {} is no longer in the queue", job_id.0))?);
        }
        jobs.sort_by_key(|job| job.job_id);
        print_table(&jobs)?;
        let status = self.queue.status(self.batch.clone()).await?;
        for route in &status.routes {
            if let Some(stop) = screen::price_stop(route) {
                let RouteStatus {
                    provider,
                    wire_model,
                    ..
                } = route;
                render::print_note(format_args!("{provider}/{wire_model}: {stop}"));
            }
        }
        let price = self.queue.queued_estimate(self.batch.clone()).await?;
        let queued = status.count(JobState::Queued);
        let remaining = format!(
            "{} remaining, ${price:#} at most",
            render::format_count(queued, "job")
        );
        let all_succeeded = jobs.iter().all(|job| job.state == JobState::Succeeded);
        if self.yes && all_succeeded {
            render::print_note(format_args!(
                "all canary clips succeeded, continuing: {remaining}"
            ));
            return Ok(true);
        }
        if self.yes || !is_interactive() {
            render::print_note(format_args!("stopped after the canary clips: {remaining}"));
            return Ok(false);
        }
        let question = format!("{remaining}. Continue?");
        Ok(prompt_yes_no(&question, &self.stop).await == Answer::Yes)
    }
}

fn print_table(jobs: &[JobRecord]) -> anyhow::Result<()> {
    let mut table = vec![
        ["canary", "state", "provider", "took", "cost", "clip"]
            .map(String::from)
            .to_vec(),
    ];
    for job in jobs {
        let took = job
            .submitted_at
            .zip(job.finished_at)
            .map(|(from, until)| until.duration_since(from).as_secs());
        let took = took.and_then(|seconds| u64::try_from(seconds).ok());
        let reason = || {
            job.error
                .as_deref()
                .map(|error| render::truncate(error, MAX_REASON_COLUMNS))
        };
        table.push(vec![
            render::truncate(&job.id, MAX_ID_COLUMNS),
            job.state.to_string(),
            job.provider
                .map_or("-".into(), |provider| provider.to_string()),
            took.map_or("-".into(), render::format_duration),
            job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}")),
            job.output.clone().or_else(reason).unwrap_or_default(),
        ]);
    }
    render::print_table(&table)
}
