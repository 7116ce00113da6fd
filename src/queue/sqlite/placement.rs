//! Chooses the provider of the next submission; [`SubmitClaims::choose_provider`] lists the
//! conditions.

use std::time::Duration;

use rusqlite::params;
use sha2::{Digest, Sha256};

use crate::domain::local_image::fill_placeholders;
use crate::domain::{Money, ProviderName, model};
use crate::queue::Result;

use super::lanes::QueuedJob;
use super::provider_capacity::ProviderCapacity;
use super::row::query_value;
use super::submit_claims::{Batch, SubmitClaims};
use super::uploads::UploadState;

/// Delay before a deferred job is considered again.
///
/// By then the identical submission may be resolved, or a provider may have a free slot.
const DEFER_DELAY: Duration = Duration::from_secs(1);

/// Where the next submission of a batch can go.
pub(super) enum Placement {
    /// To the provider with this index in `SubmitClaims::capacities`.
    Submit(usize, PreparedRequest),
    /// To no provider before this time, in milliseconds. The jobs behind it may go first.
    ///
    /// The job waits until an identical submission is resolved, the upload of an image is retried,
    /// or a provider has a free slot again.
    DeferUntil(i64),
    /// To no provider for now. The job keeps its place, and the jobs behind it in its lane wait.
    Blocked,
}

/// A request as it will be sent and stored, with its price.
pub(super) struct PreparedRequest {
    /// The route's model name, request and price.
    pub(super) quote: model::RouteQuote,
    /// The request as JSON text, as stored in `attempts.request`.
    pub(super) request_text: String,
    /// The digest of `request_text`; see [`request_digest`].
    pub(super) digest: i64,
    /// Why the step must reject the job instead of sending the request; `None` to send it.
    pub(super) rejection: Option<String>,
}

impl From<model::RouteQuote> for PreparedRequest {
    fn from(quote: model::RouteQuote) -> Self {
        let request_text = quote.request.to_string();
        let digest = request_digest(&request_text);
        Self {
            quote,
            request_text,
            digest,
            rejection: None,
        }
    }
}

/// Returns the first 8 bytes of the SHA-256 of a request, as a big-endian integer.
pub(super) fn request_digest(request: &str) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(request));
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl SubmitClaims<'_> {
    /// Chooses the first of a job's providers that can accept it now.
    ///
    /// `provider_order` is the job's comma-separated list of providers, in order of preference. A
    /// provider qualifies if it has
    ///
    /// - a free slot and an unused submit of its rate;
    /// - a route that takes the job's input;
    /// - a price that fits the batch's budget and the request's;
    /// - a link to each image that it takes as a link;
    /// - no identical request whose outcome is unknown. If both were in doubt, the provider's
    ///   history could not tell them apart.
    pub(super) fn choose_provider(
        &mut self,
        job: &QueuedJob,
        provider_order: &str,
        batch: usize,
    ) -> Result<Placement> {
        let mut placement = Placement::Blocked;
        // Whether a provider's slots or rate are used up, or its calls held.
        let mut has_full_provider = false;
        // Whether a provider may accept the job later. Providers that are suspended or not part of
        // this request do not count.
        let mut may_be_accepted_later = false;
        let mut rejected = None;
        for name in provider_order.split(',') {
            let is_active = |capacity: &ProviderCapacity| {
                capacity.limits.provider.as_str() == name && !capacity.is_suspended
            };
            let Some(index) = self.capacities.iter().position(is_active) else {
                continue;
            };
            let provider = self.capacities[index].limits.provider;
            if self.capacities[index].available_submits(self.request.now) == 0 {
                has_full_provider = true;
                may_be_accepted_later = true;
                continue;
            }
            let Some(mut quote) =
                self.request
                    .catalog
                    .quote(&self.batches[batch].model, &job.input, provider)
            else {
                let job_id = job.job_id;
                let model = &self.batches[batch].model;
                self.unroutable
                    .get_or_insert_with(|| format!("job {job_id} ({model}) on {provider}"));
                continue;
            };
            let exceeded_budgets = self.exceeded_budgets(batch, quote.price);
            if !exceeded_budgets.is_empty() {
                self.exceeded_budgets.extend(exceeded_budgets);
                may_be_accepted_later = true;
                continue;
            }
            match self.upload_state(batch, &job.input, provider)? {
                UploadState::Ready(links) => fill_placeholders(&mut quote.request, &links),
                // Wait for the upload rather than try the next provider, which may cost more.
                UploadState::Pending => {
                    self.awaits_upload = true;
                    return Ok(Placement::Blocked);
                }
                UploadState::Retrying { retry_at } => {
                    self.awaits_upload = true;
                    may_be_accepted_later = true;
                    let later = retry_at.filter(|retry_at| *retry_at > self.now_ms());
                    placement = later.map_or(placement, Placement::DeferUntil);
                    continue;
                }
                UploadState::Rejected(reason) => {
                    rejected.get_or_insert((index, quote, reason));
                    continue;
                }
            }
            let prepared = PreparedRequest::from(quote);
            if self.has_identical_unresolved(provider, &prepared)? {
                may_be_accepted_later = true;
                placement = self.defer_briefly();
            } else {
                return Ok(Placement::Submit(index, prepared));
            }
        }
        Ok(match rejected {
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
        })
    }

    fn defer_briefly(&self) -> Placement {
        let later = self
            .request
            .now
            .saturating_add(DEFER_DELAY)
            .unwrap_or(self.request.now);
        Placement::DeferUntil(later.as_millisecond())
    }

    /// Returns whether an identical request to the provider is submitting or in doubt.
    fn has_identical_unresolved(
        &self,
        provider: ProviderName,
        prepared: &PreparedRequest,
    ) -> Result<bool> {
        let attempt_id: Option<i64> = query_value(
            self.tx,
            "SELECT attempt_id FROM attempts
             WHERE provider = ?1 AND request_digest = ?2 AND finished_at IS NULL
               AND state <> 'accepted' AND wire_model = ?3 AND request = ?4
             LIMIT 1",
            params![
                provider.as_str(),
                prepared.digest,
                prepared.quote.wire_model,
                prepared.request_text
            ],
        )?;
        Ok(attempt_id.is_some())
    }

    /// Lists the budgets that a submission at this price would exceed.
    ///
    /// Committed money is what is spent plus what is reserved. The batch's own budget covers the
    /// batch; the request's budget, listed as `None`, covers all batches of the request.
    fn exceeded_budgets(&self, batch: usize, price: Money) -> Vec<Option<usize>> {
        let committed = |batch: &Batch| batch.spent + batch.reserved;
        let total_committed: Money = self.batches.iter().map(committed).sum();
        let own_batch = &self.batches[batch];
        let limits = [
            (None, self.request.budget, total_committed),
            (Some(batch), own_batch.budget, committed(own_batch)),
        ];
        let is_exceeded = |(_, budget, committed): &(_, Option<Money>, Money)| {
            budget.is_some_and(|budget| *committed + price > budget)
        };
        limits
            .into_iter()
            .filter(is_exceeded)
            .map(|(batch, ..)| batch)
            .collect()
    }
}
