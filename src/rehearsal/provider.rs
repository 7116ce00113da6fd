//! A simulated provider: the provider port directly on the simulator's model, without HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use overnight_simulator::{CancelOutcome, NewPrediction, PredictionOutcome};
use serde_json::Map;
use tokio::time::sleep;

use crate::domain::{Failure, PredictionHandle, ProviderName};
use crate::image::ImageFile;
use crate::provider::{
    Acceptance, Cancellation, EntryContent, History, HistoryEntry, HistoryQuery, PollResult, Probe,
    Provider, Submission, UploadedImage,
};
use crate::worker::processing_times::RouteKey;

use super::sim_state::{SimState, api, duration_from_millis};

/// One of the scenario's hosts, as the worker sees it.
#[derive(Debug)]
pub(super) struct SimulatedProvider {
    state: Arc<SimState>,
    name: ProviderName,
    /// Index into the scenario's hosts.
    host: usize,
}

impl SimulatedProvider {
    pub(super) fn new(state: &Arc<SimState>, host: usize) -> Self {
        Self {
            state: Arc::clone(state),
            name: state.scenario.hosts[host].limits.provider,
            host,
        }
    }

    /// Returns the key under which processing times of such submissions are measured.
    fn route_key(&self, submission: &Submission) -> RouteKey {
        let route = self
            .state
            .scenario
            .catalog
            .route(self.name, &submission.wire_model);
        let wire_field = route.and_then(|route| route.wire_fields.get("duration"));
        let duration = wire_field.and_then(|field| submission.request.get(&field.name));
        let duration =
            duration.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        let clip_s = duration.and_then(|seconds| u32::try_from(seconds).ok());
        RouteKey {
            provider: self.name,
            wire_model: submission.wire_model.clone(),
            clip_s,
        }
    }

    fn accept(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let api = api(self.name);
        let now = self.state.now();
        let mut world = self.state.world();
        if world.check_limits(api, now).is_err() {
            self.state.stats().hosts[self.host].refused += 1;
            let reason = format!("{} returned 429", self.name);
            return Err(Failure::RateLimited {
                reason,
                retry_after: None,
            });
        }
        let times = self.state.scenario.times(&self.route_key(submission));
        let new = NewPrediction {
            api,
            model: submission.wire_model.clone(),
            // Never read again, and thousands of predictions are kept.
            input: Map::new(),
            client_request_id: Some(submission.client_token.clone()),
            // Costs come from our own price rules: the simulator has no prices for models that a
            // user added.
            price: 0,
            processing: times.draw(&mut world.next_prediction_rng(api)),
            outcome: PredictionOutcome::Clip,
        };
        let prediction = PredictionHandle::from_id(world.accept(new, now).id.clone());
        Ok(Acceptance {
            prediction,
            early_cost: None,
        })
    }

    fn poll_result(&self, prediction_id: &str) -> PollResult {
        let now = self.state.now();
        let mut world = self.state.world();
        let Some(prediction) = world.poll(api(self.name), prediction_id) else {
            return PollResult::Missing {
                reason: format!("{} has no prediction with this id", self.name),
            };
        };
        if !prediction.has_ended(now) {
            return PollResult::Running;
        }
        if prediction.outcome != PredictionOutcome::Clip {
            return PollResult::Failed {
                reason: "the prediction was cancelled".into(),
                cost: None,
                retryable: false,
            };
        }
        self.state.stats().hosts[self.host].detection_lag +=
            duration_from_millis(now - prediction.ends_at);
        // AI/ML API does not report the processing time.
        let processing = (self.name != ProviderName::Aimlapi)
            .then(|| duration_from_millis(prediction.ends_at - prediction.starts_at));
        let output_url = format!("https://rehearsal.invalid/{prediction_id}.mp4");
        PollResult::Done {
            output_url,
            cost: None,
            processing,
        }
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn name(&self) -> ProviderName {
        self.name
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let one_way = self.state.scenario.latency.create / 2;
        sleep(one_way).await;
        let acceptance = self.accept(submission);
        sleep(one_way).await;
        acceptance
    }

    async fn poll(&self, prediction: &PredictionHandle, _: &str) -> Result<PollResult, Failure> {
        let one_way = self.state.scenario.latency.look / 2;
        sleep(one_way).await;
        let result = self.poll_result(&prediction.prediction_id);
        sleep(one_way).await;
        Ok(result)
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure> {
        let world = self.state.world();
        let (from, to) = (query.from.as_millisecond(), query.to.as_millisecond());
        let now = self.state.now();
        let entries = world.history(api(self.name), from, to, now);
        let entries = entries.map(|prediction| HistoryEntry {
            prediction_id: Some(prediction.id),
            submitted_at: None,
            content: EntryContent::ClientToken(prediction.client_request_id),
            is_unbilled: false,
            is_running: false,
        });
        Ok(History {
            entries: entries.collect(),
            lists_running: true,
            clock_ahead: None,
        })
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        _: &str,
    ) -> Result<Cancellation, Failure> {
        let now = self.state.now();
        let mut world = self.state.world();
        let outcome = world.cancel(api(self.name), &prediction.prediction_id, now);
        Ok(match outcome {
            Some(CancelOutcome::Queued) => Cancellation::NeverRan,
            _ => Cancellation::Requested,
        })
    }

    async fn probe(&self, _: &str, _: Timestamp) -> Vec<Probe> {
        Vec::new()
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        sleep(self.state.scenario.latency.create).await;
        Ok(UploadedImage {
            public_url: format!("https://rehearsal.invalid/{}", file.name),
            retention: None,
        })
    }

    fn is_loopback(&self) -> bool {
        false
    }
}
