//! Chooses the provider of the next submission; [`Planner::choose_provider`] lists the conditions.

use jiff::{SignedDuration, Timestamp};

use crate::domain::local_image::fill_placeholders;
use crate::domain::{Job, Money, ProviderName};

use super::planner::Planner;
use super::prepared::PreparedRequest;
use super::uploads::UploadState;
use super::view::{BatchTotals, ProviderView};

/// Delay before a deferred job is considered again.
///
/// By then the identical submission may be resolved, or a provider may have a free slot.
const DEFER_DELAY: SignedDuration = SignedDuration::from_secs(1);

/// What is added to the due time of a queued job that only the user's decision about an identical one
/// can move on: a thousand years, so that no run waits for it.
pub const PARKED_FOR: SignedDuration = SignedDuration::from_hours(1_000 * 8_766);

/// The earliest due time of such a job, and the latest of any other.
pub const PARKED_FROM: Timestamp = Timestamp::constant(32_503_680_000, 0);

/// Where the next submission of a batch can go.
pub(super) enum Placement {
    /// To the provider with this index.
    Submit(usize, PreparedRequest),
    /// To no provider before this time. The jobs behind it may go first.
    ///
    /// The job waits until an identical submission is resolved, by the user if it is
    /// [parked](PARKED_FOR), the upload of an image is retried, or a provider has a free slot again.
    DeferUntil(Timestamp),
    /// To no provider for now. The job keeps its place, and the jobs behind it in its lane wait.
    Blocked,
}

impl Planner<'_> {
    /// Chooses the first of a job's providers that can accept it now.
    ///
    /// A provider qualifies if it has
    ///
    /// - a free slot and an unused submission of its rate;
    /// - a route that takes the job's input, and is not held or stopped;
    /// - a price that fits the batch's budget and the request's;
    /// - a link to each image that it takes as a link;
    /// - no identical request whose outcome is unknown. If both were in doubt, the provider's
    ///   history could not tell them apart.
    pub(super) fn choose_provider(
        &mut self,
        job: &Job,
        provider_order: &[ProviderName],
        batch: usize,
    ) -> Placement {
        let mut placement = Placement::Blocked;
        // Whether a provider's slots or rate are used up, or its calls held.
        let mut has_full_provider = false;
        // Whether a provider may accept the job later. Providers that are suspended or not part of
        // this request do not count.
        let mut may_be_accepted_later = false;
        // Whether an identical submission waits for the user's decision.
        let mut has_held_twin = false;
        // Whether all providers are part of this request. Another run may use those that are not.
        let mut is_known = true;
        let mut rejected = None;
        let model = &self.view.batches[batch].model;
        for name in provider_order {
            let is_active = |provider: &ProviderView| {
                provider.limits.provider == *name && provider.gate.suspended.is_none()
            };
            let Some(index) = self.plan.providers.iter().position(is_active) else {
                is_known &= self.plan.provider(*name).is_some();
                continue;
            };
            if self.plan.providers[index].available_submits(self.view.now) == 0 {
                has_full_provider = true;
                may_be_accepted_later = true;
                continue;
            }
            let Some(mut quote) = self.request.catalog.quote(model, &job.input, *name) else {
                let job_id = job.job_id;
                self.plan
                    .unroutable
                    .get_or_insert_with(|| format!("job {job_id} ({model}) on {name}"));
                continue;
            };
            let route = self.plan.routes.get(&(*name, quote.wire_model.clone()));
            if let Some(gate) = route {
                // As a suspended provider: only the user can change that.
                if gate.unaccepted_price().is_some() {
                    continue;
                }
                if gate.submits_allowed_from() > self.view.now {
                    may_be_accepted_later = true;
                    continue;
                }
                quote.price = gate.reservation(quote.price);
            }
            let exceeded_budgets = self.exceeded_budgets(batch, quote.price);
            if !exceeded_budgets.is_empty() {
                self.plan.exceeded_budgets.extend(exceeded_budgets);
                may_be_accepted_later = true;
                continue;
            }
            match self.upload_state(batch, &job.input, *name) {
                UploadState::Ready(links) => fill_placeholders(&mut quote.request, &links),
                // Wait for the upload rather than try the next provider, which may cost more.
                UploadState::Pending => {
                    self.plan.awaits_upload = true;
                    return Placement::Blocked;
                }
                UploadState::Retrying { retry_at } => {
                    self.plan.awaits_upload = true;
                    may_be_accepted_later = true;
                    let later = retry_at.filter(|retry_at| *retry_at > self.view.now);
                    placement = later.map_or(placement, Placement::DeferUntil);
                    continue;
                }
                UploadState::Rejected(reason) => {
                    rejected.get_or_insert((index, quote, reason));
                    continue;
                }
            }
            let prepared = PreparedRequest::from(quote);
            match self.identical_unresolved(*name, &prepared) {
                None => return Placement::Submit(index, prepared),
                Some(is_held) => {
                    has_held_twin |= is_held;
                    may_be_accepted_later |= !is_held;
                    placement = self.defer_briefly();
                }
            }
        }
        match rejected {
            _ if has_held_twin && is_known && !may_be_accepted_later => {
                let due_at = job.progress.due_at.unwrap_or(self.view.now);
                Placement::DeferUntil(due_at.saturating_add(PARKED_FOR).unwrap_or(due_at))
            }
            // No provider can accept the job in this run: claim it only to reject it, unpaid.
            Some((index, quote, reason)) if !may_be_accepted_later => Placement::Submit(
                index,
                PreparedRequest {
                    rejection: Some(reason),
                    ..quote.into()
                },
            ),
            // The provider that rejected this job's image has free slots for the jobs behind it.
            Some(_) if has_full_provider && matches!(placement, Placement::Blocked) => {
                self.defer_briefly()
            }
            _ => placement,
        }
    }

    fn defer_briefly(&self) -> Placement {
        let later = self.view.now.saturating_add(DEFER_DELAY);
        Placement::DeferUntil(later.unwrap_or(self.view.now))
    }

    /// Returns whether the identical request to the provider that is submitting, in doubt or planned
    /// already waits for the user's decision; `None` if there is no such request.
    fn identical_unresolved(
        &self,
        provider: ProviderName,
        prepared: &PreparedRequest,
    ) -> Option<bool> {
        let wire_model = &prepared.quote.wire_model;
        let unresolved = self.view.unresolved.iter().map(|other| {
            let request = (other.provider, &other.wire_model, other.digest);
            (request, other.is_held)
        });
        let planned = self.plan.submissions.iter().map(|planned| {
            let PreparedRequest { quote, digest, .. } = &planned.prepared;
            ((planned.provider, &quote.wire_model, *digest), false)
        });
        let request = (provider, wire_model, prepared.digest);
        unresolved
            .chain(planned)
            .find(|(other, _)| *other == request)
            .map(|(_, is_held)| is_held)
    }

    /// Lists the budgets that a submission at this price would exceed.
    ///
    /// Committed money is what is spent plus what is reserved. The batch's own budget covers the
    /// batch; the request's budget, listed as `None`, covers all batches of the request.
    fn exceeded_budgets(&self, batch: usize, price: Money) -> Vec<Option<usize>> {
        let committed = |totals: &BatchTotals| totals.spent + totals.reserved;
        let limits = [
            (
                None,
                self.request.budget,
                self.plan.totals.iter().map(committed).sum::<Money>(),
            ),
            (
                Some(batch),
                self.view.batches[batch].budget,
                committed(&self.plan.totals[batch]),
            ),
        ];
        limits
            .into_iter()
            .filter(|(_, budget, committed)| {
                budget.is_some_and(|budget| *committed + price > budget)
            })
            .map(|(batch, ..)| batch)
            .collect()
    }
}
