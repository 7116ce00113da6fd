//! A plan in progress, which each part of the rule adds to.

use std::collections::BTreeSet;

use super::claim_plan::ClaimPlan;
use super::request::ClaimRequest;
use super::view::ClaimView;

/// A plan in progress.
pub(super) struct Planner<'a> {
    pub(super) view: &'a ClaimView,
    pub(super) request: &'a ClaimRequest,
    pub(super) plan: ClaimPlan,
}

impl<'a> Planner<'a> {
    pub(super) fn new(view: &'a ClaimView, request: &'a ClaimRequest) -> Self {
        let plan = ClaimPlan {
            steps: Vec::new(),
            submissions: Vec::new(),
            deferred: Vec::new(),
            new_uploads: Vec::new(),
            uploads: Vec::new(),
            totals: view.batches.iter().map(|batch| batch.totals).collect(),
            total_jobs: view.total_jobs,
            providers: view.providers.clone(),
            routes: view.routes.clone(),
            exceeded_budgets: BTreeSet::new(),
            unroutable: None,
            awaits_upload: false,
        };
        Self {
            view,
            request,
            plan,
        }
    }
}
