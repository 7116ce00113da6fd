//! What the start of a step changes in a job.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, IllegalTransition, JobEvent, JobProgress, Money,
};

use super::request::Step;

/// Returns a job whose next step is started. Polls and downloads are counted.
pub fn start(job: &JobProgress, step: Step) -> JobProgress {
    JobProgress {
        polls: job.polls + u32::from(step == Step::Poll),
        downloads: job.downloads + u32::from(step == Step::Download),
        ..job.clone()
    }
}

/// Returns a queued job that is submitted, and its new attempt, which reserves its price.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is not queued.
pub fn submit(
    job: &JobProgress,
    price: Money,
    now: Timestamp,
) -> Result<(JobProgress, AttemptProgress), IllegalTransition> {
    let job = JobProgress {
        state: job.state.after(JobEvent::Submit)?,
        state_since: now,
        due_at: None,
        ..job.clone()
    };
    let attempt = AttemptProgress {
        state: AttemptState::Submitting,
        estimate: price,
        answered_at: None,
        prediction: None,
        early_cost: None,
        output_url: None,
        processing: None,
        cost: None,
        error: None,
        finished_at: None,
    };
    Ok((job, attempt))
}
