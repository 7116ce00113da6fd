//! Reads what remains in the queue after a claim.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::domain::{JobState, ProviderName};
use crate::policy::claim::{
    BacklogView, BatchTotals, ClaimPlan, ClaimRequest, ClaimView, ProviderView, Step,
};
use crate::queue::Result;

use super::due_steps::DueQuery;
use super::health::count_held;
use super::lanes::{WaitingLane, waiting_lanes};
use super::rate_counts::oldest_recent_submit;
use super::row::{query_value, timestamp_from_millis};

/// Reads what the backlog after a plan is computed from.
pub(super) fn read_backlog(
    tx: &Connection,
    view: &ClaimView,
    plan: &ClaimPlan,
    request: &ClaimRequest,
) -> Result<BacklogView> {
    let polled_batch = view.polled_batch(request);
    let mut rest = BacklogView::default();
    if plan.total_jobs.count(JobState::InDoubt) > 0 {
        rest.held = count_held(tx, request.batch.as_deref())?;
    }
    // Not counted: a pool may hold the leases of thousands of running jobs.
    let leased_job: Option<i64> = query_value(
        tx,
        "SELECT job_id FROM jobs WHERE lease_pool IS NOT NULL
           AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1)) LIMIT 1",
        [polled_batch],
    )?;
    rest.has_leased = leased_job.is_some();
    if view.has_queued_local_images() && !rest.has_leased {
        let upload = "SELECT upload_id FROM uploads WHERE lease_pool IS NOT NULL LIMIT 1";
        rest.has_leased = query_value::<i64>(tx, upload, [])?.is_some();
    }
    read_next_steps(tx, view, plan, request, &mut rest)?;
    read_next_submits(tx, view, plan, &mut rest)?;
    if plan.awaits_upload {
        rest.next_uploads = read_next_uploads(tx, plan)?;
    }
    Ok(rest)
}

fn read_next_steps(
    tx: &Connection,
    view: &ClaimView,
    plan: &ClaimPlan,
    request: &ClaimRequest,
    rest: &mut BacklogView,
) -> Result<()> {
    let polled_batch = view.polled_batch(request);
    let mut consider = |step, provider, batch, after: i64| -> Result<()> {
        let next = DueQuery {
            step,
            provider,
            from: after + 1,
            to: i64::MAX,
            batch,
            limit: 1,
        };
        let found = next.run(tx)?;
        rest.next_steps
            .extend(found.iter().map(|due| (step, provider, due.due_at)));
        Ok(())
    };
    for provider in &plan.providers {
        let name = provider.limits.provider;
        let after = provider.due_after(view.now).as_millisecond();
        for (state, step) in [
            (JobState::Running, Step::Poll),
            (JobState::InDoubt, Step::Reconcile),
        ] {
            if plan.total_jobs.count(state) > 0 {
                consider(step, name, polled_batch, after)?;
            }
        }
    }
    if plan.total_jobs.count(JobState::Downloading) > 0 {
        for name in ProviderName::ALL {
            let after = view.now.as_millisecond();
            consider(Step::Download, name, request.batch.as_deref(), after)?;
        }
    }
    Ok(())
}

fn read_next_submits(
    tx: &Connection,
    view: &ClaimView,
    plan: &ClaimPlan,
    rest: &mut BacklogView,
) -> Result<()> {
    let queued = view.batches.iter().zip(&plan.totals);
    for (batch, _) in queued.filter(|(_, totals)| BatchTotals::has_queued_jobs(totals)) {
        for WaitingLane { lane_id, providers } in waiting_lanes(tx, batch.batch_id)? {
            let due: Option<i64> = query_value(
                tx,
                "SELECT due_at FROM jobs WHERE state = 'queued' AND lane_id = ?1
                 ORDER BY due_at LIMIT 1",
                [lane_id],
            )?;
            if let Some(due) = due {
                rest.next_submits
                    .push((providers, timestamp_from_millis(due)?));
            }
        }
    }
    for provider in plan.providers.iter().filter(|view| view.is_rate_used_up()) {
        let name = provider.limits.provider;
        let oldest = oldest_recent_submit(tx, name, view.now)?;
        rest.oldest_submits
            .extend(oldest.map(|oldest| (name, oldest)));
    }
    Ok(())
}

fn read_next_uploads(
    tx: &Connection,
    plan: &ClaimPlan,
) -> Result<BTreeMap<ProviderName, jiff::Timestamp>> {
    let mut next = BTreeMap::new();
    let receivers = plan.providers.iter().filter(|view| view.receives_uploads());
    for ProviderView { limits, .. } in receivers {
        let due: Option<i64> = query_value(
            tx,
            "SELECT min(due_at) FROM uploads
             WHERE provider = ?1 AND due_at IS NOT NULL AND lease_token IS NULL",
            [limits.provider.as_str()],
        )?;
        if let Some(due) = due {
            next.insert(limits.provider, timestamp_from_millis(due)?);
        }
    }
    Ok(next)
}
