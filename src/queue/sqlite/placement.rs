//! Chooses where the next create goes: a provider with room and a route, a price that can be paid, links to the images.

use std::time::Duration;

use rusqlite::params;
use sha2::{Digest, Sha256};

use crate::domain::local_image::fill_placeholders;
use crate::domain::{Money, ProviderName, model};
use crate::queue::Result;

use super::lanes::QueuedJob;
use super::provider_capacity::ProviderCapacity;
use super::row::value;
use super::submit_claims::{Batch, SubmitClaims};
use super::uploads::UploadState;

/// How long a job that is put behind waits before it asks again: whether its twin is still unsure, whether there is room.
const BEHIND: Duration = Duration::from_secs(1);

/// Where the next create of a batch can go.
pub(super) enum Placement {
    /// To this provider.
    Submit(usize, PreparedRequest),
    /// Nowhere before this time: until a submission of the same input is known to have been taken or not, or until the
    /// upload of an image is tried again.
    DeferUntil(i64),
    /// Nowhere for now.
    Blocked,
}

/// What a create would send and cost, as it is kept.
pub(super) struct PreparedRequest {
    pub(super) quote: model::RouteQuote,
    /// The request as text.
    pub(super) text: String,
    /// The first 8 bytes of its SHA-256.
    pub(super) digest: i64,
    /// Why it must not be sent.
    pub(super) rejection: Option<String>,
}

impl From<model::RouteQuote> for PreparedRequest {
    fn from(quote: model::RouteQuote) -> Self {
        let text = quote.request.to_string();
        let digest = digest(&text);
        Self {
            quote,
            text,
            digest,
            rejection: None,
        }
    }
}

/// The first 8 bytes of the SHA-256 of a request.
pub(super) fn digest(request: &str) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(request));
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl SubmitClaims<'_> {
    /// Chooses the first of a job's providers that has room, a route, a price that can be paid, links to the images that
    /// it wants as links, and no other submission of the same input that it may or may not have taken: its history could
    /// not tell the two apart.
    pub(super) fn choose_provider(
        &mut self,
        job: &QueuedJob,
        providers: &str,
        batch: usize,
    ) -> Result<Placement> {
        let mut choice = Placement::Blocked;
        // Whether a provider has no room just now, and whether one may take the job some time: not one that is paused or
        // has no part in this run.
        let (mut is_full, mut may_yet) = (false, false);
        let mut refused = None;
        for word in providers.split(',') {
            let takes_part =
                |pace: &ProviderCapacity| pace.limits.provider.as_str() == word && !pace.paused;
            let Some(index) = self.capacities.iter().position(takes_part) else {
                continue;
            };
            let provider = self.capacities[index].limits.provider;
            if self.capacities[index].room(self.request.now) == 0 {
                (is_full, may_yet) = (true, true);
                continue;
            }
            let Some(mut quote) =
                self.request
                    .catalog
                    .quote(&self.batches[batch].model, &job.input, provider)
            else {
                let (job_id, model) = (job.job_id, &self.batches[batch].model);
                self.unroutable
                    .get_or_insert_with(|| format!("job {job_id} ({model}) on {provider}"));
                continue;
            };
            let exceeded_budgets = self.exceeded_budgets(batch, quote.price);
            if !exceeded_budgets.is_empty() {
                self.exceeded_budgets.extend(exceeded_budgets);
                may_yet = true;
                continue;
            }
            match self.links(batch, &job.input, provider)? {
                UploadState::Ready(links) => fill_placeholders(&mut quote.request, &links),
                // It is worth the wait: another provider may be dearer.
                UploadState::Pending => {
                    self.awaits_upload = true;
                    return Ok(Placement::Blocked);
                }
                UploadState::Retrying { retry_at } => {
                    (self.awaits_upload, may_yet) = (true, true);
                    let later = retry_at.filter(|at| *at > self.now());
                    choice = later.map_or(choice, Placement::DeferUntil);
                    continue;
                }
                UploadState::Rejected(reason) => {
                    refused.get_or_insert((index, quote, reason));
                    continue;
                }
            }
            let quote = PreparedRequest::from(quote);
            if self.has_identical_unresolved(provider, &quote)? {
                may_yet = true;
                choice = self.defer_briefly();
            } else {
                return Ok(Placement::Submit(index, quote));
            }
        }
        Ok(match refused {
            Some((index, quote, reason)) if !may_yet => Placement::Submit(
                index,
                PreparedRequest {
                    rejection: Some(reason),
                    ..quote.into()
                },
            ),
            // Those behind it may go where it cannot.
            Some(_) if is_full && matches!(choice, Placement::Blocked) => self.defer_briefly(),
            _ => choice,
        })
    }

    fn defer_briefly(&self) -> Placement {
        let later = self
            .request
            .now
            .saturating_add(BEHIND)
            .unwrap_or(self.request.now);
        Placement::DeferUntil(later.as_millisecond())
    }

    fn has_identical_unresolved(
        &self,
        provider: ProviderName,
        quote: &PreparedRequest,
    ) -> Result<bool> {
        let twin: Option<i64> = value(
            self.tx,
            "SELECT attempt_id FROM attempts WHERE provider = ?1 AND request_digest = ?2 AND finished_at IS NULL
               AND state <> 'accepted' AND wire_model = ?3 AND request = ?4 LIMIT 1",
            params![provider.as_str(), quote.digest, quote.quote.wire_model, quote.text],
        )?;
        Ok(twin.is_some())
    }

    /// Tells the budgets that a create of this price would pass.
    fn exceeded_budgets(&self, batch: usize, price: Money) -> Vec<Option<usize>> {
        let taken = |batch: &Batch| batch.spent + batch.reserved;
        let all: Money = self.batches.iter().map(taken).sum();
        let own = &self.batches[batch];
        let limits = [
            (None, self.request.budget, all),
            (Some(batch), own.budget, taken(own)),
        ];
        let passed = |(_, budget, taken): &(_, Option<Money>, Money)| {
            budget.is_some_and(|budget| *taken + price > budget)
        };
        limits
            .into_iter()
            .filter(passed)
            .map(|(wall, ..)| wall)
            .collect()
    }
}
