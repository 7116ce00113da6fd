//! A provider that is played: the port to a hosted API over the simulator's model, with no wire between them.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Map;
use tokio::time::sleep;

use crate::domain::{Failure, PredictionHandle, ProviderName};
use crate::image::ImageFile;
use crate::provider::{
    Acceptance, LostSubmission, PollResult, Probe, Provider, Reconciliation, Submission,
    UploadedImage,
};
use crate::simulator::Api;
use crate::simulator::prediction::{End, NewPrediction};
use crate::worker::processing_times::RouteKey;

use super::sim_state::{SimState, millis};

/// A provider that is played.
#[derive(Debug)]
pub(super) struct SimulatedProvider {
    state: Arc<SimState>,
    name: ProviderName,
    /// Its place among the night's hosts.
    host: usize,
}

/// What a provider is called in the simulator.
pub(super) fn api(provider: ProviderName) -> Api {
    match provider {
        ProviderName::Eachlabs => Api::Eachlabs,
        ProviderName::Aimlapi => Api::Aimlapi,
        ProviderName::Fal => Api::Fal,
    }
}

impl SimulatedProvider {
    /// Plays one of the night's hosts.
    pub(super) fn new(state: &Arc<SimState>, host: usize) -> Self {
        Self {
            state: Arc::clone(state),
            name: state.scenario.hosts[host].limits.provider,
            host,
        }
    }

    /// Tells which predictions take as long as what is submitted.
    fn kind(&self, submission: &Submission) -> RouteKey {
        let route = self
            .state
            .scenario
            .catalog
            .route(self.name, &submission.wire_model);
        let spelling = route.and_then(|route| route.wire_fields.get("duration"));
        let length = spelling.and_then(|spelling| submission.request.get(&spelling.name));
        let length =
            length.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        let clip_s = length.and_then(|length| u32::try_from(length).ok());
        RouteKey {
            provider: self.name,
            wire_model: submission.wire_model.clone(),
            clip_s,
        }
    }

    fn take(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let (api, now) = (api(self.name), self.state.now());
        let mut world = self.state.world();
        if world.find_room(api, now).is_err() {
            self.state.notes().hosts[self.host].0 += 1;
            let reason = format!("{} answered 429", self.name);
            return Err(Failure::RateLimited {
                reason,
                retry_after: None,
            });
        }
        let times = self.state.scenario.times(&self.kind(submission));
        let order = NewPrediction {
            api,
            model: submission.wire_model.clone(),
            // Nobody asks for it again, and thousands are kept.
            input: Map::new(),
            client_request_id: Some(submission.client_token.clone()),
            // The books are kept by our own prices: the simulator has none for what a user adds to the catalogue.
            price: 0,
            takes: times.draw(&mut world.chance_of_next(api)),
            end: End::Clip,
        };
        let prediction = PredictionHandle::from_id(world.accept(order, now).id.clone());
        Ok(Acceptance {
            prediction,
            early_cost: None,
        })
    }

    fn show(&self, prediction_id: &str) -> PollResult {
        let now = self.state.now();
        let mut world = self.state.world();
        let Some(prediction) = world.look(api(self.name), prediction_id) else {
            return PollResult::Missing {
                reason: format!("{} does not know it", self.name),
            };
        };
        if prediction.is_open(now) {
            return PollResult::Running;
        }
        if prediction.end != End::Clip {
            return PollResult::Failed {
                reason: "it was cancelled".into(),
                cost: None,
                retryable: false,
            };
        }
        self.state.notes().hosts[self.host].1 += millis(now - prediction.ends_at);
        // AI/ML API does not tell how long it worked.
        let worked = millis(prediction.ends_at - prediction.starts_at);
        let processing = (self.name != ProviderName::Aimlapi).then_some(worked);
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
        let there = self.state.scenario.latency.create / 2;
        sleep(there).await;
        let taken = self.take(submission);
        sleep(there).await;
        taken
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        _: &Submission,
    ) -> Result<PollResult, Failure> {
        let there = self.state.scenario.latency.look / 2;
        sleep(there).await;
        let look = self.show(&prediction.prediction_id);
        sleep(there).await;
        Ok(look)
    }

    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure> {
        let (from, to) = doubt.window();
        let world = self.state.world();
        let entries = world.history(api(self.name), from.as_millisecond(), to.as_millisecond());
        let token = Some(&doubt.submission.client_token);
        let ids = entries
            .filter(|known| known.client_request_id.as_ref() == token)
            .map(|known| known.id.clone());
        Ok(Reconciliation::of(ids.collect(), true))
    }

    async fn cancel(&self, prediction: &PredictionHandle, _: &Submission) -> Result<(), Failure> {
        self.state
            .world()
            .cancel(api(self.name), &prediction.prediction_id, self.state.now());
        Ok(())
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
